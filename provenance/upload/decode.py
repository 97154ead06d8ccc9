"""Header facts and pixels. The header is judged against the limits before anything is decoded."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from countermark.provenance.errors import LimitExceeded, UnreadableError
from countermark.provenance.upload.chunks import gif_blocks, jpeg_segments
from countermark.provenance.upload.limits import Limits
from countermark.provenance.upload.sniff import Format

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Header", "Pixels", "decode_rgb", "decode_rgba", "decode_view", "open_image", "orient", "read_header"]

Pixels = npt.NDArray[np.uint8]

_PILLOW_NAMES = {
    "jpeg": ("JPEG", "MPO"),
    "png": ("PNG",),
    "webp": ("WEBP",),
    "gif": ("GIF",),
    "avif": ("AVIF",),
    "tiff": ("TIFF",),
}
_SOF_MARKERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_ORIENTATION = 0x0112  # EXIF 3.0, table 5


@dataclass(frozen=True, slots=True)
class Header:
    """What the header says, before decoding.

    Attributes:
        width, height: as displayed, that is after the EXIF orientation, pixels.
        mode: Pillow mode of the stored pixels, for example ``"RGB"``, ``"CMYK"``, ``"I;16"``.
        orientation: EXIF orientation, 1 to 8.
        frames: number of frames.
    """

    width: int
    height: int
    mode: str
    orientation: int
    frames: int


def _too_large(what: str, allowed: int, got: int, unit: str) -> LimitExceeded:
    return LimitExceeded(
        f"{what}: {got:,} {unit}, allowed {allowed:,}. Scan a smaller copy, or raise the limit with Limits(...)."
    )


def check_size(width: int, height: int, limits: Limits) -> None:
    """Raise `LimitExceeded` when a frame is larger than allowed."""
    if max(width, height) > limits.max_side:
        raise _too_large("longest side", limits.max_side, max(width, height), "pixels")
    if width * height > limits.max_pixels:
        raise _too_large("frame size", limits.max_pixels, width * height, "pixels")


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    for c in jpeg_segments(data):
        if c.kind[0] in _SOF_MARKERS and c.stop - c.body >= 5:
            height, width = (int.from_bytes(data[c.body + i : c.body + i + 2], "big") for i in (1, 3))
            return width, height
        if c.kind == b"\xda":
            return None
    return None


def open_image(data: bytes, fmt: Format, limits: Limits) -> Image.Image:
    """Open lazily with only the plugin of the sniffed format; pixels are not decoded yet.

    Raises:
        LimitExceeded: the header announces more than allowed.
        UnreadableError: the header makes no sense.
    """
    from PIL import Image, UnidentifiedImageError

    if fmt.name in ("heic", "heif"):
        import pillow_heif

        pillow_heif.register_heif_opener(thumbnails=False)
    if fmt.name == "jpeg" and (size := _jpeg_size(data)):
        check_size(*size, limits)
    names = _PILLOW_NAMES.get(fmt.name, ("HEIF",))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if limits.max_pixels <= (Image.MAX_IMAGE_PIXELS or 0):  # a caller may allow more
                warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=names)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
        raise LimitExceeded(f"{fmt.name} header announces a decompression bomb: {exc}") from exc
    except UnidentifiedImageError as exc:
        raise UnreadableError(f"{fmt.name} header cannot be read: it is damaged or not {fmt.name} at all.") from exc
    except Exception as exc:  # Pillow's plugins raise many kinds on hostile input
        raise UnreadableError(f"{fmt.name} header cannot be read: {exc}") from exc
    check_size(*image.size, limits)
    return image


def read_header(data: bytes, fmt: Format, limits: Limits) -> Header:
    """Size, mode, orientation and frame count of a raster image, without decoding its pixels.

    Raises:
        LimitExceeded: larger than the limits.
        UnreadableError: the header makes no sense.
    """
    image = open_image(data, fmt, limits)
    frames = _frames(image, data, fmt)
    if frames > limits.max_frames:
        raise _too_large("animation", limits.max_frames, frames, "frames")
    orientation = _orientation(image, fmt)
    stored = image.size
    width, height = stored if orientation < 5 else (stored[1], stored[0])
    return Header(width, height, image.mode, orientation, frames)


def _frames(image: Image.Image, data: bytes, fmt: Format) -> int:
    if fmt.name == "gif":  # Pillow would decode its way to the last frame
        return max(1, sum(c.kind == b"," for c in gif_blocks(data)))
    if fmt.name in ("jpeg", "tiff"):  # MPO previews and TIFF pages are not an animation
        return 1
    return int(getattr(image, "n_frames", 1))


def _orientation(image: Image.Image, fmt: Format) -> int:
    if fmt.name in ("heic", "heif", "avif"):  # these decoders apply the container's own rotation
        return 1
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF: show the pixels as they are stored
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def orient(pixels: Pixels, orientation: int) -> Pixels:
    """Turn stored pixels (H, W, C) upright (EXIF 3.0, 4.6.5.1.6)."""
    if orientation == 1:
        return pixels
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _load(image: Image.Image, fmt: Format) -> Image.Image:
    """Decode the first frame."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image.load()
    except Exception as exc:
        raise UnreadableError(f"{fmt.name} pixels cannot be decoded: {exc}") from exc
    return image


