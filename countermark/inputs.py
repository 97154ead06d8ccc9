"""From what a user names to the files to scan: files, folders, patterns, and lists on standard input."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from countermark.provenance.errors import UsageError
from countermark.provenance.upload.sniff import FORMATS, sniff

__all__ = ["expand"]

_EXTENSIONS = {extension for f in FORMATS.values() for extension in f.extensions}


def expand(names: Iterable[str], stdin: BinaryIO | None = None) -> Iterator[Path]:
    """Files to scan, in a stable order, each once.

    A folder is walked; in it, files count that have a known extension or known first bytes. ``-`` reads
    names from standard input, one a line or separated by NUL bytes. A name with ``*``, ``?`` or ``[``
    that is no file is taken as a pattern; ``**`` matches folders.

    Raises:
        UsageError: a pattern matches nothing, or ``-`` without standard input.
    """
    seen: set[str] = set()
    for name in names:
        for path in _from_stdin(stdin) if name == "-" else _from_name(name):
            key = os.path.abspath(path)
            if key not in seen:
                seen.add(key)
                yield path


def _from_name(name: str) -> Iterator[Path]:
    path = Path(name)
    if path.is_dir():
        yield from _walk(path)
    elif not path.exists() and glob.has_magic(name):
        matches = sorted(glob.glob(name, recursive=True))
        if not matches:
            raise UsageError(f"{name}: no file matches this pattern.")
        for match in matches:
            yield from _walk(Path(match)) if os.path.isdir(match) else [Path(match)]
    else:
        yield path  # a missing file is reported like any other unreadable one


def _from_stdin(stdin: BinaryIO | None) -> Iterator[Path]:
    if stdin is None:
        raise UsageError("'-' reads file names from standard input, but there is none.")
    data = stdin.read()
    for raw in data.split(b"\0" if b"\0" in data else b"\n"):
        if name := os.fsdecode(raw.strip(b"\r")):
            yield from _from_name(name)


def _walk(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for name in sorted(files):
            path = Path(root, name)
            if not name.startswith(".") and path.is_file() and _is_ours(path):
                yield path


def _is_ours(path: Path) -> bool:
    if path.suffix.lower() in _EXTENSIONS:
        return True
    try:
        with path.open("rb") as stream:
            return sniff(stream.read(4096)) is not None
    except OSError:
        return False
