"""A dataset card in Markdown: what is in a dataset, where it comes from, and what a detector could cheat with."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from countermark.datasets.audit import features, shortcut_scores
from countermark.datasets.records import Record


def card(records: Sequence[Record], title: str) -> str:
    """The card: counts by split and class, by generator and source, file facts, and the bias audit.

    Raises:
        MissingPart: scikit-learn, which the audit needs, is not installed.
    """
    parts = [
        f"# Dataset card: {title}",
        _table("Pictures", ("split", "real", "generated"), _by_split(records)),
        _table("Generators", ("generator", "source", "pictures"), _counted(records, "generated")),
        _table("Real sources", ("source", "kind", "pictures"), _counted(records, "real")),
        _table("Files", ("", "real", "generated"), _files(records)),
        "## Bias audit\n\nAUROC of a classifier that sees no pixel, five-fold, folds kept apart by source. "
        "0.5 is a dataset in which the file tells nothing; what is far from it can be learned instead of the "
        "picture.\n\n"
        + markdown_table(
            ("features", "AUROC"),
            [(k, "too few sources" if math.isnan(v) else f"{v:.3f}") for k, v in shortcut_scores(records).items()],
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _by_split(records: Sequence[Record]) -> list[tuple[object, ...]]:
    counts = Counter((r.split or "none", r.label) for r in records)
    return [(s, counts[s, "real"], counts[s, "generated"]) for s in sorted({r.split or "none" for r in records})]


def _counted(records: Sequence[Record], label: str) -> list[tuple[object, ...]]:
    counts = Counter(
        (r.generator, r.source) if label == "generated" else (r.source, r.kind) for r in records if r.label == label
    )
    return [(*key, number) for key, number in sorted(counts.items())]


def _files(records: Sequence[Record]) -> list[tuple[object, ...]]:
    columns: dict[str, list[list[float]]] = {}
    for label in ("real", "generated"):
        columns[label] = [list(features(r)) for r in records if r.label == label]

    def median(label: str, at: int) -> str:
        values = sorted(row[at] for row in columns[label] if not math.isnan(row[at]))
        return f"{values[len(values) // 2]:.4g}" if values else "-"

    def share(label: str, at: int) -> str:
        values = [row[at] for row in columns[label] if not math.isnan(row[at])]
        return f"{sum(values) / len(values):.0%}" if values else "-"

    rows = [
        ("median width", 0, median),
        ("median height", 1, median),
        ("square", 4, share),
        ("JPEG", 7, share),
        ("bits per pixel", 12, median),
    ]
    return [(name, read("real", at), read("generated", at)) for name, at, read in rows]


def _table(title: str, head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    return f"## {title}\n\n{markdown_table(head, rows)}"


def markdown_table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; bars within cells are escaped."""

    def line(cells: Sequence[object]) -> str:
        return "| " + " | ".join(str(c).replace("|", "\\|") for c in cells) + " |"

    return "\n".join([line(head), "|" + "---|" * len(head), *map(line, rows)])
