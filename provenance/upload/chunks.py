"""Walk the containers without decoding pixels: PNG chunks, JPEG segments, RIFF chunks, BMFF boxes.

Every walker is bounded, stops quietly at the first lie, and tells where the container ends, so that
what is glued behind it can be reported.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Chunk", "bmff_boxes", "container_end", "gif_blocks", "jpeg_segments", "png_chunks", "riff_chunks"]

_MAX_CHUNKS = 100_000
_JPEG_ALONE = {0x01, *range(0xD0, 0xD8)}  # markers without a length (ITU-T T.81, table B.1)


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk, segment or box: its type and where it and its payload lie in the file.

    Attributes:
        kind: chunk type as bytes; for JPEG the one marker byte.
        start: offset of the first byte of the chunk, its header included.
        body: offset of the payload.
        end: offset just behind the chunk, padding and checksum included.
        stop: offset just behind the payload.
    """

    kind: bytes
    start: int
    body: int
    stop: int
    end: int


def png_chunks(data: bytes) -> Iterator[Chunk]:
    """Chunks of a PNG up to and including IEND (PNG specification, third edition, 5.3)."""
    at = 8
    for _ in range(_MAX_CHUNKS):
        if at + 12 > len(data):
            return
        size = int.from_bytes(data[at : at + 4], "big")
        end = at + 12 + size
        if end > len(data):
            return
        kind = data[at + 4 : at + 8]
        yield Chunk(kind, at, at + 8, at + 8 + size, end)
        if kind == b"IEND":
            return
        at = end


def jpeg_segments(data: bytes) -> Iterator[Chunk]:
    """Marker segments of a JPEG up to and including EOI; scan data is skipped (ITU-T T.81, B.1)."""
    at = 2
    for _ in range(_MAX_CHUNKS):
        while at < len(data) and data[at] != 0xFF:
            at += 1
        while at + 1 < len(data) and data[at + 1] == 0xFF:  # fill bytes
            at += 1
        if at + 1 >= len(data):
            return
        marker = data[at + 1]
        if marker == 0xD9:
            yield Chunk(b"\xd9", at, at + 2, at + 2, at + 2)
            return
        if marker in _JPEG_ALONE or marker == 0xD8:
            at += 2
            continue
        if at + 4 > len(data):
            return
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if end > len(data) or end < at + 4:
            return
        yield Chunk(bytes([marker]), at, at + 4, end, end)
        at = _skip_scan(data, end) if marker == 0xDA else end


def _skip_scan(data: bytes, at: int) -> int:
    """Offset of the first real marker behind entropy-coded data."""
    while True:
        at = data.find(b"\xff", at)
        if at < 0 or at + 1 >= len(data):
            return len(data)
        follower = data[at + 1]
        if follower != 0 and not 0xD0 <= follower <= 0xD7 and follower != 0xFF:
            return at
        at += 1 if follower == 0xFF else 2


def riff_chunks(data: bytes, start: int = 12, stop: int | None = None) -> Iterator[Chunk]:
    """Chunks of a RIFF file (WebP, AVI, WAV); lists are yielded whole, not entered."""
    limit = min(len(data), 8 + int.from_bytes(data[4:8], "little")) if stop is None else stop
    at = start
    for _ in range(_MAX_CHUNKS):
        if at + 8 > limit:
            return
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if at + 8 + size > len(data):
            return
        end = at + 8 + size + (size & 1)
        yield Chunk(data[at : at + 4], at, at + 8, at + 8 + size, min(end, len(data)))
        at = end


def bmff_boxes(data: bytes, start: int = 0, stop: int | None = None) -> Iterator[Chunk]:
    """Boxes of one level of an ISO base media file (ISO/IEC 14496-12, 4.2)."""
    at, limit = start, len(data) if stop is None else stop
    for _ in range(_MAX_CHUNKS):
        if at + 8 > limit:
            return
        size, kind = struct.unpack_from(">I4s", data, at)
        body = at + 8
        if size == 1 and at + 16 <= limit:
            size, body = int.from_bytes(data[at + 8 : at + 16], "big"), at + 16
        elif size == 0:
            size = limit - at
        if size < body - at or at + size > limit:
            return
        yield Chunk(kind, at, body, at + size, at + size)
        at += size


def gif_blocks(data: bytes) -> Iterator[Chunk]:
    """Image descriptors (``,``), extensions (``!``) and the trailer (``;``) of a GIF (GIF89a, appendix A)."""
    if len(data) < 13:
        return
    at = 13 + _colour_table(data[10])
    for _ in range(_MAX_CHUNKS):
        if at >= len(data):
            return
        kind = data[at : at + 1]
        if kind == b";":
            yield Chunk(kind, at, at + 1, at + 1, at + 1)
            return
        if kind == b"!":
            body = at + 2
        elif kind == b"," and at + 10 <= len(data):
            body = at + 11 + _colour_table(data[at + 9])
        else:
            return
        end = _sub_blocks(data, body)
        if end is None:
            return
        yield Chunk(kind, at, body, end, end)
        at = end


def _colour_table(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _sub_blocks(data: bytes, at: int) -> int | None:
    for _ in range(len(data) // 2 + 1):
        if at >= len(data):
            return None
        size = data[at]
        at += 1 + size
        if size == 0:
            return at
    return None


def container_end(data: bytes, name: str) -> int | None:
    """Offset just behind the container, or None where it never ends or the format does not tell.

    Args:
        data: the whole file.
        name: format name of `countermark.provenance.upload.sniff`.
    """
    if name == "jpeg":
        return next((c.end for c in jpeg_segments(data) if c.kind == b"\xd9"), None)
    if name == "png":
        return next((c.end for c in png_chunks(data) if c.kind == b"IEND"), None)
    if name == "gif":
        return next((c.end for c in gif_blocks(data) if c.kind == b";"), None)
    if name in ("webp", "wav", "avi"):
        size = int.from_bytes(data[4:8], "little")
        end = 8 + size + (size & 1)
        return min(end, len(data)) if 8 + size <= len(data) else None
    return None
