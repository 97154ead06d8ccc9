"""Whether a mark is on the picture it was given to: a copied mark leads to a record of another picture.

The registry keeps a sketch of each marked picture: means of cells of 16 x 16 work pixels. The mark found says how
a copy was scaled, turned and mirrored, and where its tiles begin; so the copy's cells can be laid over the sketch at
the few places that are left, and compared where both have pixels. Crops, recompression and overlays leave most
cells as they were; another picture does not agree anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from countermark.provenance.watermark.tile.detect import Geometry, rectified
from countermark.provenance.watermark.tile.front import Pixels, Plane, work_luma
from countermark.provenance.watermark.tile.layout import SIDE

__all__ = ["AGREES", "Sketch", "agreement", "sketch_of"]

CELL = 16
AGREES = 0.35
"""Correlation from which a copy is taken for the picture."""
_LEAST_CELLS = 24
_PLAIN = 0.3  # levels
_STEP = SIDE // CELL


@dataclass(frozen=True, slots=True)
class Sketch:
    """Mean luma of cells, (rows, columns) uint8."""

    cells: npt.NDArray[np.uint8]

    def to_bytes(self) -> bytes:
        """Rows and columns (16 bit each, big-endian), then the cells row by row."""
        return np.array(self.cells.shape, ">u2").tobytes() + self.cells.tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Sketch | None:
        """None for empty or damaged data."""
        if len(data) < 4:
            return None
        rows, columns = (int(v) for v in np.frombuffer(data[:4], ">u2"))
        if len(data) != 4 + rows * columns:
            return None
        return cls(np.frombuffer(data[4:], np.uint8).reshape(rows, columns))


def sketch_of(rgb: Pixels) -> Sketch:
    """The sketch of a marked picture, (H, W, 3) uint8, RGB."""
    luma = work_luma(rgb)
    rows, columns = luma.shape[0] // CELL, luma.shape[1] // CELL
    return Sketch(np.clip(np.rint(_cells(luma[: rows * CELL, : columns * CELL])), 0, 255).astype(np.uint8))


def _cells(plane: Plane) -> Plane:
    rows, columns = plane.shape[0] // CELL, plane.shape[1] // CELL
    return np.asarray(plane.reshape(rows, CELL, columns, CELL).mean(axis=(1, 3)), dtype=np.float32)


def agreement(rgb: Pixels, geometry: Geometry, sketch: Sketch) -> float | None:
    """Correlation of a picture with the sketch of the one its mark belongs to, at the best place.

    Args:
        rgb: (H, W, 3) uint8, RGB: the picture a mark was found in.
        geometry: of that mark.
        sketch: of the record its payload leads to.

    Returns:
        -1 to 1, or None where too little is left, or the picture is too plain, to tell.
    """
    cells, valid = _laid_out(work_luma(rgb), geometry)
    copy, copy_valid = _detail(cells, valid), valid
    rows, columns = sketch.cells.shape
    original = _detail(sketch.cells.astype(np.float32), np.ones((rows, columns), bool))
    best: float | None = None
    for top in range(-(len(copy) // _STEP) * _STEP, rows, _STEP):
        for left in range(-(copy.shape[1] // _STEP) * _STEP, columns, _STEP):
            found = _correlation(original, copy, copy_valid, top, left)
            if found is not None and (best is None or found > best):
                best = found
    return best


def _laid_out(luma: Plane, geometry: Geometry) -> tuple[Plane, npt.NDArray[np.bool_]]:
    """Cells of a picture, upright and at the scale of the sketch, on a grid that begins where a tile does."""
    planes = [rectified(plane, geometry.matrix) for plane in (luma, np.ones_like(luma))]
    top, left = (round(-v) % SIDE for v in _upright_shift(planes[0].shape, geometry))
    height, width = _upright(planes[0], geometry.orientation).shape
    rows, columns = -(-(top + height) // CELL), -(-(left + width) // CELL)
    canvas = np.zeros((2, rows * CELL, columns * CELL), np.float32)
    for at, plane in enumerate(planes):
        canvas[at, top : top + height, left : left + width] = _upright(plane, geometry.orientation)
    share, mean = _cells(canvas[1]), _cells(canvas[0])
    spread = _cells(canvas[0] ** 2) - mean**2
    valid = (share > 0.95) & (spread > _PLAIN)  # bars and plain areas say nothing
    return np.asarray(mean / np.maximum(share, 1e-3), dtype=np.float32), valid


def _upright(plane: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    turned = np.rot90(plane, orientation & 3)
    return turned[:, ::-1] if orientation & 4 else turned


def _upright_shift(shape: tuple[int, ...], geometry: Geometry) -> npt.NDArray[np.float64]:
    """Origin of a tile after the picture was set upright.

    Setting upright takes place u' from place u = A u' + c; the shift theorem makes the shift s of the one s - A^T c of
    the other.
    """
    numbers = _upright(np.arange(shape[0] * shape[1]).reshape(shape[0], shape[1]), geometry.orientation)
    origin, down, right = (np.array(divmod(int(numbers[at]), shape[1])) for at in ((0, 0), (1, 0), (0, 1)))
    axes = np.stack([down - origin, right - origin], axis=1)
    return np.asarray(np.array(geometry.shift) - axes.T @ origin, dtype=np.float64)


def _detail(cells: Plane, valid: npt.NDArray[np.bool_]) -> Plane:
    """Cells less the mean of those around: light above and dark below is common to many pictures."""
    weight = valid.astype(np.float32)
    around = cv2.blur(cells * weight, (7, 7), borderType=cv2.BORDER_CONSTANT)
    counted = cv2.blur(weight, (7, 7), borderType=cv2.BORDER_CONSTANT)
    return np.asarray(np.where(valid, cells - around / np.maximum(counted, 1e-6), 0), dtype=np.float32)


def _correlation(original: Plane, copy: Plane, valid: npt.NDArray[np.bool_], top: int, left: int) -> float | None:
    rows = slice(max(0, top), min(original.shape[0], top + copy.shape[0]))
    columns = slice(max(0, left), min(original.shape[1], left + copy.shape[1]))
    if rows.stop <= rows.start or columns.stop <= columns.start:
        return None
    there = (slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left))
    both = valid[there]
    if both.sum() < max(_LEAST_CELLS, 0.6 * valid.sum()):
        return None
    a, b = (_even_handed(cells[both]) for cells in (original[rows, columns], copy[there]))
    if min(float(np.std(a)), float(np.std(b))) < _PLAIN:
        return None
    return float(a @ b / np.sqrt(float(a @ a) * float(b @ b)))


def _even_handed(values: Plane) -> Plane:
    """Around zero, and none much larger than is usual: a caption's few cells must not outweigh the picture."""
    values = values - np.median(values)
    usual = float(np.median(np.abs(values)))
    return np.asarray(np.clip(values, -3 * usual, 3 * usual), dtype=np.float32)
