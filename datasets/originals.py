"""Training pictures cut from the original files of public repositories.

A sample of pictures (`index.csv`) says which repositories belong to the training split; this goes back to the
whole repositories (bare or ordinary git directories, one below `mirrors/OWNER+NAME/`) and cuts more pictures from
them by the rules of `originals.yaml`. Nothing is fetched here, and only blobs are read: no file of a repository is
ever checked out or run.
"""

from __future__ import annotations

import csv
import hashlib
import random
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
import yaml
from PIL import Image

from countermark.datasets.laundering import resize
from countermark.datasets.records import Label, Record, write_csv
from countermark.provenance.errors import CountermarkError, UnreadableError, UsageError
from countermark.provenance.upload import Upload

WHOLE = 576
"""Long side in pixels of a whole view."""
CROP = 448
"""Side in pixels of a crop at the picture's own resolution."""
LEAST = 200
"""Pictures whose short side is below this are left out."""
QUALITY = 95
"""JPEG quality of the cuts, 4:4:4, the same for both classes."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Which files of one repository are taken, and as what."""

    source: str
    repo: str
    label: Label
    paths: str = r"\.(jpe?g|png|webp)$"
    leave_out: str = ""
    tiles: int = 1
    cap: int = 0
    generator: str = ""
    kind: str = ""
    indexed_only: bool = False


def load_rules(file: Path | None = None) -> list[Rule]:
    """The rules of `originals.yaml`, in file order."""
    text = (file or Path(__file__).with_name("originals.yaml")).read_text("utf-8")
    table: dict[Label, list[dict[str, Any]]] = yaml.safe_load(text)
    return [
        Rule(label=label, leave_out=row.pop("not", ""), **row)
        for label, rows in table.items()
        for row in map(dict, rows)
    ]


def collect(index: Path, mirrors: Path, out: Path, rules: list[Rule] | None = None, seed: int = 0) -> list[Record]:
    """Cut training pictures from the repositories behind an index and write them with a new `index.csv`.

    Args:
        index: the sample's `index.csv`; files of its `val` rows are never taken, `indexed_only` sources give
            nothing but the files its `train` rows name.
        mirrors: folder that holds `OWNER+NAME/repo` git directories. Repositories not there are passed over.
        out: new folder for the pictures and their `index.csv`.
        rules: default: those of `originals.yaml`.
        seed: of the crops' places.

    Raises:
        UsageError: the index or the mirrors are not there.
    """
    if not index.is_file() or not mirrors.is_dir():
        raise UsageError(f"collect needs an index.csv and a folder of git mirrors; given {index} and {mirrors}.")
    known = _indexed(index)
    records: list[Record] = []
    for rule in rules if rules is not None else load_rules():
        git = _git_dir(mirrors, rule.repo)
        if git is not None:
            records += _take(rule, git, out, known, random.Random(f"{seed}/{rule.repo}/{rule.source}"))  # noqa: S311
    write_csv(records, out / "index.csv")
    return records


@dataclass(frozen=True, slots=True)
class _Indexed:
    train: frozenset[tuple[str, str]]
    val: frozenset[str]


def _indexed(index: Path) -> _Indexed:
    with index.open(newline="", encoding="utf-8") as rows:
        table = list(csv.DictReader(rows))
    return _Indexed(
        frozenset((r["source"], r["source_path"]) for r in table if r["split"] == "train"),
        frozenset(r["original_sha256"] for r in table if r["split"] == "val"),
    )


def _git_dir(mirrors: Path, repo: str) -> Path | None:
    base = mirrors / repo.replace("/", "+") / "repo"
    for git in (base / ".git", base):
        if (git / "HEAD").is_file():
            return git
    return None


