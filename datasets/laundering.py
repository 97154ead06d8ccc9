"""What happens to a picture on its way: re-encoding, scaling, cropping, and the chains of named platforms.

Every step is a pure function of the pixels and one random generator, so a chain with a seed always gives the same
picture. Chains are written as text: `"resize:0.5|jpeg:80"`, `"crop:0.5|webp:60"`, `"platform:instagram"`.
Pixels are RGB, uint8, (height, width, 3) throughout.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg
import yaml
from numpy.typing import NDArray
from PIL import Image

from countermark.provenance.errors import UsageError

Pixels = NDArray[np.uint8]
Step = Callable[[Pixels, np.random.Generator], Pixels]

KERNELS = {
    "nearest": cv2.INTER_NEAREST,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
    "lanczos": cv2.INTER_LANCZOS4,
}
SMALLEST = 16
"""No step makes a side shorter than this many pixels."""


def jpeg(pixels: Pixels, quality: int, subsampling: str = "420") -> Pixels:
    """Through JPEG at libjpeg `quality` (1 to 100) and chroma `subsampling` (444, 422, 420)."""
    data = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), int(quality), "RGB", subsampling)
    return _as_pixels(simplejpeg.decode_jpeg(data, "RGB"))


def webp(pixels: Pixels, quality: int) -> Pixels:
    """Through lossy WebP at `quality` (0 to 100)."""
    return _through_pillow(pixels, "WEBP", quality=int(quality), method=2)


def avif(pixels: Pixels, quality: int) -> Pixels:
    """Through AVIF at `quality` (0 to 100)."""
    return _through_pillow(pixels, "AVIF", quality=int(quality), speed=9)


def resize(pixels: Pixels, scale_x: float, scale_y: float | None = None, kernel: str = "") -> Pixels:
    """Scaled by `scale_x` (and `scale_y` where it differs); kernel default: area when smaller, bicubic when larger."""
    scale_y = scale_x if scale_y is None else scale_y
    height, width = pixels.shape[:2]
    size = (max(SMALLEST, round(width * scale_x)), max(SMALLEST, round(height * scale_y)))
    chosen = KERNELS[kernel] if kernel else (cv2.INTER_AREA if scale_x * scale_y < 1 else cv2.INTER_CUBIC)
    return _as_pixels(cv2.resize(pixels, size, interpolation=chosen))


def fit(pixels: Pixels, long_side: int, kernel: str = "area") -> Pixels:
    """Made smaller so that the long side is at most `long_side` pixels; never larger."""
    scale = long_side / max(pixels.shape[:2])
    return pixels if scale >= 1 else resize(pixels, scale, kernel=kernel)


def crop(pixels: Pixels, area: float, rng: np.random.Generator) -> Pixels:
    """A window of `area` (0 to 1] of the picture, of its own shape, at a random place."""
    height, width = pixels.shape[:2]
    side = float(np.sqrt(area))
    h, w = max(SMALLEST, round(height * side)), max(SMALLEST, round(width * side))
    y, x = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
    return np.ascontiguousarray(pixels[y : y + h, x : x + w])


def blur(pixels: Pixels, sigma: float) -> Pixels:
    """Gaussian blur of `sigma` pixels."""
    return _as_pixels(cv2.GaussianBlur(pixels, (0, 0), float(sigma)))


def median(pixels: Pixels, size: int) -> Pixels:
    """Median over `size` x `size` pixels (odd)."""
    return _as_pixels(cv2.medianBlur(pixels, int(size)))


def sharpen(pixels: Pixels, amount: float) -> Pixels:
    """Unsharp mask of radius 1 and `amount`."""
    soft = cv2.GaussianBlur(pixels, (0, 0), 1.0)
    return _as_pixels(cv2.addWeighted(pixels, 1 + amount, soft, -amount, 0))


def noise(pixels: Pixels, sigma: float, rng: np.random.Generator) -> Pixels:
    """Gaussian noise of standard deviation `sigma` (of 255) added to each channel."""
    return _clipped(pixels + rng.standard_normal(pixels.shape, dtype=np.float32) * sigma)


def brightness(pixels: Pixels, factor: float) -> Pixels:
    """Every value times `factor`."""
    return _clipped(pixels.astype(np.float32) * factor)


def contrast(pixels: Pixels, factor: float) -> Pixels:
    """Distances from mid grey times `factor`."""
    return _clipped((pixels.astype(np.float32) - 127.5) * factor + 127.5)


def gamma(pixels: Pixels, exponent: float) -> Pixels:
    """Values in [0, 1] to the power of `exponent`."""
    table = np.clip(np.rint(255 * (np.arange(256) / 255) ** exponent), 0, 255).astype(np.uint8)
    return table[pixels]


def saturation(pixels: Pixels, factor: float) -> Pixels:
    """Distances from the grey value times `factor`; 0 is a grey picture."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
    return _clipped(grey + (pixels - grey) * factor)


