"""Scan results for people and machines: text, JSON, JSON Lines, CSV, HTML, SARIF."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TextIO

from countermark.provenance.errors import UsageError
from countermark.scanning import ScanResult

__all__ = ["FORMATS", "write_report"]

FORMATS = ("text", "json", "jsonl", "csv", "html", "sarif")
Writer = Callable[[Iterable[ScanResult], TextIO], None]


def write_report(results: Iterable[ScanResult], form: str, stream: TextIO) -> None:
    """Write results as they come (jsonl, csv, text) or at the end (json, html, sarif).

    Raises:
        UsageError: unknown format.
    """
    if form not in FORMATS:
        raise UsageError(f"Unknown format {form!r}. Allowed: {', '.join(FORMATS)}.")
    _writer(form)(results, stream)


def _writer(form: str) -> Writer:
    from countermark.report import page, sarif, tables, text

    writers: dict[str, Writer] = {
        "text": text.write_text,
        "json": tables.write_json,
        "jsonl": tables.write_jsonl,
        "csv": tables.write_csv,
        "html": page.write_html,
        "sarif": sarif.write_sarif,
    }
    return writers[form]