def _to_rgb(image: Image.Image) -> Pixels:
    """Any Pillow mode to (H, W, 3) uint8 RGB; transparency is laid on white."""
    from PIL import Image

    if image.mode.startswith(("I", "F")):  # 16 bit grey and wider: keep the high byte
        wide = np.asarray(image, dtype=np.float64)
        scale = 257.0 if image.mode.startswith("I;16") or wide.max(initial=0) > 255 else 1.0
        grey = np.clip(wide / scale + 0.5, 0, 255).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        if rgba.getchannel("A").getextrema() != (255, 255):
            white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
            return np.array(Image.alpha_composite(white, rgba).convert("RGB"))
        image = rgba
    return np.array(image.convert("RGB"))


def _decode_jpeg(data: bytes, small: bool) -> Pixels | None:
    """(H, W, 3) uint8 RGB by libjpeg-turbo, or None where Pillow has to do it (CMYK, damaged files)."""
    import simplejpeg

    options: dict[str, Any] = {"min_height": 512, "min_width": 512} if small else {}
    try:
        if simplejpeg.decode_jpeg_header(data)[2] not in ("YCbCr", "RGB", "Gray"):
            return None
        pixels: Pixels = simplejpeg.decode_jpeg(data, "RGB", **options)
    except ValueError:
        return None
    return pixels


def decode_rgb(data: bytes, fmt: Format, header: Header, limits: Limits) -> Pixels:
    """The exact pixels of the first frame, (H, W, 3) uint8 RGB, upright.

    Raises:
        UnreadableError: the pixels are damaged.
    """
    pixels = _decode_jpeg(data, small=False) if fmt.name == "jpeg" else None
    if pixels is None:
        pixels = _to_rgb(_load(open_image(data, fmt, limits), fmt))
    return orient(pixels, header.orientation)


def decode_rgba(data: bytes, fmt: Format, limits: Limits) -> Pixels | None:
    """Stored pixels with alpha, (H, W, 4) uint8, or None for an image without an alpha channel."""
    image = open_image(data, fmt, limits)
    return np.array(_load(image, fmt)) if image.mode == "RGBA" else None


def decode_view(data: bytes, fmt: Format, header: Header, limits: Limits, side: int) -> Pixels:
    """A reduced view with a long side of at most ``side``, (h, w, 3) uint8 RGB, upright.

    JPEG is reduced in the DCT domain first, which is several times cheaper than a full decode.
    """
    from PIL import Image

    pixels = _decode_jpeg(data, small=True) if fmt.name == "jpeg" else None
    if pixels is None:
        pixels = _to_rgb(_load(open_image(data, fmt, limits), fmt))
    pixels = orient(pixels, header.orientation)
    height, width = pixels.shape[:2]
    if max(height, width) <= side:
        return pixels
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.array(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))
