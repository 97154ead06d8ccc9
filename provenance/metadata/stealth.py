"""Text hidden in the lowest bits of the pixels by NovelAI and the stealth-pnginfo extension.

Bits are read column by column, most significant bit first: a 15 byte magic word, the length in bits as
32 bit big-endian, then the text, gzip-compressed for the ``comp`` words.
"""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt

from countermark.provenance.upload import Pixels, Upload

__all__ = ["read_stealth"]

_WORDS = {
    b"stealth_pnginfo": ("alpha", False),
    b"stealth_pngcomp": ("alpha", True),
    b"stealth_rgbinfo": ("rgb", False),
    b"stealth_rgbcomp": ("rgb", True),
}
_WORD, _LENGTH = 15 * 8, 32


def read_stealth(upload: Upload) -> str | None:
    """The hidden text of a lossless image, or None.

    Raises:
        ValueError: the magic word is there but the text is damaged or larger than the limit.
        UnreadableError: the pixels cannot be decoded.
    """
    if upload.format.name not in ("png", "webp"):
        return None
    header = upload.header
    if header is None or header.width * header.height * 3 < _WORD + _LENGTH:
        return None
    if header.mode == "RGBA" and (rgba := upload.rgba) is not None:
        return _read(rgba[:, :, 3:4], "alpha", upload) or _read(rgba[:, :, :3], "rgb", upload)
    return _read(upload.pixels, "rgb", upload) if header.mode == "RGB" else None


def _bits(channels: Pixels, count: int) -> npt.NDArray[np.uint8]:
    """The first ``count`` lowest bits of (H, W, C) pixels in column order."""
    height, _, depth = channels.shape
    columns = -(-count // (height * depth))
    part = channels[:, :columns].transpose(1, 0, 2)  # (W', H, C)
    return np.ascontiguousarray(part).reshape(-1)[:count] & np.uint8(1)


def _read(channels: Pixels, where: str, upload: Upload) -> str | None:
    head = np.packbits(_bits(channels, _WORD + _LENGTH)).tobytes()
    kind = _WORDS.get(head[:15])
    if kind is None or kind[0] != where:
        return None
    size = int.from_bytes(head[15:19], "big")
    if size > channels.size - _WORD - _LENGTH or size % 8 or size // 8 > upload.limits.max_metadata:
        raise ValueError(f"hidden text announces {size:,} bits, more than the picture or the limit holds")
    body = np.packbits(_bits(channels, _WORD + _LENGTH + size)[_WORD + _LENGTH :]).tobytes()
    if kind[1]:
        decoder = zlib.decompressobj(wbits=31)
        try:
            body = decoder.decompress(body, upload.limits.max_metadata)
        except zlib.error as exc:
            raise ValueError(f"hidden text is damaged: {exc}") from exc
    return body.decode("utf-8", "replace")
