"""Public watermarks as evidence."""

from __future__ import annotations

from dataclasses import asdict

from countermark.provenance.evidence import Claim, Evidence, Kind, Strength
from countermark.provenance.upload import Upload
from countermark.provenance.watermark.known import THRESHOLD, find_known

__all__ = ["PublicMarksExaminer"]


class PublicMarksExaminer:
    """The known messages of Stable Diffusion, SDXL, FLUX and InvokeAI. Anyone can write them: declared.

    Args:
        thorough: try all 64 phases of the block grid instead of those that a cheap test points at.
    """

    kind = Kind.WATERMARK
    name = "public-marks"

    def __init__(self, thorough: bool = False) -> None:
        self.thorough = thorough

    def __call__(self, upload: Upload) -> Evidence:
        if not upload.format.raster:
            return Evidence(self.kind, self.name, detail={"skipped": "no pixels"})
        scores = find_known(upload.pixels, self.thorough)
        if not scores:
            return Evidence(self.kind, self.name, detail={"skipped": "smaller than 256 x 256 pixels"})
        best = scores[0]
        summary = f"{best.generator}, p {best.p_value:.1e} over {best.hypotheses:,} hypotheses"
        return Evidence(
            self.kind,
            self.name,
            found=best.found,
            claim=Claim.GENERATED if best.found else Claim.NONE,
            strength=Strength.DECLARED if best.found else None,
            detail={
                "summary": summary if best.found else "",
                "generator": best.generator if best.found else "",
                "p_value": best.p_value,
                "hypotheses": best.hypotheses,
                "threshold": THRESHOLD,
                "marks": [{**asdict(s), "phase": list(s.phase), "found": s.found} for s in scores],
            },
            version="known marks 1",
        )
