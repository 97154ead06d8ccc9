"""What would change if another version of a pack decided over the same scans."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from countermark.policies.engine import Compiled, context_of, decide
from countermark.provenance.errors import UsageError
from countermark.provenance.status import Status

__all__ = ["Change", "read_scans", "simulate"]

_WANTED = "Give a report of `scan --format jsonl` or `--format json`."


@dataclass(frozen=True, slots=True)
class Change:
    """One scan that two packs decide differently.

    Attributes:
        path, status: of the scan.
        before, after: ``rule: action`` of each pack.
    """

    path: str
    status: str
    before: str
    after: str


def read_scans(paths: Iterable[Path]) -> Iterator[dict[str, Any]]:
    """Scan objects of JSON Lines or JSON files, or of all such files in a folder.

    Raises:
        UsageError: a file is no scan report; names the line.
    """
    for path in paths:
        files = sorted([*path.rglob("*.jsonl"), *path.rglob("*.json")]) if path.is_dir() else [path]
        for file in files:
            try:
                text = file.read_text("utf-8")
            except OSError as exc:
                raise UsageError(f"{file}: {exc.strerror or exc}.") from exc
            except UnicodeDecodeError as exc:
                raise UsageError(f"{file}: not a text file. {_WANTED}") from exc
            yield from _parse(text, file)


def _parse(text: str, file: Path) -> Iterator[dict[str, Any]]:
    if text.lstrip().startswith("["):
        for number, item in enumerate(_json(text, str(file)), 1):
            yield _checked(item, f"{file}, item {number}")
        return
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            place = f"{file}, line {number}"
            yield _checked(_json(line, place), place)


def _json(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise UsageError(f"{place}: not JSON. {_WANTED}") from exc


def _checked(item: Any, place: str) -> dict[str, Any]:
    if not isinstance(item, dict) or item.get("status") not in list(Status):
        raise UsageError(f"{place}: no scan object. {_WANTED}")
    return item


def simulate(
    scans: Iterable[dict[str, Any]], before: Compiled, after: Compiled, traits: Iterable[str] = (), **where: Any
) -> tuple[int, Counter[str], list[Change]]:
    """Decide every scan with both packs.

    Returns:
        Number of scans, how often each ``before -> after`` occurs, and the scans that change.
    """
    total, moves, changes = 0, Counter[str](), []
    said = list(traits)
    for item in scans:
        total += 1
        context = context_of(Status(item["status"]), said, **where)
        old, new = decide([before, after], context)
        moves[f"{old.action} -> {new.action}"] += 1
        if (old.action, old.text, old.review, old.removable) != (new.action, new.text, new.review, new.removable):
            path = str(item.get("path") or "")
            changes.append(Change(path, item["status"], f"{old.rule}: {old.action}", f"{new.rule}: {new.action}"))
    return total, moves, changes
