"""First steps of reading and writing: work picture, perceptual masks, whitened residual, folded spectrum."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from countermark.provenance.watermark.tile.layout import SIDE, WORK, layout

__all__ = ["Folded", "Masks", "Plane", "fold", "masks_of", "residual", "stack", "to_work", "work_luma"]

Plane = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
FOLD = 2 * SIDE
"""The picture is folded to two periods a side: the odd bins of its spectrum hold no mark and so measure the noise."""
_FLOOR = 1.5  # levels of deviation that even a flat picture is taken to have
_CLIP = 3.5
_STEP = 4


def work_luma(rgb: Pixels) -> Plane:
    """Luma (Rec. 601) in levels of 0 to 255 at the work size.

    Args:
        rgb: (H, W, 3) uint8, RGB.

    Returns:
        (h, w) float32, h * w at most about WORK * WORK.
    """
    return to_work(np.asarray(cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY), dtype=np.uint8))


def to_work(luma: npt.NDArray[np.uint8]) -> Plane:
    """A luma plane made smaller to the work size."""
    height, width = luma.shape
    scale = WORK / float(np.sqrt(height * width))
    plane = luma.astype(np.float32)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        plane = np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), dtype=np.float32)
    return plane


def _coarse(plane: Plane) -> Plane:
    height, width = plane.shape
    size = (-(-width // _STEP), -(-height // _STEP))
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), dtype=np.float32)


def _fine(plane: Plane, like: Plane) -> Plane:
    return np.asarray(cv2.resize(plane, like.shape[::-1], interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def _blurred(plane: Plane, sigma: float) -> Plane:
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101), dtype=np.float32)


def _activity(luma: Plane) -> tuple[Plane, Plane]:
    """Luma without its slow part (Gaussian, 10 pixels), and every fourth pixel of that's local deviation."""
    detail = luma - _fine(_blurred(_coarse(luma), 2.5), luma)
    return detail, np.sqrt(_blurred(_coarse(detail * detail), 1.0))


@dataclass(frozen=True, slots=True)
class Masks:
    """How many levels of each band a picture hides, (h, w) float32."""

    low: Plane
    high: Plane


def _masks(activity: Plane, like: Plane) -> Masks:
    """From the activity that holds on all sides: beside an edge, and on thin lines, a picture hides nothing."""
    around = cv2.erode(activity, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5)))
    busy = _fine(_blurred(np.asarray(around, dtype=np.float32), 1.5), like)
    low, high = np.minimum(1.2 + 0.3 * busy, 4.0), np.minimum(0.6 + 0.3 * busy, 6.0)
    return Masks(low, high)


def masks_of(luma: Plane) -> Masks:
    """The masks a mark is written with; more in white and black, where half of it is cut off."""
    masks = _masks(_activity(luma)[1], luma)
    ends = 1 + 0.4 * np.clip((np.abs(luma - 127.5) - 120) / 6, 0, 1)
    return Masks(masks.low * ends, masks.high * ends)


def residual(luma: Plane) -> Plane:
    """The whitened residual of a work picture.

    Detail divided by its local deviation, so that what is left of the picture is nearly white, and weighted by the
    share that a mark can have in it there.
    """
    detail, activity = _activity(luma)
    masks = _masks(activity, luma)
    noise = _fine(activity, luma) + _FLOOR
    share = np.minimum((0.5 * masks.low + masks.high) / noise, 1.0)
    return np.asarray(np.clip(detail / noise, -_CLIP, _CLIP) * share, dtype=np.float32)


def stack(plane: Plane) -> Plane:
    """All periods of FOLD x FOLD summed, divided by the square root of their number."""
    height, width = plane.shape
    rows, columns = -(-height // FOLD), -(-width // FOLD)
    padded = np.zeros((rows * FOLD, columns * FOLD), np.float32)
    padded[:height, :width] = plane
    total = padded.reshape(rows, FOLD, columns, FOLD).sum(axis=(0, 2))
    return np.asarray(total / np.sqrt(max(1.0, height * width / FOLD**2)), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Folded:
    """Spectrum of a stacked residual at the bins of the tile.

    Attributes:
        values: (SIDE, SIDE) complex64, in units of `noise`.
        noise: (SIDE, SIDE) float32, deviation of the real (or imaginary) part in the bins around.
    """

    values: npt.NDArray[np.complex64]
    noise: Plane

    def at(self, ky: npt.NDArray[np.int64], kx: npt.NDArray[np.int64]) -> npt.NDArray[np.complex128]:
        """Values at bins."""
        return self.values[ky, kx].astype(np.complex128)

    def chips(self, values: npt.NDArray[np.complex128], ky: npt.NDArray[np.int64], kx: npt.NDArray[np.int64]) -> Plane:
        """Data values (N,) as chips (2N,), weighted as their expected share in the noise asks (maximum ratio)."""
        weighted = values * (layout().amplitude / self.noise[ky, kx])
        return np.stack([weighted.real, weighted.imag], axis=1).reshape(-1).astype(np.float32)


def fold(stacked: Plane) -> Folded:
    """Spectrum of a stack, each bin in units of the noise around it."""
    spectrum = np.fft.fft2(stacked)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    off = np.ones((FOLD, FOLD), np.float32)
    off[::2, ::2] = 0
    reach, side = 4, 7
    seen, counted = (cv2.copyMakeBorder(p, *(reach,) * 4, cv2.BORDER_WRAP) for p in (power * off, off))
    near = (cv2.blur(seen, (side, side)) / cv2.blur(counted, (side, side)))[reach:-reach:2, reach:-reach:2]
    noise = np.sqrt(near / 2 + 1e-6).astype(np.float32)
    return Folded((spectrum[::2, ::2] / noise).astype(np.complex64), noise)
