"""Put changed pixels back into a file: same format and size, everything that is not pixels kept.

JPEG keeps its quantisation tables and subsampling, PNG all of its other chunks. WebP and AVIF are encoded
again with their ICC profile, EXIF and XMP.
"""

from __future__ import annotations

import io
from collections import defaultdict
from typing import Any

import numpy as np

from countermark.provenance.errors import MarkError
from countermark.provenance.upload import Upload
from countermark.provenance.upload.chunks import jpeg_segments, png_chunks, riff_chunks
from countermark.provenance.upload.decode import Pixels, open_image, orient

__all__ = ["replace_pixels", "why_not"]

_INVERSE = {6: 8, 8: 6}  # all other orientations undo themselves
_LOSSY_QUALITY = 95


def why_not(upload: Upload) -> str | None:
    """Why the pixels of a file cannot be replaced without loss of something else, or None where they can."""
    header = upload.header
    if upload.format.name not in ("jpeg", "png", "webp", "avif") or header is None:
        return f"{upload.format.name} files keep their pixels"
    if header.frames > 1:
        return "animations keep their pixels"
    if header.mode not in ("RGB", "RGBA"):
        return f"pictures of mode {header.mode} keep their pixels; only 8 bit colour is changed"
    if header.mode == "RGBA" and upload.rgba is not None and upload.rgba[:, :, 3].min() < 255:
        return "pictures with transparency keep their pixels"
    return None


def replace_pixels(upload: Upload, upright: Pixels) -> bytes:
    """The file with new pixels.

    Args:
        upload: the original.
        upright: (H, W, 3) uint8, RGB, as displayed; of the original's size.

    Raises:
        MarkError: the format or the kind of picture does not allow it (see `why_not`).
    """
    if (reason := why_not(upload)) is not None:
        raise MarkError(reason)
    header = upload.header
    orientation = header.orientation if header else 1
    stored = orient(upright, _INVERSE.get(orientation, orientation))
    if upload.format.name == "jpeg":
        return _jpeg(upload, stored)
    if upload.format.name == "png":
        return _png(upload, stored)
    return _again(upload, stored)


def _image(stored: Pixels, upload: Upload) -> Any:
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(stored))
    if upload.header is not None and upload.header.mode == "RGBA":
        image.putalpha(255)
    return image


def _jpeg(upload: Upload, stored: Pixels) -> bytes:
    """New tables and scan behind the original's application segments and comments."""
    from PIL import JpegImagePlugin

    old: Any = open_image(upload.data, upload.format, upload.limits)
    subsampling = JpegImagePlugin.get_sampling(old)
    out = io.BytesIO()
    _image(stored, upload).save(
        out, "JPEG", qtables=old.quantization, subsampling=subsampling if subsampling >= 0 else 0
    )
    new = out.getvalue()
    # APP14 tells the colour transform of the old scan; APP11 holds C2PA, which is written afresh.
    kept = [
        s for s in jpeg_segments(upload.data) if (0xE0 <= s.kind[0] <= 0xEF and s.kind[0] != 0xEE) or s.kind == b"\xfe"
    ]
    head = b"".join(upload.data[s.start : s.end] for s in kept)
    first = next(s.start for s in jpeg_segments(new) if not 0xE0 <= s.kind[0] <= 0xEF)
    tail = upload.data[upload.trailer.offset :] if upload.trailer else b""
    return new[:2] + head + new[first:] + tail


def _png(upload: Upload, stored: Pixels) -> bytes:
    """New header and data chunks between the original's other chunks."""
    out = io.BytesIO()
    _image(stored, upload).save(out, "PNG")
    new = out.getvalue()
    parts: defaultdict[bytes, list[bytes]] = defaultdict(list)
    for c in png_chunks(new):
        parts[c.kind].append(new[c.start : c.end])
    result, done = [upload.data[:8]], False
    chunks = list(png_chunks(upload.data))
    for c in chunks:
        if c.kind == b"IHDR":
            result += parts[b"IHDR"]
        elif c.kind == b"IDAT":
            result += [] if done else parts[b"IDAT"]
            done = True
        else:
            result.append(upload.data[c.start : c.end])
    return b"".join(result) + upload.data[chunks[-1].end :]


def _again(upload: Upload, stored: Pixels) -> bytes:
    old = open_image(upload.data, upload.format, upload.limits)
    options: dict[str, Any] = {k: old.info[k] for k in ("icc_profile", "exif", "xmp") if old.info.get(k)}
    if upload.format.name == "webp":
        lossless = any(c.kind == b"VP8L" for c in riff_chunks(upload.data))
        options.update({"lossless": True} if lossless else {"quality": _LOSSY_QUALITY})
        name = "WEBP"
    else:
        options["quality"] = _LOSSY_QUALITY
        name = "AVIF"
    out = io.BytesIO()
    _image(stored, upload).save(out, name, **options)
    return out.getvalue()
