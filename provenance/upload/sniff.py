"""Tell the format of a file from its first bytes, never from its name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["FORMATS", "Format", "sniff"]


@dataclass(frozen=True, slots=True)
class Format:
    """One file format.

    Attributes:
        name: short lower-case name, for example ``"jpeg"``.
        media_type: IANA media type.
        raster: whether this build can decode its pixels.
        extensions: usual file name extensions, with the dot.
    """

    name: str
    media_type: str
    raster: bool
    extensions: tuple[str, ...]


FORMATS: dict[str, Format] = {
    f.name: f
    for f in (
        Format("jpeg", "image/jpeg", True, (".jpg", ".jpeg", ".jpe", ".jfif")),
        Format("png", "image/png", True, (".png", ".apng")),
        Format("webp", "image/webp", True, (".webp",)),
        Format("gif", "image/gif", True, (".gif",)),
        Format("avif", "image/avif", True, (".avif",)),
        Format("heic", "image/heic", True, (".heic", ".heics")),
        Format("heif", "image/heif", True, (".heif", ".hif")),
        Format("tiff", "image/tiff", True, (".tif", ".tiff")),
        Format("dng", "image/x-adobe-dng", False, (".dng",)),
        Format("jxl", "image/jxl", False, (".jxl",)),
        Format("svg", "image/svg+xml", False, (".svg",)),
        Format("mp4", "video/mp4", False, (".mp4",)),
        Format("mov", "video/quicktime", False, (".mov", ".qt")),
        Format("m4a", "audio/mp4", False, (".m4a",)),
        Format("avi", "video/avi", False, (".avi",)),
        Format("wav", "audio/wav", False, (".wav",)),
        Format("mp3", "audio/mpeg", False, (".mp3",)),
        Format("flac", "audio/flac", False, (".flac",)),
        Format("pdf", "application/pdf", False, (".pdf",)),
    )
}

_BMFF_BRANDS: dict[bytes, str] = {
    b"avif": "avif",
    b"avis": "avif",
    b"heic": "heic",
    b"heix": "heic",
    b"heim": "heic",
    b"heis": "heic",
    b"hevc": "heic",
    b"hevx": "heic",
    b"mif1": "heif",
    b"msf1": "heif",
    b"qt  ": "mov",
    b"M4A ": "m4a",
    b"M4B ": "m4a",
}
_RIFF_FORMS = {b"WEBP": "webp", b"AVI ": "avi", b"WAVE": "wav"}
_PREFIXES: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"\xff\x0a", "jxl"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "jxl"),
    (b"fLaC", "flac"),
    (b"ID3", "mp3"),
    (b"%PDF-", "pdf"),
)
_TIFF_ORDERS: dict[bytes, Literal["little", "big"]] = {b"II*\x00": "little", b"MM\x00*": "big"}
_DNG_VERSION_TAG = 50706  # DNG specification 1.7, chapter 4
_MP4_BRANDS = (b"iso", b"mp4", b"M4V", b"avc1", b"dash", b"msdh", b"cmf", b"3gp", b"f4v")


def sniff(head: bytes) -> Format | None:
    """Format of a file from its bytes, or None when it is none of ours.

    The first 4 KiB are enough for all but DNG, whose directory may lie anywhere.
    """
    for prefix, name in _PREFIXES:
        if head.startswith(prefix):
            return FORMATS[name]
    if head[:4] == b"RIFF" and head[8:12] in _RIFF_FORMS:
        return FORMATS[_RIFF_FORMS[head[8:12]]]
    name_or_none = _bmff(head) or _tiff(head) or _text(head) or _mpeg_audio(head)
    return FORMATS[name_or_none] if name_or_none else None


def _bmff(head: bytes) -> str | None:
    """ISO base media files (ISO/IEC 14496-12): the major brand, then the compatible brands."""
    if head[4:8] in (b"moov", b"mdat", b"wide", b"free", b"skip"):
        return "mov"
    if head[4:8] != b"ftyp":
        return None
    size = min(int.from_bytes(head[:4], "big"), 512)
    brands = [head[8:12]] + [head[i : i + 4] for i in range(16, size - 3, 4)]
    if brands[0] in (b"mif1", b"msf1"):  # a generic major brand: the compatible ones say which codec
        brands.sort(key=lambda b: b in (b"mif1", b"msf1"))
    for brand in brands[:1] if brands[0] in _BMFF_BRANDS else brands:
        if brand in _BMFF_BRANDS:
            return _BMFF_BRANDS[brand]
        if brand.startswith(_MP4_BRANDS):
            return "mp4"
    return "mp4"


def _tiff(head: bytes) -> str | None:
    endian = _TIFF_ORDERS.get(head[:4])
    if endian is None:
        return "tiff" if head[:4] in (b"II+\x00", b"MM\x00+") else None  # BigTIFF
    offset = int.from_bytes(head[4:8], endian)
    count = int.from_bytes(head[offset : offset + 2], endian)
    for i in range(min(count, 200)):
        at = offset + 2 + 12 * i
        if int.from_bytes(head[at : at + 2], endian) == _DNG_VERSION_TAG:
            return "dng"
    return "tiff"


def _text(head: bytes) -> str | None:
    start = head[:4096].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(b"<svg") or (start.startswith((b"<?xml", b"<!--", b"<!doctype svg")) and b"<svg" in start):
        return "svg"
    return None


def _mpeg_audio(head: bytes) -> str | None:
    """A bare MPEG audio frame: 11 sync bits, then a layer and a bit rate that exist."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    layer, rate = (head[1] >> 1) & 3, head[2] >> 4
    return "mp3" if layer == 1 and rate not in (0, 15) else None