def _take(rule: Rule, git: Path, out: Path, known: _Indexed, rng: random.Random) -> list[Record]:
    records: list[Record] = []
    for data in _blobs(git, _chosen(rule, git, known)):
        digest = hashlib.sha256(data).hexdigest()
        if digest in known.val:
            continue
        for number, pixels in enumerate(_pictures(data, rule.tiles)):
            original = f"{digest[:16]}-{number}"
            for view, cut in _cuts(pixels, rng):
                file = out / rule.label / f"{rule.source}_{original}_{view}.jpg"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(simplejpeg.encode_jpeg(cut, QUALITY, "RGB", "444"))
                known_as = Record(file, rule.label, rule.generator, rule.source, "train", rule.kind)
                records.append(replace(known_as, original=original, view=view))
    return records


def _chosen(rule: Rule, git: Path, known: _Indexed) -> list[str]:
    listing = subprocess.run(
        ["git", "-c", "core.quotepath=off", "--git-dir", str(git), "ls-tree", "-r", "-z", "--name-only", "HEAD"],
        capture_output=True, check=True,
    ).stdout.decode("utf-8", "replace")  # fmt: skip
    wanted, unwanted = re.compile(rule.paths, re.I), re.compile(rule.leave_out or r"(?!)", re.I)
    names = [
        name
        for name in sorted(listing.split("\0"))
        if re.search(r"\.(jpe?g|png|webp|bmp|tiff?)$", name, re.I)
        and (not rule.indexed_only or (rule.source, name) in known.train)
        and (rule.indexed_only or (wanted.search(name) and not unwanted.search(name)))
    ]
    if rule.cap and len(names) > rule.cap:
        names = [names[int(i * len(names) / rule.cap)] for i in range(rule.cap)]
    return names


def _blobs(git: Path, names: list[str]) -> Iterator[bytes]:
    command = ["git", "--git-dir", str(git), "cat-file", "--batch"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        if process.stdin is None or process.stdout is None:
            raise UnreadableError(f"git gave no pipes for {git}.")
        for name in names:
            process.stdin.write(f"HEAD:{name}\n".encode())
            process.stdin.flush()
            head = process.stdout.readline().split()
            if len(head) == 3 and head[1] == b"blob":
                data = process.stdout.read(int(head[2]))
                process.stdout.read(1)
                yield data
        process.stdin.close()


def _pictures(data: bytes, tiles: int) -> list[np.ndarray]:
    """RGB uint8 (H, W, 3) pictures of one file; none where it does not decode or is too small."""
    try:
        pixels = Upload(data).pixels
    except CountermarkError:
        return []
    while min(pixels.shape[:2]) >= 4 * WHOLE:  # crops of a very large picture would show next to nothing
        pixels = resize(pixels, 0.5)
    pictures = _tiles(pixels, tiles) if tiles > 1 else [pixels]
    return [p for p in pictures if min(p.shape[:2]) >= LEAST and max(p.shape[:2]) <= 5 * min(p.shape[:2])]


def _tiles(pixels: np.ndarray, count: int) -> list[np.ndarray]:
    """The pictures of a `count` x `count` sheet, a hem of 12 pixels cut off each (the gap between them)."""
    height, width = pixels.shape[0] // count, pixels.shape[1] // count
    hem = 12
    return [
        pixels[r * height + hem : (r + 1) * height - hem, c * width + hem : (c + 1) * width - hem]
        for r in range(count)
        for c in range(count)
    ]


def _cuts(pixels: np.ndarray, rng: random.Random) -> Iterator[tuple[str, np.ndarray]]:
    height, width = pixels.shape[:2]
    scale = WHOLE / max(height, width)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        kernel = rng.choice((Image.Resampling.LANCZOS, Image.Resampling.BICUBIC, Image.Resampling.BOX))
        yield "whole", np.asarray(Image.fromarray(pixels).resize(size, kernel))
    else:
        yield "whole", np.ascontiguousarray(pixels)
    if min(height, width) >= CROP * 1.25:
        y, x = rng.randrange(height - CROP + 1), rng.randrange(width - CROP + 1)
        yield "crop", np.ascontiguousarray(pixels[y : y + CROP, x : x + CROP])
