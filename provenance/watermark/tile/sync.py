"""Scale, stretch and rotation: finding the pilots in the spectrum of a picture.

The pilots are sinusoids, so they stand out of the spectrum however the picture was scaled or turned. Pairs of peaks
are taken for pairs of pilots; each such guess is a linear map of frequencies, and says where all the other pilots
must be. The maps for which most is there are refined by least squares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from countermark.provenance.watermark.tile.front import Plane
from countermark.provenance.watermark.tile.layout import PILOTS, SIDE, WORK

__all__ = ["Candidate", "Spectrum", "search", "spectrum"]

Floats = npt.NDArray[np.float64]
_PEAKS = 160
_LEAST_PEAK = 5.0
_SCALES = (0.27, 2.3)  # of the picture, beside the one that was marked
_BARS = 1.8  # a picture with bars around it may have this many times the area of the marked work picture
_STRETCH = 1.32
_TURN = np.deg2rad(50)
_CAP = 14.0
_PILOTS = np.array(PILOTS, np.float64)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A guess at the geometry.

    Attributes:
        matrix: (2, 2) float64, takes (ky, kx) in cycles a tile to (fy, fx) in cycles a pixel.
        score: how much of the pilots is where it says.
    """

    matrix: Floats
    score: float


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Power spectrum over its local level.

    Attributes:
        power: (H, W / 2) float32; row H / 2 is fy = 0, column 0 is fx = 0.
        highest: the same, each bin the highest of its neighbourhood of 3 x 3.
        peaks: (P, 2) float64, (fy, fx) in cycles a pixel, strongest first.
        shape: (H, W).
        least_scale: what was marked was at most WORK x WORK, so this picture is not much smaller beside it.
    """

    power: Plane
    highest: Plane
    peaks: Floats
    shape: tuple[int, int]
    least_scale: float


def spectrum(planes: Sequence[Plane]) -> Spectrum:
    """Spectrum of residuals of one size (h, w), their powers averaged."""
    total, shape = _power(planes[0])
    for plane in planes[1:]:
        total = total + _power(plane)[0]
    near, far = (cv2.blur(total, (side, side), borderType=cv2.BORDER_REFLECT_101) for side in (17, 41))
    power = (total / np.maximum(np.maximum(near, 0.6 * far), 1e-9)).astype(np.float32)
    fy, fx = (np.arange(shape[0]) - shape[0] // 2) / shape[0], np.arange(shape[1] // 2) / shape[1]
    radius = np.hypot(fy[:, None], fx[None, :])
    power[(radius < 0.016) | (radius > 0.47)] = 0
    power[:, fx < 0.006] = 0  # edges of pictures
    power[np.abs(fy) < 0.006] = 0
    highest = np.asarray(cv2.dilate(power, np.ones((3, 3), np.uint8)), dtype=np.float32)
    y, x = np.nonzero((power == highest) & (power > _LEAST_PEAK))
    strongest = np.argsort(power[y, x])[::-1][:_PEAKS]
    area = planes[0].shape[0] * planes[0].shape[1]
    least = max(_SCALES[0], float(np.sqrt(area / _BARS)) / WORK)
    return Spectrum(power, highest, _between(power, y[strongest], x[strongest], shape), shape, least)


def _power(plane: Plane) -> tuple[Plane, tuple[int, int]]:
    height, width = plane.shape
    rows, columns = _even(height), _even(width)
    padded = np.zeros((rows, columns), np.float32)
    padded[:height, :width] = plane * _window(height)[:, None] * _window(width)
    packed = cv2.dft(padded)  # OpenCV's packed layout: column 2j - 1 holds the real, 2j the imaginary part of fx = j
    power = np.zeros((rows, columns // 2), np.float32)
    power[:, 1:] = packed[:, 1:-1:2] ** 2 + packed[:, 2:-1:2] ** 2
    return np.roll(power, rows // 2, axis=0), (rows, columns)


def _even(size: int) -> int:
    while (size := cv2.getOptimalDFTSize(size)) % 2:
        size += 1
    return size


@lru_cache(maxsize=16)
def _window(size: int) -> Plane:
    """Ones, with a tenth at either end falling to zero (Tukey)."""
    edge = max(8, size // 10)
    window = np.ones(size, np.float32)
    window[:edge] = 0.5 - 0.5 * np.cos(np.pi * (np.arange(edge) + 0.5) / edge)
    window[-edge:] = window[:edge][::-1]
    return window


def _between(power: Plane, y: npt.NDArray[np.int64], x: npt.NDArray[np.int64], shape: tuple[int, int]) -> Floats:
    """(N, 2) frequencies of peaks, between the bins by a parabola through the neighbours."""
    y, x = np.clip(y, 1, shape[0] - 2), np.clip(x, 1, shape[1] // 2 - 2)
    places = []
    for dy, dx, at, size in ((1, 0, y - shape[0] // 2, shape[0]), (0, 1, x, shape[1])):
        before, here, after = (np.sqrt(power[y + k * dy, x + k * dx]) for k in (-1, 0, 1))
        bend = np.minimum(before - 2 * here + after, -1e-6)
        places.append((at + np.clip(0.5 * (before - after) / bend, -0.5, 0.5)) / size)
    return np.stack(places, axis=1)


@lru_cache(maxsize=1)
def _pairs() -> tuple[tuple[Floats, Floats], ...]:
    """Pairs of pilots: the first with an angle of 0 to 45 degrees, the second at 50 to 130 degrees from it."""
    whole = np.concatenate([_PILOTS, -_PILOTS])
    angle = np.arctan2(whole[:, 0], whole[:, 1])
    firsts = np.flatnonzero((angle > 0) & (angle < np.pi / 4))
    return tuple(
        (whole[i], whole[j])
        for i in firsts
        for j in np.flatnonzero(np.abs(np.abs(_wrapped(angle - angle[i])) - np.pi / 2) < np.deg2rad(40))
    )


def _wrapped(angle: Floats) -> Floats:
    return np.asarray((angle + np.pi) % (2 * np.pi) - np.pi)


def search(seen: Spectrum, count: int) -> list[Candidate]:
    """The `count` best candidates, best first; turns by 90 degrees and mirroring are left to the reader."""
    both = np.concatenate([seen.peaks, -seen.peaks])
    matrices = np.concatenate(
        [np.zeros((0, 2, 2)), *(_guesses(both, one, two, seen.least_scale) for one, two in _pairs())]
    )
    scores = _score(seen, matrices)
    chosen: list[Candidate] = []
    for at in np.argsort(scores)[::-1][: 20 * count]:
        if len(chosen) == count:
            break
        if _known(matrices[at], chosen):
            continue
        better = _refined(seen, matrices[at])
        if not _known(better, chosen):
            chosen.append(Candidate(better, float(_score(seen, better[None])[0])))
    return sorted(chosen, key=lambda candidate: -candidate.score)


def _known(matrix: Floats, chosen: list[Candidate]) -> bool:
    return any(np.abs(matrix - c.matrix).max() < 0.02 * np.abs(c.matrix).max() for c in chosen)


def _guesses(peaks: Floats, one: Floats, two: Floats, least_scale: float) -> Floats:
    """(M, 2, 2) maps that take pilots `one` and `two` to two of the peaks, if such a map is to be expected."""
    length, angle = np.hypot(*peaks.T) * SIDE, np.arctan2(peaks[:, 0], peaks[:, 1])
    scale_one, scale_two = length / np.hypot(*one), length / np.hypot(*two)
    turned = _wrapped(angle - np.arctan2(*one))
    wide = 1.2
    firsts = np.flatnonzero(
        (np.abs(turned) < _TURN) & (scale_one > 1 / _SCALES[1] / wide) & (scale_one < wide / least_scale)
    )
    i, j = (grid.ravel() for grid in np.meshgrid(firsts, np.arange(len(peaks)), indexing="ij"))
    turned_too = _wrapped(angle[j] - np.arctan2(*two))
    fit = np.abs(np.log(scale_one[i] / scale_two[j])) < np.log(_STRETCH)
    fit &= np.abs(_wrapped(turned_too - turned[i])) < 0.3
    matrices = np.stack([peaks[i[fit]], peaks[j[fit]]], axis=2) @ np.linalg.inv(np.stack([one, two], axis=1))
    return matrices[_plausible(matrices, least_scale)]


def _plausible(matrices: Floats, least_scale: float) -> npt.NDArray[np.bool_]:
    """By scale, stretch and turn, from the closed form of the singular values of a 2 x 2 matrix."""
    a, b, c, d = (matrices[:, i, j] * SIDE for i in (0, 1) for j in (0, 1))
    mean, half = np.hypot(a + d, c - b) / 2, np.hypot(a - d, c + b) / 2
    large, small = mean + half, mean - half
    scale = np.sqrt(np.maximum(large * small, 1e-9))
    fit = (small > 0) & (large < _STRETCH * small) & (np.abs(np.arctan2(c - b, a + d)) < _TURN)
    return np.asarray(fit & (scale > 1 / _SCALES[1]) & (scale < 1 / least_scale))


def _places(seen: Spectrum, matrices: Floats) -> tuple[npt.NDArray[np.int64], ...]:
    """Bins (y, x) of all pilots under maps (M, 2, 2), each (M, 16); which half they are in, and which are in sight."""
    fy, fx = np.moveaxis(matrices @ _PILOTS.T, 1, 0)
    half = np.where(fx < 0, -1, 1)
    y = np.rint(fy * half * seen.shape[0]).astype(np.int64) + seen.shape[0] // 2
    x = np.rint(fx * half * seen.shape[1]).astype(np.int64)
    high, wide = seen.shape[0] - 2, seen.shape[1] // 2 - 2
    visible = (y >= 1) & (y <= high) & (x >= 1) & (x <= wide)
    return np.clip(y, 1, high), np.clip(x, 1, wide), half, visible


def _score(seen: Spectrum, matrices: Floats) -> Floats:
    y, x, _, visible = _places(seen, matrices)
    return np.asarray(np.where(visible, np.minimum(seen.highest[y, x], _CAP), 0.0).sum(axis=1), dtype=np.float64)


def _refined(seen: Spectrum, matrix: Floats) -> Floats:
    """Least squares over the peaks nearest to all pilots, twice."""
    around = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    for _ in range(2):
        y, x, half, visible = (part[0] for part in _places(seen, matrix[None]))
        values = np.stack([seen.power[y + dy, x + dx] for dy, dx in around])
        best = np.argmax(values, axis=0)
        moves = np.array(around)[best]
        peaks = _between(seen.power, y + moves[:, 0], x + moves[:, 1], seen.shape) * half[:, None]
        weight = np.where(visible, np.clip(values.max(axis=0) - 2, 0, _CAP), 0.0)
        if np.count_nonzero(weight) < 3:
            break
        root = np.sqrt(weight)[:, None]
        matrix = np.linalg.lstsq(_PILOTS * root, peaks * root, rcond=None)[0].T
    return matrix
