"""A self-contained HTML page: no script, no request to anywhere, opens from disk."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Iterable
from typing import Any, TextIO

from countermark.provenance.errors import CountermarkError
from countermark.provenance.status import Status
from countermark.provenance.upload import Upload
from countermark.provenance.version import VERSION
from countermark.report.words import clean, explain
from countermark.scanning import ScanResult

__all__ = ["write_html"]

_THUMBNAIL = 240
_TONES = {
    Status.NO_AI_EVIDENCE: "quiet",
    Status.CAPTURE_CONFIRMED: "good",
    Status.INCONCLUSIVE: "open",
    Status.LIKELY_AI: "open",
    Status.CONFLICT: "bad",
    Status.PROVENANCE_INVALID: "bad",
    Status.ERROR: "bad",
}


def write_html(results: Iterable[ScanResult], stream: TextIO) -> None:
    """One page with a card a file; thumbnails are embedded."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader("countermark.report", "."), autoescape=True)
    environment.filters["clean"] = clean
    cards = [_card(result) for result in results]
    counts = Counter(card["status"] for card in cards)
    page = environment.get_template("page.html").render(cards=cards, counts=counts.most_common(), version=VERSION)
    stream.write(page)


def _card(result: ScanResult) -> dict[str, Any]:
    return {
        "result": result,
        "path": clean(result.path or "(bytes)", 500),
        "status": result.status.value,
        "words": result.status.value.replace("_", " ").replace("ai ", "AI "),
        "tone": _TONES.get(result.status, "found"),
        "thumbnail": _thumbnail(result.path),
        "evidence": [(item, explain(item)) for item in result.evidence],
    }


def _thumbnail(path: str | None) -> str | None:
    """Data URI of a small JPEG, or None for anything that has no picture."""
    from PIL import Image

    if path is None:
        return None
    try:
        image = Image.fromarray(Upload.open(path).view)
    except (CountermarkError, OSError, ValueError, MemoryError):
        return None
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode("ascii")
