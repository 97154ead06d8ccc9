"""Unsigned metadata as evidence: declared, never verified."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from countermark.provenance.errors import UnreadableError
from countermark.provenance.evidence import Claim, Evidence, Kind, Strength
from countermark.provenance.metadata.carriers import Field, read_carriers
from countermark.provenance.metadata.match import load_signatures, match_fields
from countermark.provenance.metadata.stealth import read_stealth
from countermark.provenance.upload import Upload

__all__ = ["ContainerExaminer", "MetadataExaminer"]

_ORDER = (Claim.GENERATED, Claim.EDITED, Claim.COMPOSITE, Claim.CAPTURED, Claim.HUMAN_MADE)


class MetadataExaminer:
    """Signatures of generators in EXIF, XMP, IPTC, PNG text, comments, trailers and hidden pixels bits."""

    kind = Kind.METADATA
    name = "metadata"

    def __call__(self, upload: Upload) -> Evidence:
        carriers = read_carriers(upload)
        fields, problems = list(carriers.fields), list(carriers.problems)
        try:
            if (hidden := read_stealth(upload)) is not None:
                fields.append(Field("stealth", "stealth", hidden))
        except (ValueError, UnreadableError) as exc:
            problems.append(f"hidden text: {exc}")
        matches = match_fields(fields)
        claims = {m.claim for m in matches}
        claim = next((c for c in _ORDER if c in claims), Claim.NONE)
        source_types = [m.value for m in matches if m.id == "iptc.digital_source_type"]
        detail: dict[str, Any] = {
            "signatures": [asdict(m) for m in matches],
            "generator": next((m.generator for m in matches if m.generator), ""),
            "model": next((m.model for m in matches if m.model), ""),
            "prompt": next((m.prompt for m in matches if m.prompt), ""),
            "source_types": source_types,
            "fields_read": len(fields),
        }
        if problems:
            detail["problems"] = problems
        return Evidence(
            self.kind,
            self.name,
            found=bool(matches),
            claim=claim,
            strength=Strength.DECLARED if matches else None,
            detail=detail,
            version=f"signatures {load_signatures()[0]}",
        )


class ContainerExaminer:
    """Bytes behind the end of the file and containers that never end: no claim, but worth knowing."""

    kind = Kind.METADATA
    name = "container"

    def __call__(self, upload: Upload) -> Evidence:
        detail: dict[str, Any] = {}
        if trailer := upload.trailer:
            detail["trailing_bytes"] = asdict(trailer)
        if upload.truncated:
            detail["truncated"] = True
        return Evidence(
            self.kind,
            self.name,
            found=bool(detail),
            strength=Strength.DECLARED if detail else None,
            detail=detail,
        )
