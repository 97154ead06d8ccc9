"""What the network is shown of a picture. The same code runs in training, evaluation and scanning.

Two kinds of view, each a square: `frame`, the picture made smaller until its short side fits (what
the picture shows), and `native`, a window at the picture's own resolution (what made its pixels). Pixels are RGB
uint8 (height, width, 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Effort = Literal["fast", "careful"]

PLACES: dict[Effort, tuple[tuple[float, ...], tuple[tuple[float, float], ...]]] = {
    "fast": ((0.5,), ((0.5, 0.5),)),
    "careful": ((0.0, 0.5, 1.0), ((0.5, 0.5), (0.15, 0.15), (0.15, 0.85), (0.85, 0.15), (0.85, 0.85))),
}
"""Where views are taken, as shares of the room left: along the long side for frames; (down, across) for windows."""


def normalise(views: Sequence[Pixels]) -> NDArray[np.float32]:
    """Views as the network's input: float32 (N, 3, size, size) in [-1, 1] (mean and deviation one half)."""
    stacked = np.stack(views).astype(np.float32)
    return np.ascontiguousarray((stacked / 127.5 - 1.0).transpose(0, 3, 1, 2))


def shrink(pixels: Pixels, short_side: int) -> Pixels:
    """Scaled so that the short side is `short_side` pixels: area kernel when smaller, bicubic when larger."""
    height, width = pixels.shape[:2]
    scale = short_side / min(height, width)
    if scale == 1:
        return pixels
    size = (max(short_side, round(width * scale)), max(short_side, round(height * scale)))
    kernel = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, size, interpolation=kernel), dtype=np.uint8)


def window(pixels: Pixels, size: int, down: float, across: float) -> Pixels:
    """A `size` square at (`down`, `across`), shares in [0, 1] of the room there is."""
    y = round((pixels.shape[0] - size) * down)
    x = round((pixels.shape[1] - size) * across)
    return pixels[y : y + size, x : x + size]


def frames(pixels: Pixels, size: int, places: Sequence[float]) -> list[Pixels]:
    """`frame` views at `places` along the long side."""
    small = shrink(pixels, size)
    return [window(small, size, place, place) for place in places]


def natives(pixels: Pixels, size: int, places: Sequence[tuple[float, float]]) -> list[Pixels]:
    """`native` views at `places`; a picture whose short side is below `size` is enlarged to it first."""
    large = pixels if min(pixels.shape[:2]) >= size else shrink(pixels, size)
    return [window(large, size, down, across) for down, across in places]


def views(pixels: Pixels, size: int, frame_size: int, effort: Effort = "fast") -> tuple[list[Pixels], list[Pixels]]:
    """All views of one effort: frames (`frame_size`) and windows (`size`)."""
    along, grid = PLACES[effort]
    return frames(pixels, frame_size, along), natives(pixels, size, grid)
