"""Countermark marks AI-generated images at birth and, later, tells what any image can honestly be said to be.

    >>> import countermark as cm
    >>> result = cm.scan("picture.jpg")        # doctest: +SKIP
    >>> result.status, result.summary          # doctest: +SKIP

Everything is imported on first use: ``import countermark`` loads neither torch nor the C2PA library.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path as _Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from countermark.evaluating import evaluate
    from countermark.provenance.errors import (
        CountermarkError,
        LimitExceeded,
        MarkError,
        MissingPart,
        UnreadableError,
        UnsupportedFormat,
        UsageError,
    )
    from countermark.provenance.evidence import Claim, Evidence, Kind, Strength
    from countermark.provenance.origin import Origin
    from countermark.provenance.stamp import Stamped
    from countermark.provenance.status import Status
    from countermark.provenance.upload import Limits, Upload
    from countermark.scanning import Classifying, Policies, ScanResult, scan
    from countermark.stamping import stamp

_root = _Path(__file__).resolve().parent.parent
if (_root / "pyproject.toml").is_file() and (_root / "provenance").is_dir():
    __path__.append(str(_root))  # a source checkout: the sub-packages lie beside this folder

_WHERE = {
    "Claim": "provenance.evidence",
    "Classifying": "scanning",
    "CountermarkError": "provenance.errors",
    "Evidence": "provenance.evidence",
    "Kind": "provenance.evidence",
    "LimitExceeded": "provenance.errors",
    "Limits": "provenance.upload",
    "MarkError": "provenance.errors",
    "MissingPart": "provenance.errors",
    "Origin": "provenance.origin",
    "Policies": "scanning",
    "ScanResult": "scanning",
    "Stamped": "provenance.stamp",
    "Status": "provenance.status",
    "Strength": "provenance.evidence",
    "UnreadableError": "provenance.errors",
    "UnsupportedFormat": "provenance.errors",
    "Upload": "provenance.upload",
    "UsageError": "provenance.errors",
    "evaluate": "evaluating",
    "scan": "scanning",
    "stamp": "stamping",
}

__all__ = [
    "Claim",
    "Classifying",
    "CountermarkError",
    "Evidence",
    "Kind",
    "LimitExceeded",
    "Limits",
    "MarkError",
    "MissingPart",
    "Origin",
    "Policies",
    "ScanResult",
    "Stamped",
    "Status",
    "Strength",
    "UnreadableError",
    "UnsupportedFormat",
    "Upload",
    "UsageError",
    "__version__",
    "evaluate",
    "scan",
    "stamp",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("countermark.provenance.version").VERSION
    if name in _WHERE:
        value = getattr(import_module(f"countermark.{_WHERE[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'countermark' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
