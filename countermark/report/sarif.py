"""SARIF 2.1.0 (OASIS), for platforms that collect findings of many scanners."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote

from countermark.provenance.status import SENTENCES, Status
from countermark.provenance.version import VERSION
from countermark.scanning import ScanResult

__all__ = ["write_sarif"]

_LEVELS = {
    Status.NO_AI_EVIDENCE: "none",
    Status.CAPTURE_CONFIRMED: "none",
    Status.INCONCLUSIVE: "note",
    Status.LIKELY_AI: "note",
    Status.CONFLICT: "error",
    Status.PROVENANCE_INVALID: "error",
    Status.ERROR: "error",
}
_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def write_sarif(results: Iterable[ScanResult], stream: TextIO) -> None:
    """One SARIF run; every file is a result, with kind ``pass`` where there is nothing to label."""
    rules = [{"id": s.value, "shortDescription": {"text": SENTENCES[s]}} for s in Status]
    driver = {"name": "countermark", "version": VERSION, "rules": rules}
    run = {"tool": {"driver": driver}, "results": [_result(r) for r in results]}
    json.dump({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, stream, ensure_ascii=False, indent=1)
    stream.write("\n")


def _result(result: ScanResult) -> dict[str, Any]:
    level = _LEVELS.get(result.status, "warning")
    uri = quote(Path(result.path).as_posix()) if result.path else "stdin"
    return {
        "ruleId": result.status.value,
        "level": level,
        "kind": "pass" if level == "none" else "review" if result.review else "fail",
        "message": {"text": result.error or result.summary},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": uri}}}],
        "fingerprints": {"sha256/v1": result.sha256} if result.sha256 else {},
        "properties": {"reasons": list(result.reasons), "review": result.review},
    }
