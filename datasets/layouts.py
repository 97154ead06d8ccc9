"""Readers for datasets as users hold them: one iterator of `Record`, whatever the folders look like.

| layout | looks like |
|---|---|
| `csv` | a table with `path` and `label` (more columns: `Record`'s fields); a folder with an `index.csv` |
| `genimage` | `{generator}/{train,val}/{ai,nature}/...` (GenImage) |
| `community-forensics` | `{generator}/{real,fake}/...` |
| `forensynths` | `{generator}/[class/]{0_real,1_fake}/...` (CNNDetection) |
| `cifake` | `{train,test}/{REAL,FAKE}/...` |
| `imagefolder` | `[train,val,test/]{real,generated}/[source or generator/]...` |
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from countermark.datasets.records import Label, Record, images_below
from countermark.provenance.errors import UnreadableError, UsageError

LAYOUTS = ("csv", "genimage", "community-forensics", "forensynths", "cifake", "imagefolder")
_GENERATED = frozenset({"generated", "fake", "ai", "1_fake", "synthetic", "reconstructed", "1", "ai-generated"})
_REAL = frozenset({"real", "nature", "0_real", "0", "natural", "human"})
_SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def read(place: Path | str, layout: str = "auto") -> list[Record]:
    """All records of a dataset, in a fixed order.

    Args:
        place: a folder, or a csv file.
        layout: one of `LAYOUTS`, or `auto` to tell by what is there.

    Raises:
        UsageError: nothing is there, the layout is unknown, or no picture with a label was found.
        UnreadableError: a table lacks a column or has a label that is none.
    """
    place = Path(place)
    if not place.exists():
        raise UsageError(f"The dataset {place} does not exist; give a folder or a csv file.")
    if layout not in ("auto", *LAYOUTS):
        raise UsageError(f"Unknown layout {layout!r}; known are auto, {', '.join(LAYOUTS)}.")
    chosen = guess(place) if layout == "auto" else layout
    records = list(_table(place) if chosen == "csv" else _folders(place, chosen))
    if not records:
        raise UsageError(
            f"No labelled pictures in {place} (read as {chosen}). "
            "Give folders named real and generated, or a csv with the columns path and label."
        )
    return records


def guess(place: Path) -> str:
    """The layout of what is at `place`, by its folder names."""
    if place.is_file() or (place / "index.csv").is_file():
        return "csv"
    names = {path.name for path in place.rglob("*") if path.is_dir()}
    if {"ai", "nature"} <= names:
        return "genimage"
    if {"0_real", "1_fake"} <= names:
        return "forensynths"
    if {"REAL", "FAKE"} <= names:
        return "cifake"
    tops = {path.name.lower() for path in place.iterdir() if path.is_dir()}
    if {"real", "fake"} <= {n.lower() for n in names} and not tops & (_GENERATED | _REAL | _SPLITS.keys()):
        return "community-forensics"
    return "imagefolder"


def label_of(name: str) -> Label | None:
    """The label a folder or a cell names, if it names one."""
    lowered = name.strip().lower()
    if lowered in _GENERATED:
        return "generated"
    return "real" if lowered in _REAL else None


def _folders(place: Path, layout: str) -> Iterator[Record]:
    """All folder layouts are one rule: the first label folder decides; what is around it names the rest."""
    for path in images_below(place):
        parts = path.relative_to(place).parts[:-1]
        at = next((i for i, part in enumerate(parts) if label_of(part)), None)
        if at is None:
            continue
        label = label_of(parts[at]) or "real"
        split = next((_SPLITS[p.lower()] for p in parts if p.lower() in _SPLITS), "")
        before = [p for p in parts[:at] if p.lower() not in _SPLITS]
        after = [p for p in parts[at + 1 :] if p.lower() not in _SPLITS]
        owner = (after[0] if after else "") if layout in ("imagefolder", "cifake") else (before[0] if before else "")
        source = owner or place.name
        yield Record(path, label, source if label == "generated" else "", source, split)


def _table(place: Path) -> Iterator[Record]:
    file = place if place.is_file() else place / "index.csv"
    yield from _rows(file, "")
    pairs = file.with_name("paired.csv")
    if file.name == "index.csv" and pairs.is_file():
        for record in _rows(pairs, "train"):
            yield replace(record, pair=record.pair or record.original, source=f"paired-{record.source}")


def _rows(file: Path, split: str) -> Iterator[Record]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as handle:
            reader = csv.DictReader(handle)
            missing = {"path", "label"} - set(reader.fieldnames or ())
            if missing:
                raise UnreadableError(f"{file} lacks the column {' and '.join(sorted(missing))}.")
            for number, row in enumerate(reader, start=2):
                yield _record(file, number, row, split)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UnreadableError(f"{file} cannot be read as a csv table: {error}.") from None


def _record(file: Path, number: int, row: dict[str, str], split: str) -> Record:
    label = label_of(row["label"] or "")
    if label is None:
        raise UnreadableError(f"{file}, line {number}: the label is {row['label']!r}; allowed are real and generated.")
    cell = {key: (value or "") for key, value in row.items() if key}
    return Record(
        path=(file.parent / cell["path"]).resolve(),
        label=label,
        generator=cell.get("generator", "") if label == "generated" else "",
        source=cell.get("source", "") or file.parent.name,
        split=cell.get("split", "") or split,
        kind=cell.get("kind", ""),
        pair=cell.get("pair", ""),
        original=cell.get("original", "") or cell.get("original_sha256", ""),
        view=cell.get("view", ""),
    )
