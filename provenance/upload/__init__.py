"""The bytes of one file, sniffed and bounded, with its pixels decoded at most once per view."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from countermark.provenance.errors import LimitExceeded, UnreadableError, UnsupportedFormat, UsageError
from countermark.provenance.upload.chunks import container_end
from countermark.provenance.upload.decode import Header, Pixels, decode_rgb, decode_rgba, decode_view, read_header
from countermark.provenance.upload.limits import DEFAULT_LIMITS, Limits
from countermark.provenance.upload.sniff import FORMATS, Format, sniff

__all__ = ["DEFAULT_LIMITS", "FORMATS", "Format", "Header", "Limits", "Pixels", "Trailer", "Upload", "sniff"]

VIEW_SIDE = 512
_TRAILERS: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "zip"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG", "png"),
    (b"GIF8", "gif"),
    (b"%PDF-", "pdf"),
    (b"Rar!", "rar"),
    (b"7z\xbc\xaf", "7z"),
    (b"MZ", "exe"),
    (b"\x7fELF", "elf"),
)


@dataclass(frozen=True, slots=True)
class Trailer:
    """Bytes glued behind the end of the container.

    Attributes:
        offset: where they start.
        size: how many.
        looks_like: format they start as, or None.
    """

    offset: int
    size: int
    looks_like: str | None


class Upload:
    """One file, held in memory, with everything about it computed at most once.

    Args:
        data: the whole file.
        path: where it came from, for messages only.
        limits: bounds that are checked before decoding.

    Raises:
        LimitExceeded: more bytes than allowed.
        UnsupportedFormat: not one of `FORMATS`.
    """

    def __init__(self, data: bytes, path: str | None = None, limits: Limits = DEFAULT_LIMITS) -> None:
        if len(data) > limits.max_bytes:
            raise _too_many_bytes(path, len(data), limits)
        if not data:
            raise UnreadableError(f"{path or 'upload'}: the file is empty.")
        fmt = sniff(data)
        if fmt is None:
            raise UnsupportedFormat(
                f"{path or 'upload'}: unknown format (first bytes {data[:8].hex(' ')}). "
                f"Readable are {', '.join(sorted(FORMATS))}."
            )
        self.data = data
        self.path = path
        self.limits = limits
        self.format = fmt
        self._lock = threading.RLock()

    @classmethod
    def open(cls, source: str | Path | bytes | BinaryIO, limits: Limits = DEFAULT_LIMITS) -> Upload:
        """Read a path, bytes or a binary stream; no more than the limit is ever read.

        Raises:
            UnreadableError: the path does not exist or cannot be read.
            UsageError: the source is of another type.
            LimitExceeded, UnsupportedFormat: see the class.
        """
        if isinstance(source, bytes | bytearray | memoryview):
            return cls(bytes(source), None, limits)
        if isinstance(source, str | Path):
            return cls(_read_path(Path(source), limits), str(source), limits)
        if hasattr(source, "read"):
            data = source.read(limits.max_bytes + 1)
            if not isinstance(data, bytes):
                raise UsageError("A stream to scan must be opened in binary mode, for example open(path, 'rb').")
            name = getattr(source, "name", None)  # a number for a stream made from a descriptor
            return cls(data, name if isinstance(name, str) else None, limits)
        raise UsageError(
            f"Expected a path, bytes or a binary stream, got {type(source).__name__}. "
            "For an image array, save it to bytes first."
        )

    @property
    def media_type(self) -> str:
        """IANA media type, sniffed from the bytes."""
        return self.format.media_type

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the bytes, lower-case hex."""
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def header(self) -> Header | None:
        """Header facts of a raster image; None for audio, video, documents and formats without a decoder.

        Raises:
            LimitExceeded, UnreadableError: see `countermark.provenance.upload.decode.read_header`.
        """
        return read_header(self.data, self.format, self.limits) if self.format.raster else None

    @cached_property
    def trailer(self) -> Trailer | None:
        """What lies behind the end of the container, or None."""
        end = container_end(self.data, self.format.name)
        if end is None or end >= len(self.data):
            return None
        tail = self.data[end:]
        if not tail.strip(b"\x00\r\n\t "):
            return None
        start = tail[:64].lstrip(b"\x00\r\n\t ")
        kind = next((name for magic, name in _TRAILERS if start.startswith(magic)), None)
        if kind is None and tail[4:8] == b"ftyp":
            kind = "mp4"
        if kind is None and start[:16].lower().startswith((b"<!doctype", b"<html", b"<script", b"<?php", b"<svg")):
            kind = "markup"
        return Trailer(end, len(tail), kind)

    @cached_property
    def truncated(self) -> bool:
        """Whether the container never reaches its end marker."""
        return self.format.name in ("jpeg", "png", "gif", "webp") and (
            container_end(self.data, self.format.name) is None
        )

    @cached_property
    def pixels(self) -> Pixels:
        """The exact pixels of the first frame, (H, W, 3) uint8, RGB, [0, 255], upright, read-only.

        Raises:
            UnreadableError: damaged, or a format without a decoder.
        """
        with self._lock:
            return _frozen(decode_rgb(self.data, self.format, self._raster_header(), self.limits))

    @cached_property
    def view(self) -> Pixels:
        """A reduced view, long side <= 512, (h, w, 3) uint8, RGB, [0, 255], upright, read-only.

        Raises:
            UnreadableError: damaged, or a format without a decoder.
        """
        with self._lock:
            return _frozen(decode_view(self.data, self.format, self._raster_header(), self.limits, VIEW_SIDE))

    @cached_property
    def rgba(self) -> Pixels | None:
        """Stored pixels with alpha, (H, W, 4) uint8, not oriented; None without an alpha channel."""
        with self._lock:
            self._raster_header()
            return decode_rgba(self.data, self.format, self.limits)

    def _raster_header(self) -> Header:
        if self.header is None:
            raise UnreadableError(f"{self.format.name} pixels are not decoded here; its marks are still read.")
        return self.header


def _frozen(pixels: Pixels) -> Pixels:
    pixels.setflags(write=False)
    return pixels


def _too_many_bytes(path: str | None, size: int, limits: Limits) -> LimitExceeded:
    return LimitExceeded(
        f"{path or 'upload'}: {size:,} bytes, allowed {limits.max_bytes:,}. "
        "Raise the limit with Limits(max_bytes=...) if the machine has the memory."
    )


def _read_path(path: Path, limits: Limits) -> bytes:
    try:
        if path.is_dir():
            raise UnreadableError(f"{path}: is a folder. Name files, or let `countermark scan` walk it.")
        if not path.is_file() and path.exists():
            raise UnreadableError(f"{path}: not a regular file. Copy its content to a file first.")
        with path.open("rb") as stream:
            data = stream.read(limits.max_bytes + 1)
    except OSError as exc:
        raise UnreadableError(f"{path}: {exc.strerror or exc}.") from exc
    if len(data) > limits.max_bytes:
        raise _too_many_bytes(str(path), path.stat().st_size, limits)
    return data
