"""The nouns every part shares: claim, strength, kind, and the evidence an examiner returns.

Absence is a value (``found=False``); a failing examiner is evidence with ``error`` set, never silence.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from countermark.provenance.upload import Upload

__all__ = ["Claim", "Evidence", "Examiner", "Kind", "Strength", "run_examiner"]


class Claim(StrEnum):
    """What a piece of evidence says about the origin of the picture."""

    GENERATED = "generated"
    EDITED = "edited"
    CAPTURED = "captured"
    COMPOSITE = "composite"
    HUMAN_MADE = "human_made"
    NONE = "none"

    @property
    def is_ai(self) -> bool:
        """Whether the claim says that a trained model made or changed the picture."""
        return self in (Claim.GENERATED, Claim.EDITED)


class Strength(StrEnum):
    """How hard the claim is to fake, strongest first."""

    SIGNED = "signed"
    KEYED = "keyed"
    DECLARED = "declared"
    STATISTICAL = "statistical"


class Kind(StrEnum):
    """Which sort of examiner gave the evidence."""

    MANIFEST = "manifest"
    METADATA = "metadata"
    WATERMARK = "watermark"
    REGISTRY = "registry"
    CLASSIFIER = "classifier"
    DECLARATION = "declaration"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one examiner found in one upload.

    Attributes:
        kind: the sort of examiner.
        name: the examiner or the signature it matched, for example ``"c2pa"``.
        found: whether the thing looked for is there at all.
        claim: what it says about the origin; ``none`` where it says nothing.
        strength: how hard the claim is to fake; None where nothing was found.
        detail: everything else, JSON-serialisable.
        version: version of the examiner and of the data it used.
        error: why the examiner failed, or None.
        ms: wall-clock time spent, milliseconds.
    """

    kind: Kind
    name: str
    found: bool = False
    claim: Claim = Claim.NONE
    strength: Strength | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
    version: str = ""
    error: str | None = None
    ms: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of the scan contract."""
        return {
            "kind": self.kind.value,
            "name": self.name,
            "found": self.found,
            "claim": self.claim.value,
            "strength": self.strength.value if self.strength else None,
            "detail": dict(self.detail),
            "version": self.version,
            "error": self.error,
            "ms": round(self.ms, 3),
        }


class Examiner(Protocol):
    """A named callable that looks at one upload and returns what it found."""

    @property
    def kind(self) -> Kind: ...

    @property
    def name(self) -> str: ...

    def __call__(self, upload: Upload) -> Evidence: ...


def run_examiner(examiner: Examiner, upload: Upload, clock: Callable[[], float] = time.perf_counter) -> Evidence:
    """Run one examiner; an exception becomes evidence with ``error`` set."""
    start = clock()
    try:
        evidence = examiner(upload)
    except Exception as exc:
        message = f"{type(exc).__name__}: {exc}"[:500]
        evidence = Evidence(examiner.kind, examiner.name, error=message)
    return replace(evidence, ms=(clock() - start) * 1000.0)
