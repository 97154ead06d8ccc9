"""The own mark's format, version 1: what is where in the tile. See docs/watermark-format.md.

The mark is one square tile of `SIDE` pixels, repeated over the picture. The tile is a sum of sinusoids, one for each
used bin (ky, kx) of its discrete Fourier transform. `PILOTS` are the same in every mark; they give away scale,
rotation and shift. All other bins carry two chips each, the signs of their real and imaginary part. Which coded bit
a chip belongs to, and its sign, follow from the key.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from countermark.provenance.watermark.tile.ecc import RATE
from countermark.provenance.watermark.tile.payload import BITS

__all__ = ["CODED", "PILOTS", "SIDE", "WORK", "Chips", "Layout", "chips", "layout", "period"]

SIDE = 128
"""Side of the tile in pixels of the work picture."""
WORK = 1024
"""A picture larger than WORK x WORK pixels is worked on at that area: its tile is larger in proportion."""
CODED = BITS * RATE
_INNER, _OUTER = 2.8, 16.9
_BAND_EDGE = 10.0
_PILOT_GAIN = 4.0
_ORBITS = ((2, 7), (4, 7), (6, 8), (5, 11))
PILOTS = tuple(sorted(pair for a, b in _ORBITS for pair in ((a, b), (a, -b), (b, a), (b, -a))))
"""(ky, kx) of the pilots, one of each conjugate pair. The set does not change when it is turned by 90 degrees or
mirrored, so a search for the pilots need not try these."""


def period(height: int, width: int) -> float:
    """Side of the tile in pixels of a picture of this size."""
    return SIDE * max(1.0, float(np.sqrt(height * width)) / WORK)


@dataclass(frozen=True)
class Layout:
    """Bins of the tile, one of each conjugate pair.

    Attributes:
        bins: (N, 2) int64, (ky, kx) of the bins that carry data, by radius, then ky, then kx.
        amplitude: (N,) float64, nominal amplitude of each: low frequencies are what recompression leaves.
        low: (N,) bool, those of the low band (each band has its own perceptual mask).
        pilots: (16, 2) int64.
        pilot_values: (16,) complex128, nominal.
        pilot_low: (16,) bool.
    """

    bins: npt.NDArray[np.int64]
    amplitude: npt.NDArray[np.float64]
    low: npt.NDArray[np.bool_]
    pilots: npt.NDArray[np.int64]
    pilot_values: npt.NDArray[np.complex128]
    pilot_low: npt.NDArray[np.bool_]


@lru_cache(maxsize=1)
def layout() -> Layout:
    """The layout of format version 1."""
    reach = int(_OUTER)
    ky, kx = np.mgrid[1 : reach + 1, -reach : reach + 1]  # the axes are left free: edges of pictures are there
    bins = np.stack([ky.ravel(), kx.ravel()], axis=1)
    squared = (bins**2).sum(axis=1)
    pilot = np.array([tuple(pair) in set(PILOTS) for pair in bins.tolist()])
    blocks = (bins % 16 == 0).all(axis=1)  # harmonics of JPEG's 8 x 8 grid
    keep = (bins[:, 1] != 0) & (squared >= _INNER**2) & (squared <= _OUTER**2) & ~blocks & ~pilot
    bins, squared = bins[keep], squared[keep]
    order = np.lexsort((bins[:, 1], bins[:, 0], squared))
    order = order[: 2 * len(bins) // CODED * CODED // 2]
    bins, radius = bins[order], np.sqrt(squared[order])
    pilots = np.array(PILOTS, np.int64)
    pilot_radius = np.hypot(*pilots.T)
    turns = np.frombuffer(hashlib.shake_256(b"countermark tile 1 pilots").digest(len(pilots)), np.uint8) % 4
    values = _PILOT_GAIN * np.sqrt(2) / pilot_radius * np.exp(1j * (np.pi / 4 + np.pi / 2 * turns))
    return Layout(bins, 1 / radius, radius < _BAND_EDGE, pilots, values, pilot_radius < _BAND_EDGE)


@dataclass(frozen=True)
class Chips:
    """What a key makes of the layout.

    Attributes:
        bit: (2N,) int64, the coded bit each chip belongs to; chips 2i and 2i+1 are real and imaginary part of bin i.
        sign: (2N,) float32 of +1 and -1, what the chip's own sign is multiplied by.
    """

    bit: npt.NDArray[np.int64]
    sign: npt.NDArray[np.float32]


@lru_cache(maxsize=64)
def chips(secret: bytes) -> Chips:
    """Assignment and signs of the chips under a secret.

    Chips are dealt in rounds of `CODED`, from low radius to high, so that every coded bit has one chip of each
    round. All randomness is SHAKE-256 of a label and the secret.
    """
    count = 2 * len(layout().bins)
    stream = hashlib.shake_256(b"countermark tile 1 chips" + secret).digest(count // 8 + 8 * count)
    signs = np.unpackbits(np.frombuffer(stream[: count // 8], np.uint8))
    keys = np.frombuffer(stream[count // 8 :], "<u8").reshape(-1, CODED)
    bit = np.argsort(keys, axis=1, kind="stable").reshape(-1)
    return Chips(bit, (1.0 - 2.0 * signs).astype(np.float32))
