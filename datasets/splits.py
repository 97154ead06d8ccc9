"""Splits that keep what belongs together on one side: sources, generators, and pictures that are nearly the same.

Near-duplicates are found with PDQ fingerprints: two pictures whose fingerprints are at most
`fingerprint.MATCH_DISTANCE` bits apart are taken for copies of one another.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from countermark.datasets.records import Record
from countermark.provenance.errors import CountermarkError, UsageError
from countermark.provenance.fingerprint import MATCH_DISTANCE, distances, fingerprint
from countermark.provenance.upload import Upload


def hashes(records: Sequence[Record]) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """PDQ hashes packed to uint64 (N, 4), and whether each can be used; unreadable and plain pictures cannot."""
    packed = np.zeros((len(records), 4), np.uint64)
    usable = np.zeros(len(records), np.bool_)
    for row, record in enumerate(records):
        try:
            mark = fingerprint(Upload.open(record.path).view)
        except CountermarkError:
            continue
        packed[row] = np.frombuffer(mark.bits, np.uint64)
        usable[row] = mark.usable
    return packed, usable


def unreadable(records: Sequence[Record]) -> set[Path]:
    """Paths of pictures that do not decode."""
    broken = set()
    for record in records:
        try:
            _ = Upload.open(record.path).view
        except CountermarkError:
            broken.add(record.path)
    return broken


def near_duplicates_of(records: Sequence[Record], others: Sequence[Record]) -> set[Path]:
    """Paths of `records` that are nearly one of `others`."""
    mine, usable = hashes(records)
    theirs, theirs_usable = hashes(others)
    theirs = theirs[theirs_usable]
    if not len(theirs):
        return set()
    return {
        record.path
        for record, row, usable_row in zip(records, mine, usable, strict=True)
        if usable_row and int(distances(theirs, row.tobytes()).min()) <= MATCH_DISTANCE
    }


def groups(records: Sequence[Record]) -> list[int]:
    """A group number a record: the same for one source, one original and for near-duplicates, however linked."""
    parent = list(range(len(records)))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    first: dict[tuple[str, str], int] = {}
    for number, record in enumerate(records):
        for key in (("source", record.source), ("original", record.original), ("pair", record.pair)):
            if key[1]:
                parent[root(number)] = root(first.setdefault(key, number))
    packed, usable = hashes(records)
    for number in map(int, np.flatnonzero(usable)):
        near = distances(packed[:number], packed[number].tobytes()) <= MATCH_DISTANCE
        for twin in np.flatnonzero(near & usable[:number]):
            parent[root(number)] = root(int(twin))
    return [root(number) for number in range(len(records))]


def assign(records: Sequence[Record], shares: Mapping[str, float], seed: int = 0) -> list[Record]:
    """Records with their split set; a group is never divided, and the same input always gives the same split.

    Groups are taken class by class in the order of a keyed hash and put where most is missing. A class that is one
    single group (one source) cannot be divided by source and is divided by original and near-duplicate only.

    Args:
        records: the dataset.
        shares: split name to share; they sum to 1.
        seed: another seed, another split.

    Raises:
        UsageError: the shares do not sum to 1.
    """
    if abs(sum(shares.values()) - 1) > 1e-6:
        raise UsageError(f"The shares of a split must sum to 1; given {dict(shares)}.")
    sourced = groups(records)
    split: dict[int, str] = {}
    for label in ("real", "generated"):
        rows = [i for i, record in enumerate(records) if record.label == label]
        keys = {i: sourced[i] for i in rows}
        if len(set(keys.values())) < len(shares) and rows:
            loose = groups([replace(records[i], source="") for i in rows])
            keys = dict(zip(rows, loose, strict=True))
        split |= _place(keys, records, shares, seed)
    return [replace(record, split=split[number]) for number, record in enumerate(records)]


def _place(
    keys: Mapping[int, int], records: Sequence[Record], shares: Mapping[str, float], seed: int
) -> dict[int, str]:
    members: dict[int, list[int]] = defaultdict(list)
    for row, key in keys.items():
        members[key].append(row)

    def order(key: int) -> str:
        name = min(f"{records[i].source}/{records[i].path.name}" for i in members[key])
        return hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()

    filled = dict.fromkeys(shares, 0)
    placed: dict[int, str] = {}
    for key in sorted(members, key=order):
        name = min(shares, key=lambda s: (filled[s] + len(members[key]) / 2) / shares[s])
        filled[name] += len(members[key])
        placed |= dict.fromkeys(members[key], name)
    return placed
