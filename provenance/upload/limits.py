"""Bounds on what is read from an upload. They are checked from the header, before any decoding."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DEFAULT_LIMITS", "Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one upload may weigh.

    Attributes:
        max_bytes: file size in bytes.
        max_pixels: width x height of one frame; the default is Pillow's own bomb threshold.
        max_side: longest side in pixels.
        max_frames: frames of an animation.
        max_metadata: bytes of one metadata block after decompression.
    """

    max_bytes: int = 512 * 1024 * 1024
    max_pixels: int = 89_478_485
    max_side: int = 65_535
    max_frames: int = 10_000
    max_metadata: int = 8 * 1024 * 1024


DEFAULT_LIMITS = Limits()
