"""The store that leads from a watermark id or a fingerprint back to the manifest, when a platform stripped it.

One SQLite file. Records are shaped so that the C2PA Soft Binding Resolution API can be served from them:
``byBinding`` by algorithm and value, ``byContent`` by fingerprint, ``manifests/{id}`` by manifest id.
"""

from __future__ import annotations

import datetime as dt
import os
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from countermark.provenance.errors import MarkError, MissingPart, UnreadableError
from countermark.provenance.fingerprint import MATCH_DISTANCE, MIN_QUALITY, Fingerprint, distances
from countermark.provenance.home import home
from countermark.provenance.watermark.stats import binomial_sf

__all__ = ["ID_BITS", "IdMatch", "Record", "Registry", "default_registry", "new_id"]

ID_BITS = 64
_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    mark_id TEXT NOT NULL UNIQUE,
    created_at TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    fingerprint_quality INTEGER NOT NULL,
    media_type TEXT NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    title TEXT NOT NULL,
    source_type TEXT NOT NULL,
    binding_alg TEXT NOT NULL,
    manifest_id TEXT NOT NULL,
    manifest BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS records_sha256 ON records (sha256);
CREATE INDEX IF NOT EXISTS records_manifest ON records (manifest_id);
"""
_VERSION = 1
_COLUMNS = (
    "mark_id, created_at, sha256, fingerprint, fingerprint_quality, media_type, width, height, title, "
    "source_type, binding_alg, manifest_id, manifest"
)


def new_id() -> str:
    """A fresh 64 bit record id, 16 hex digits."""
    return secrets.token_hex(ID_BITS // 8)


@dataclass(frozen=True, slots=True)
class Record:
    """One stamped picture.

    Attributes:
        mark_id: 64 bit id, 16 hex digits; the watermark carries it.
        sha256: of the stamped file.
        fingerprint: of its pixels.
        media_type, width, height, title: of the stamped file.
        source_type: IPTC digital source type, full URI.
        binding_alg: soft binding algorithm, empty without a watermark.
        manifest_id: label of the active manifest, empty without a manifest.
        manifest: manifest store bytes.
        created_at: ISO 8601, UTC.
    """

    mark_id: str
    sha256: str
    fingerprint: Fingerprint
    media_type: str
    width: int
    height: int
    title: str
    source_type: str
    binding_alg: str = ""
    manifest_id: str = ""
    manifest: bytes = field(default=b"", repr=False)
    created_at: str = field(default_factory=lambda: dt.datetime.now(dt.UTC).isoformat(timespec="seconds"))

    def to_dict(self) -> dict[str, Any]:
        """JSON-serialisable form, without the manifest bytes."""
        return {
            "mark_id": self.mark_id,
            "created_at": self.created_at,
            "sha256": self.sha256,
            "media_type": self.media_type,
            "width": self.width,
            "height": self.height,
            "title": self.title,
            "source_type": self.source_type,
            "soft_binding": {"alg": self.binding_alg, "value": self.mark_id} if self.binding_alg else None,
            "fingerprint": {"alg": "pdq", "value": self.fingerprint.bits.hex(), "quality": self.fingerprint.quality},
            "manifest_id": self.manifest_id,
            "manifest_bytes": len(self.manifest),
        }


@dataclass(frozen=True, slots=True)
class IdMatch:
    """A record whose id is close to what a watermark said.

    Attributes:
        record: the record.
        wrong_bits: how many of the 64 bits differ.
        p_value: chance that random bits come as close to any record.
    """

    record: Record
    wrong_bits: int
    p_value: float


@dataclass(slots=True)
class _Index:
    """Ids and fingerprints of all records in memory, row by row."""

    rows: npt.NDArray[np.int64]
    ids: npt.NDArray[np.uint64]
    prints: npt.NDArray[np.uint64]  # (N, 4)
    usable: npt.NDArray[np.bool_]


class Registry:
    """One registry file; safe to use from many threads and processes.

    Args:
        path: SQLite file; made on the first write.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._pid = os.getpid()
        self._index: _Index | None = None
        self._seen: tuple[int, int] = (-1, -1)
        self._own_writes = 0

    @property
    def exists(self) -> bool:
        """Whether anything was ever written."""
        return self.path.is_file()

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None and self._pid == os.getpid():
            return self._connection
        try:
            connection = self._connect()
        except sqlite3.Error as exc:
            raise UnreadableError(
                f"{self.path}: the registry cannot be opened ({exc}). Move the file away to start a new one."
            ) from exc
        self._connection, self._pid, self._index = connection, os.getpid(), None
        return connection

    def _connect(self) -> sqlite3.Connection:
        """Open for writing, or for reading only where the file or its folder cannot be written."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, timeout=15.0, check_same_thread=False, isolation_level=None)
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
            if version < _VERSION:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.executescript(_SCHEMA + f"PRAGMA user_version={_VERSION};")
            connection.execute("PRAGMA synchronous=FULL")
        except (sqlite3.OperationalError, OSError):
            if not self.exists:
                raise
            address = f"file:{quote(str(self.path.resolve()))}?mode=ro&immutable=1"
            connection = sqlite3.connect(address, uri=True, check_same_thread=False, isolation_level=None)
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if version > _VERSION:
            connection.close()
            raise MissingPart(f"{self.path} was written by a newer version of countermark (format {version}).")
        return connection

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = self._index = None

    def add(self, record: Record) -> None:
        """Store a record durably.

        Raises:
            MarkError: it cannot be stored.
        """
        values = (
            record.mark_id,
            record.created_at,
            record.sha256,
            record.fingerprint.bits,
            record.fingerprint.quality,
            record.media_type,
            record.width,
            record.height,
            record.title,
            record.source_type,
            record.binding_alg,
            record.manifest_id,
            record.manifest,
        )
        marks = ", ".join("?" * len(values))
        with self._lock:
            try:
                self._open().execute(f"INSERT INTO records ({_COLUMNS}) VALUES ({marks})", values)  # noqa: S608
            except sqlite3.Error as exc:
                raise MarkError(f"{self.path}: the registry record cannot be stored ({exc}).") from exc
            self._own_writes += 1

    def remove(self, mark_id: str) -> bool:
        """Forget a record; returns whether it was there."""
        with self._lock:
            done = self._open().execute("DELETE FROM records WHERE mark_id = ?", (mark_id,)).rowcount
            self._own_writes += 1
        return done > 0

    def __len__(self) -> int:
        if not self.exists:
            return 0
        with self._lock:
            return int(self._open().execute("SELECT COUNT(*) FROM records").fetchone()[0])

    def records(self, limit: int = 100) -> Iterator[Record]:
        """The newest records."""
        if self.exists:
            yield from self._select("1 = 1", (), limit)

    def by_sha256(self, digest: str) -> Record | None:
        """The record of exactly these bytes."""
        return next(self._select("sha256 = ?", (digest,)), None)

    def by_id(self, mark_id: str) -> Record | None:
        """The record with this id (Soft Binding Resolution: ``byBinding``)."""
        return next(self._select("mark_id = ?", (mark_id.lower(),)), None)

    def by_manifest(self, manifest_id: str) -> Record | None:
        """The record with this manifest (Soft Binding Resolution: ``manifests/{id}``)."""
        return next(self._select("manifest_id = ?", (manifest_id,)), None)

    def by_mark(self, bits: npt.NDArray[np.bool_]) -> IdMatch | None:
        """The record whose id is closest to 64 watermark bits, if that is no accident.

        Args:
            bits: (64,) bool.
        """
        index = self._load()
        if index is None or not len(index.ids):
            return None
        wanted = np.frombuffer(np.packbits(bits).tobytes(), ">u8").astype(np.uint64)
        wrong = np.bitwise_count(index.ids ^ wanted)
        best = int(np.argmin(wrong))
        p_value = min(1.0, binomial_sf(ID_BITS - int(wrong[best]), ID_BITS) * len(index.ids))
        record = next(self._select("id = ?", (int(index.rows[best]),)), None) if p_value < 0.01 else None
        return IdMatch(record, int(wrong[best]), p_value) if record else None

    def by_fingerprint(self, print_: Fingerprint) -> tuple[Record, int] | None:
        """The closest record within `MATCH_DISTANCE`, with its distance in bits."""
        index = self._load()
        if index is None or not print_.usable or not len(index.rows):
            return None
        apart = distances(index.prints, print_.bits)
        apart[~index.usable] = 256
        best = len(apart) - 1 - int(np.argmin(apart[::-1]))  # of equals, the newest
        if apart[best] > MATCH_DISTANCE:
            return None
        record = next(self._select("id = ?", (int(index.rows[best]),)), None)
        return (record, int(apart[best])) if record else None

    def _select(self, where: str, values: tuple[Any, ...], limit: int = 1) -> Iterator[Record]:
        if not self.exists:
            return
        query = f"SELECT {_COLUMNS} FROM records WHERE {where} ORDER BY id DESC LIMIT {int(limit)}"  # noqa: S608
        with self._lock:
            rows = self._open().execute(query, values).fetchall()
        for row in rows:
            mark_id, created, sha256, bits, quality, *rest, manifest = row
            media_type, width, height, title, source_type, alg, manifest_id = rest
            yield Record(
                mark_id,
                sha256,
                Fingerprint(bits, quality),
                media_type,
                width,
                height,
                title,
                source_type,
                alg,
                manifest_id,
                manifest,
                created,
            )

    def _load(self) -> _Index | None:
        """The index, read again only when this or another process wrote."""
        if not self.exists:
            return None
        with self._lock:
            connection = self._open()
            state = (int(connection.execute("PRAGMA data_version").fetchone()[0]), self._own_writes)
            if self._index is None or state != self._seen:
                query = "SELECT id, mark_id, fingerprint, fingerprint_quality FROM records ORDER BY id"
                self._index = _index_of(connection.execute(query).fetchall())
                self._seen = state
            return self._index


def _index_of(rows: list[tuple[int, str, bytes, int]]) -> _Index:
    prints = np.frombuffer(b"".join(r[2] for r in rows), np.uint64).reshape(-1, 4)
    return _Index(
        np.array([r[0] for r in rows], np.int64),
        np.array([int(r[1], 16) for r in rows], np.uint64),
        prints,
        np.array([r[3] >= MIN_QUALITY for r in rows], np.bool_),
    )


def default_registry() -> Registry:
    """The registry of this machine: ``$COUNTERMARK_REGISTRY``, else ``<home>/registry.sqlite``."""
    chosen = os.environ.get("COUNTERMARK_REGISTRY")
    return _registry_at(Path(chosen).expanduser() if chosen else home() / "registry.sqlite")


@lru_cache(maxsize=8)
def _registry_at(path: Path) -> Registry:
    return Registry(path)
