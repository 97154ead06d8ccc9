"""The classifier as an examiner: pixels in, statistical evidence out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from countermark.detectors.classifier.model import Prediction, shared
from countermark.detectors.classifier.views import Effort
from countermark.provenance.evidence import Claim, Evidence, Kind, Strength
from countermark.provenance.upload import Upload

NAME = "classifier"


class ClassifierExaminer:
    """Scores the pixels of raster images.

    Args:
        effort: `fast` looks at two views, `careful` at eight.
        file: another model; default the shipped one, or that of `$COUNTERMARK_CLASSIFIER`.
    """

    kind = Kind.CLASSIFIER
    name = NAME

    def __init__(self, effort: Effort = "fast", file: Path | None = None) -> None:
        self._effort, self._file = effort, file

    def __call__(self, upload: Upload) -> Evidence:
        """Evidence with `score`, `band`, `domain`, `threshold` and, where it abstains, the `reason`."""
        if not upload.format.raster:
            return Evidence(self.kind, self.name, detail={"reason": f"{upload.format.name} has no pixels to score."})
        model = shared(self._file)
        said = model.predict(upload.pixels, self._effort)
        return Evidence(
            self.kind,
            self.name,
            found=True,
            claim=Claim.GENERATED if said.band == "high" else Claim.NONE,
            strength=Strength.STATISTICAL,
            detail=_detail(said, self._effort, model.settings.fpr),
            version=model.version,
        )


def _detail(said: Prediction, effort: Effort, fpr: float) -> dict[str, Any]:
    detail: dict[str, Any] = {
        "score": None if said.score is None else round(said.score, 6),
        "band": said.band,
        "domain": said.domain,
        "threshold": round(said.threshold, 6),
        "false_positive_rate": fpr,
        "effort": effort,
    }
    return detail | ({"reason": said.reason} if said.reason else {})
