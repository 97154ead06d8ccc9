"""One typed record a picture, whatever layout the dataset on disk has."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Label = Literal["real", "generated"]
LABELS: tuple[Label, ...] = ("real", "generated")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".avif", ".bmp", ".tif", ".tiff", ".gif", ".heic"})


@dataclass(frozen=True, slots=True)
class Record:
    """One picture of a dataset.

    Attributes:
        path: the file.
        label: `real` or `generated`.
        generator: the model that made it; empty for real pictures.
        source: the collection it comes from (a site, a camera corpus, a gallery). Splits keep a source whole.
        split: `train`, `val`, `test`, or empty where the layout has none.
        kind: photo, portrait, illustration, art, screenshot, graphic, render, product, food ...; may be empty.
        pair: pictures with the same non-empty value differ only in what generated them.
        original: identity of the file it was cut from, so that two cuts of one file are never told apart.
        view: `crop` for a window at the original's own resolution, `whole` for the whole picture; may be empty.
    """

    path: Path
    label: Label
    generator: str = ""
    source: str = ""
    split: str = ""
    kind: str = ""
    pair: str = ""
    original: str = ""
    view: str = ""

    @property
    def target(self) -> int:
        """1 for generated, 0 for real."""
        return int(self.label == "generated")

    @property
    def group(self) -> str:
        """What balanced sampling and per-group figures count as one: the generator, or the real source."""
        return (self.generator or self.source) if self.label == "generated" else self.source


FIELDS = ("path", "label", "generator", "source", "split", "kind", "pair", "original", "view")


def write_csv(records: Iterable[Record], file: Path) -> None:
    """Write records as the `csv` layout, paths relative to the file's folder where they lie below it."""
    base = file.resolve().parent
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(FIELDS)
        for record in records:
            path = record.path.resolve()
            name = path.relative_to(base) if path.is_relative_to(base) else path
            writer.writerow([name.as_posix(), *(getattr(record, field) for field in FIELDS[1:])])


def images_below(folder: Path) -> Iterator[Path]:
    """Image files below a folder, in sorted order; hidden files and folders are passed over."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and path.suffix.lower() in SUFFIXES and path.is_file():
            yield path