def rotate(pixels: Pixels, degrees: float) -> Pixels:
    """Turned about the centre, same size, the corners filled by mirroring."""
    height, width = pixels.shape[:2]
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), float(degrees), 1.0)
    turned = cv2.warpAffine(pixels, turn, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    return _as_pixels(turned)


def turn(pixels: Pixels, degrees: int) -> Pixels:
    """Turned counter-clockwise by a multiple of 90 degrees, nothing lost."""
    return np.ascontiguousarray(np.rot90(pixels, round(degrees / 90)))


def flip(pixels: Pixels, axis: str) -> Pixels:
    """Mirrored: `h` left and right, `v` up and down."""
    if axis not in ("h", "v"):
        raise UsageError(f"flip takes h or v; {axis!r} given.")
    return np.ascontiguousarray(pixels[:, ::-1] if axis == "h" else pixels[::-1])


def letterbox(pixels: Pixels, share: float) -> Pixels:
    """Black bars above and below, each `share` of the height."""
    bar = round(pixels.shape[0] * share)
    return _as_pixels(cv2.copyMakeBorder(pixels, bar, bar, 0, 0, cv2.BORDER_CONSTANT, value=(0, 0, 0)))


def overlay(pixels: Pixels, area: float, rng: np.random.Generator) -> Pixels:
    """A flat opaque box with a line of text over `area` of the picture, at a random place."""
    height, width = pixels.shape[:2]
    h, w = max(4, round(height * area**0.5)), max(4, round(width * area**0.5))
    y, x = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
    out = pixels.copy()
    out[y : y + h, x : x + w] = rng.integers(0, 256, 3, dtype=np.uint8)
    cv2.putText(out, "BREAKING NEWS", (x + 4, y + h // 2), cv2.FONT_HERSHEY_SIMPLEX, w / 300, (255, 255, 255), 2)
    return out


def screenshot(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """As on a phone's screen: scaled to its width, under a bar and over a caption, some of the page cut along."""
    page_width = int(rng.choice((720, 1080, 1170)))
    shown = resize(pixels, page_width / pixels.shape[1], kernel="bilinear")
    top, below = int(rng.integers(40, 140)), int(rng.integers(60, 240))
    ground = int(rng.choice((255, 250, 18)))
    page = np.full((shown.shape[0] + top + below, page_width, 3), ground, np.uint8)
    page[top : top + shown.shape[0]] = shown
    ink = (40, 40, 40) if ground > 128 else (220, 220, 220)
    cv2.putText(page, "12:41   Photos", (24, top // 2 + 8), cv2.FONT_HERSHEY_SIMPLEX, 0.8, ink, 2, cv2.LINE_AA)
    cv2.putText(
        page, "1,024 likes", (24, page.shape[0] - below // 2), cv2.FONT_HERSHEY_SIMPLEX, 0.9, ink, 2, cv2.LINE_AA
    )
    return fit(page, 1600)


@dataclass(frozen=True, slots=True)
class Platform:
    """How a named platform re-encodes an upload, as far as it has been published or measured.

    Attributes:
        name: the key used in chains.
        long_side: pixels the long side is reduced to.
        format: `jpeg` or `webp`.
        quality: of that encoder.
        subsampling: chroma subsampling of JPEG.
        metadata: `kept`, `stripped` or `c2pa` (only the manifest survives).
        source: where the figures come from.
        date: day they were read.
        measured: false for figures that are estimates.
    """

    name: str
    long_side: int
    format: str
    quality: int
    subsampling: str
    metadata: str
    source: str
    date: str
    measured: bool


@cache
def platforms() -> dict[str, Platform]:
    """The platforms of `platforms.yaml`, by name."""
    table: dict[str, dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("platforms.yaml").read_text("utf-8"))
    return {name: Platform(name=name, **(row | {"date": str(row["date"])})) for name, row in table.items()}


def platform(pixels: Pixels, name: str) -> Pixels:
    """Through the re-encoding of the platform `name` (see `platforms()`)."""
    try:
        chain = platforms()[name]
    except KeyError:
        known = ", ".join(sorted(platforms()))
        raise UsageError(f"Unknown platform {name!r}; known are {known}.") from None
    smaller = fit(pixels, chain.long_side)
    return webp(smaller, chain.quality) if chain.format == "webp" else jpeg(smaller, chain.quality, chain.subsampling)


_STEPS: dict[str, tuple[Callable[..., Pixels], tuple[type, ...], bool]] = {
    "jpeg": (jpeg, (int, str), False),
    "webp": (webp, (int,), False),
    "avif": (avif, (int,), False),
    "resize": (resize, (float, float, str), False),
    "fit": (fit, (int, str), False),
    "crop": (crop, (float,), True),
    "blur": (blur, (float,), False),
    "median": (median, (int,), False),
    "sharpen": (sharpen, (float,), False),
    "noise": (noise, (float,), True),
    "brightness": (brightness, (float,), False),
    "contrast": (contrast, (float,), False),
    "gamma": (gamma, (float,), False),
    "saturation": (saturation, (float,), False),
    "rotate": (rotate, (float,), False),
    "turn": (turn, (int,), False),
    "flip": (flip, (str,), False),
    "letterbox": (letterbox, (float,), False),
    "overlay": (overlay, (float,), True),
    "screenshot": (screenshot, (), True),
    "platform": (platform, (str,), False),
}


@dataclass(frozen=True, slots=True)
class Chain:
    """A sequence of steps, made from text by `parse`. Callable: `chain(pixels, rng)`.

    Attributes:
        text: the text it was made from.
        steps: the functions in order.
    """

    text: str
    steps: tuple[Step, ...]

    def __call__(self, pixels: Pixels, rng: np.random.Generator | int = 0) -> Pixels:
        """The picture after all steps; an integer `rng` is a seed."""
        random = np.random.default_rng(rng) if isinstance(rng, int) else rng
        for step in self.steps:
            pixels = step(pixels, random)
        return pixels


def parse(text: str) -> Chain:
    """A chain from text: steps joined by `|`, arguments after `:` joined by `,`; empty text changes nothing.

    Raises:
        UsageError: a step is unknown or has arguments it cannot take.
    """
    parts = [part.strip() for part in text.split("|") if part.strip()]
    return Chain(text, tuple(_step(part) for part in parts))


def _step(part: str) -> Step:
    name, _, rest = part.partition(":")
    if name not in _STEPS:
        raise UsageError(f"Unknown laundering step {name!r}; known are {', '.join(sorted(_STEPS))}.")
    function, types, seeded = _STEPS[name]
    given = [value.strip() for value in rest.split(",")] if rest else []
    try:
        arguments = [kind(value) for kind, value in zip(types, given, strict=False)]
    except ValueError:
        raise UsageError(f"Laundering step {part!r}: {rest!r} is not what {name} takes.") from None
    if len(given) > len(types) or (types and not given):
        raise UsageError(f"Laundering step {part!r}: {name} takes 1 to {len(types)} values, {len(given)} given.")
    if seeded:
        return lambda pixels, rng: function(pixels, *arguments, rng)
    return lambda pixels, rng: function(pixels, *arguments)


def _through_pillow(pixels: Pixels, form: str, **options: int) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    with Image.open(buffer, formats=(form,)) as image:
        return np.array(image.convert("RGB"))


def _clipped(values: NDArray[np.float32]) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _as_pixels(array: Any) -> Pixels:
    return np.ascontiguousarray(array, dtype=np.uint8)
