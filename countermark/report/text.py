"""Scan results in the terminal: the label first, then the evidence, each with its own strength."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import chain, islice
from typing import TextIO

from rich.console import Console
from rich.text import Text

from countermark.provenance.status import Status
from countermark.report.words import clean, explain
from countermark.scanning import ScanResult

__all__ = ["STYLES", "write_text"]

_IN_FULL = 5
STYLES = {
    Status.AI_GENERATED_CONFIRMED: "bold magenta",
    Status.AI_EDITED_CONFIRMED: "bold magenta",
    Status.AI_GENERATED_WATERMARKED: "bold magenta",
    Status.AI_DECLARED: "magenta",
    Status.AI_MARKED_UNSIGNED: "magenta",
    Status.LIKELY_AI: "yellow",
    Status.INCONCLUSIVE: "yellow",
    Status.NO_AI_EVIDENCE: "cyan",
    Status.CAPTURE_CONFIRMED: "bold green",
    Status.CONFLICT: "bold red",
    Status.PROVENANCE_INVALID: "bold red",
    Status.ERROR: "red",
}


def write_text(results: Iterable[ScanResult], stream: TextIO) -> None:
    """A block a file for up to five files, a line a file for more, and a count at the end."""
    console = Console(file=stream, highlight=False, soft_wrap=True)
    source = iter(results)
    first = list(islice(source, _IN_FULL + 1))
    counts: Counter[Status] = Counter()
    brief = len(first) > _IN_FULL
    for result in chain(first, source):
        counts[result.status] += 1
        console.print(_line(result) if brief else _block(result))
    if brief:
        parts = ", ".join(f"{n} {status.value}" for status, n in counts.most_common())
        console.print(Text(f"\n{sum(counts.values())} files: {parts}", style="bold"))


def _line(result: ScanResult) -> Text:
    text = Text(f"{result.status.value:<25}", style=STYLES[result.status])
    text.append(clean(result.path or "(bytes)", 500), style="default")
    if result.error:
        text.append(f"  {clean(result.error)}", style="dim")
    return text


def _block(result: ScanResult) -> Text:
    text = Text(clean(result.path or "(bytes)", 500), style="bold")
    if result.media_type:
        size = f", {result.width}x{result.height}" if result.width else ""
        text.append(f"  {result.media_type}{size}", style="dim")
    text.append("\n  ")
    text.append(result.status.value, style=STYLES[result.status])
    text.append("  needs review" if result.review else "", style="red")
    text.append(f"\n  {result.summary}\n", style="default")
    for item in result.evidence:
        strength = item.strength.value if item.strength else "error" if item.error else "-"
        name = item.kind.value if item.name in ("c2pa", item.kind.value) else item.name.replace("public-", "public ")
        style = "default" if item.found or item.error else "dim"
        text.append(f"  {name:<14}{strength:<12}{item.claim.value:<12}{explain(item)}\n", style=style)
    for decision in result.decisions:
        words = decision["text"] and f'"{decision["text"]}", {decision["placement"]}'
        asked = "; ".join(p for p in (words, decision["duty"]) if p)
        text.append(f"  {decision['pack']}: {decision['action']}", style="bold")
        text.append(f" {asked} [{decision['rule']}, {decision['strength']}, {decision['confidence']}]\n")
    if result.error:
        text.append(f"  {clean(result.error)}\n", style="red")
    text.append(f"  reasons: {', '.join(result.reasons)}\n", style="dim")
    return text
