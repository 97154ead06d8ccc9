"""The few EXIF tags that generators write, decoded to text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["exif_fields"]

# EXIF 3.0, tables 4 to 8; XP* are Microsoft's, UTF-16LE.
_ROOT = {
    0x010E: "ImageDescription",
    0x010F: "Make",
    0x0110: "Model",
    0x0131: "Software",
    0x013B: "Artist",
    0x8298: "Copyright",
    0x9C9B: "XPTitle",
    0x9C9C: "XPComment",
    0x9C9E: "XPKeywords",
}
_EXIF_IFD = 0x8769
_DETAIL = {0x9286: "UserComment", 0x927C: "MakerNote"}


def exif_fields(block: bytes) -> Iterator[tuple[str, str]]:
    """Names and texts of the tags that matter; ``block`` is a TIFF structure.

    Raises:
        Exception: whatever Pillow raises for a damaged block; the caller records it.
    """
    from PIL import Image

    exif = Image.Exif()
    exif.load(block)
    for tag, name in _ROOT.items():
        if (value := exif.get(tag)) is not None:
            yield name, _text(value, name)
    detail = exif.get_ifd(_EXIF_IFD)
    for tag, name in _DETAIL.items():
        if (value := detail.get(tag)) is not None:
            yield name, _text(value, name)


def _text(value: Any, name: str) -> str:
    if isinstance(value, bytes) and name == "UserComment":
        return user_comment(value)
    if isinstance(value, bytes | tuple) and name.startswith("XP"):
        return bytes(value).decode("utf-16-le", "replace").rstrip("\0")
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return str(value)


def user_comment(raw: bytes) -> str:
    """UserComment with its character code in the first eight bytes (EXIF 3.0, table 9)."""
    code, body = raw[:8], raw[8:]
    if code == b"UNICODE\0":
        zeros_first = body[0:2048:2].count(0)
        zeros_second = body[1:2048:2].count(0)
        return body.decode("utf-16-be" if zeros_first >= zeros_second else "utf-16-le", "replace").rstrip("\0")
    if code in (b"ASCII\0\0\0", b"\0" * 8):
        return body.decode("utf-8", "replace").rstrip("\0")
    return raw.decode("utf-8", "replace").rstrip("\0")
