"""Machine formats: JSON, JSON Lines, CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from typing import TextIO

from countermark.scanning import ScanResult

__all__ = ["write_csv", "write_json", "write_jsonl"]

_COLUMNS = (
    "path",
    "status",
    "review",
    "reasons",
    "classifier_score",
    "claim_by",
    "signer",
    "signer_trust",
    "media_type",
    "width",
    "height",
    "sha256",
    "error",
)


def write_json(results: Iterable[ScanResult], stream: TextIO) -> None:
    """One JSON array."""
    json.dump([r.to_dict() for r in results], stream, ensure_ascii=False, indent=1)
    stream.write("\n")


def write_jsonl(results: Iterable[ScanResult], stream: TextIO) -> None:
    """One object a line, flushed as it comes."""
    for result in results:
        stream.write(json.dumps(result.to_dict(), ensure_ascii=False) + "\n")
        stream.flush()


def write_csv(results: Iterable[ScanResult], stream: TextIO) -> None:
    """One row a file; cells that a spreadsheet would run as a formula are quoted with an apostrophe."""
    writer = csv.writer(stream)
    writer.writerow(_COLUMNS)
    for result in results:
        writer.writerow([_safe(cell) for cell in _row(result)])
        stream.flush()


def _row(result: ScanResult) -> list[object]:
    manifest = result.by_name("c2pa")
    detail = manifest.detail if manifest else {}
    signer = detail.get("signer") or {}
    names = [e.name for e in result.evidence if e.found and e.claim.value != "none"]
    return [
        result.path or "",
        result.status.value,
        str(result.review).lower(),
        " ".join(result.reasons),
        "" if result.classifier_score is None else f"{result.classifier_score:.4f}",
        " ".join(names),
        signer.get("organisation") or signer.get("name") or "",
        signer.get("trust") or "",
        result.media_type,
        result.width,
        result.height,
        result.sha256,
        result.error or "",
    ]


def _safe(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell
