"""Reading the own mark: is it there, what does it say, and how often would chance say so.

The p-value needs no model of pictures. The signs of the chips follow from the key as coin flips do, whatever the
picture; for any fixed weights w the sum of +-w exceeds z * sqrt(sum of w ** 2) with probability of at most
exp(-z ** 2 / 2) (Hoeffding, J. American Statistical Association 58, 1963). That bound is multiplied by the number
of messages that would have been accepted (2 ** 40 ids; their tags are fixed by the key) and by the number of
hypotheses tried: keys, geometries, shifts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from countermark.provenance.errors import UsageError
from countermark.provenance.watermark.tile import ecc
from countermark.provenance.watermark.tile.front import Folded, Pixels, Plane, fold, residual, stack, work_luma
from countermark.provenance.watermark.tile.layout import CODED, SIDE, chips, layout
from countermark.provenance.watermark.tile.payload import ID_BITS, PUBLIC, MarkKey, Payload, parse
from countermark.provenance.watermark.tile.sync import Floats, search, spectrum

Effort = Literal["fast", "normal", "full"]
__all__ = ["THRESHOLD", "Detection", "Geometry", "Readout", "codewords", "detect", "detect_frames", "match", "verify"]

THRESHOLD = 1e-6
"""Corrected p-value up to which a mark is reported."""
_FINE = 2 * SIDE
_CLIP = 6.0
_LEAST_PILOT = 6.0  # below it a hypothesis is not worth decoding; clean pictures rarely reach it
_CANDIDATES = 8
_PROMISING = 78.0  # score of a candidate; clean pictures rarely reach it
LEAST_SIDE = 64
"""Pixels below which nothing is looked for."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """How a picture lies beside the one that was marked.

    Attributes:
        matrix: (2, 2) float64, pixels of the marked work picture (y, x) to pixels of this one's work picture.
        orientation: 0 to 7: quarter turns (bits 0 and 1) after mirroring left and right (bit 2).
        shift: (y, x) of a tile's origin in pixels of the marked work picture, in [0, SIDE).
    """

    matrix: Floats
    orientation: int
    shift: tuple[float, float]

    def to_dict(self) -> dict[str, Any]:
        """Scale, stretch and turn in plain numbers."""
        (a, b), (c, d) = self.matrix
        mean, half = math.hypot(a + d, c - b) / 2, math.hypot(a - d, c + b) / 2
        return {
            "scale": round(math.sqrt(abs(a * d - b * c)), 4),
            "stretch": round((mean + half) / max(mean - half, 1e-9), 4),
            "degrees": round(math.degrees(math.atan2(c - b, a + d)), 2),
            "quarter_turns": self.orientation & 3,
            "mirrored": bool(self.orientation & 4),
            "shift": [round(v, 1) for v in self.shift],
        }


@dataclass(frozen=True, slots=True)
class Readout:
    """The chips under one hypothesis about the geometry.

    Attributes:
        chips: (2N,) float32, weighted; still with the key's signs.
        pilot: how clearly the pilots stand out, in deviations of noise.
        geometry: the hypothesis.
    """

    chips: Plane
    pilot: float
    geometry: Geometry

    def soft(self, key: MarkKey) -> Plane:
        """Soft values of the coded bits (CODED,) under a key, divided by the deviation of their sum with coin flips."""
        dealt = chips(key.secret)
        total = np.bincount(dealt.bit, weights=self.chips * dealt.sign, minlength=CODED)
        return np.asarray(total / math.sqrt(float(self.chips @ self.chips) + 1e-12), dtype=np.float32)


@dataclass(frozen=True)
class Detection:
    """What was found.

    Attributes:
        found: a mark under one of the keys, at `THRESHOLD`.
        payload: what it says, or None.
        key: the key it was found under, or None.
        p_value: probability that a picture without a mark gives as much under any hypothesis tried; at most 1.
        statistic: z of the best message.
        hypotheses: keys, geometries and shifts tried.
        pilot: how clearly the public pilots stand out; without a payload it hints at a mark of another key.
        geometry: of the best hypothesis, or None where none was worth decoding.
        readouts: all hypotheses that were worth decoding, for `match`.
    """

    found: bool
    payload: Payload | None = None
    key: MarkKey | None = None
    p_value: float = 1.0
    statistic: float = 0.0
    hypotheses: int = 1
    pilot: float = 0.0
    geometry: Geometry | None = None
    readouts: tuple[Readout, ...] = field(default=(), repr=False)


def detect(rgb: Pixels, keys: Sequence[MarkKey] = (PUBLIC,), effort: Effort = "full") -> Detection:
    """Look for a mark.

    Args:
        rgb: (H, W, 3) uint8, RGB.
        keys: whose marks to look for.
        effort: `fast` looks for marks that were cropped, mirrored, turned by 90 degrees or (above one megapixel)
            scaled; `normal` also for scaled, stretched and turned ones where something like pilots shows; `full`
            follows the best guesses in every picture.
    """
    return detect_frames([rgb], keys, effort)


def detect_frames(frames: Sequence[Pixels], keys: Sequence[MarkKey] = (PUBLIC,), effort: Effort = "full") -> Detection:
    """Look for one mark in several frames of a video that all carry it, their evidence pooled.

    Args:
        frames: each (H, W, 3) uint8, RGB, of one size and geometry.
        keys, effort: see `detect`.

    Raises:
        UsageError: there are no frames, or they differ in size.
    """
    if len({frame.shape for frame in frames}) != 1:
        raise UsageError(f"Frames must be of one size; given {sorted({frame.shape[:2] for frame in frames})}.")
    if min(frames[0].shape[:2]) < LEAST_SIDE:
        return Detection(False)
    best, tried, seen = Detection(False), 0, []
    for readout in _readouts([residual(work_luma(frame)) for frame in frames], effort):
        if readout.pilot < _LEAST_PILOT:
            best = replace(best, pilot=max(best.pilot, readout.pilot))
            continue
        seen.append(readout)
        for key in keys:
            tried += 1
            said = _read(readout, key)
            if (said.payload is not None, said.statistic) > (best.payload is not None, best.statistic):
                best = said
        best = _judged(best, tried)
        if best.found:
            break
    return replace(_judged(best, tried), readouts=tuple(seen))


def _judged(best: Detection, tried: int) -> Detection:
    p_value = chance(best.statistic, ID_BITS * math.log(2) + math.log(max(1, tried))) if best.payload else 1.0
    return replace(best, found=p_value <= THRESHOLD, p_value=p_value, hypotheses=max(1, tried))


def chance(statistic: float, log_hypotheses: float = 0.0) -> float:
    """Bound on the probability that coin flips reach a statistic under any of exp(`log_hypotheses`) hypotheses."""
    return math.exp(min(0.0, log_hypotheses - max(0.0, statistic) ** 2 / 2))


def _read(readout: Readout, key: MarkKey) -> Detection:
    soft = readout.soft(key)
    bits = ecc.decode(soft)
    statistic = float(ecc.encode(bits) @ soft)
    payload = parse(bits, key)
    return Detection(False, payload, key if payload else None, 1.0, statistic, 1, readout.pilot, readout.geometry)


def codewords(payloads: Iterable[Payload]) -> npt.NDArray[np.int8]:
    """(N, CODED) signs of payloads, for `match`."""
    rows = [ecc.encode(payload.bits).astype(np.int8) for payload in payloads]
    return np.stack(rows) if rows else np.zeros((0, CODED), np.int8)


def match(readouts: Sequence[Readout], words: npt.NDArray[np.int8], key: MarkKey) -> tuple[int, float]:
    """The known message that explains the readouts best: its row, and its corrected p-value.

    With the messages known, far fewer could be accepted by chance, and a weaker mark is enough.

    Args:
        readouts: of a detection.
        words: (N, CODED) from `codewords`.
        key: whose they are.
    """
    if not len(words) or not readouts:
        return -1, 1.0
    soft = np.stack([readout.soft(key) for readout in readouts], axis=1)
    best_row, best = -1, -math.inf
    for first in range(0, len(words), 16384):
        scores = (words[first : first + 16384].astype(np.float32) @ soft).max(axis=1)
        row = int(np.argmax(scores))
        if scores[row] > best:
            best_row, best = first + row, float(scores[row])
    return best_row, chance(best, math.log(len(words) * len(readouts)))


def verify(rgb: Pixels, payload: Payload, key: MarkKey) -> float:
    """P-value of one known payload in a picture: more sensitive than `detect`, which must guess it."""
    return match(detect(rgb, [key]).readouts, codewords([payload]), key)[1]


def _readouts(planes: list[Plane], effort: Effort) -> Iterator[Readout]:
    """Hypotheses, the cheapest first."""
    yield _readout(fold(_pooled(stack(plane) for plane in planes)), np.eye(2))
    if effort == "fast":
        return
    for candidate in search(spectrum(planes), _CANDIDATES):
        if effort == "normal" and candidate.score < _PROMISING:
            return
        matrix = np.asarray(np.linalg.inv((candidate.matrix * SIDE).T), dtype=np.float64)
        yield _readout(fold(_pooled(stack(rectified(plane, matrix)) for plane in planes)), matrix)


def _pooled(stacks: Iterable[Plane]) -> Plane:
    parts = list(stacks)
    return np.asarray(np.sum(parts, axis=0) / math.sqrt(len(parts)), dtype=np.float32)


def _readout(folded: Folded, matrix: Floats) -> Readout:
    """The orientation and shift at which the pilots stand out most."""
    pilot, orientation, shift = max(_pilot(folded, orientation) for orientation in range(8))
    made = layout()
    ky, kx = oriented(made.bins[:, 0], made.bins[:, 1], orientation)
    turn = np.exp(2j * np.pi * (made.bins @ np.array(shift)) / SIDE)
    seen = folded.at(ky, kx)
    seen = seen * turn * np.minimum(1, _CLIP / np.maximum(np.abs(seen), 1e-9))
    return Readout(folded.chips(seen, ky, kx), pilot, Geometry(matrix, orientation, shift))


def oriented(
    ky: npt.NDArray[np.int64], kx: npt.NDArray[np.int64], orientation: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Bins of an oriented picture that hold what (ky, kx) of the tile hold."""
    if orientation & 4:
        kx = -kx
    for _ in range(orientation & 3):
        ky, kx = kx, -ky
    return ky, kx


def _pilot(folded: Folded, orientation: int) -> tuple[float, int, tuple[float, float]]:
    made = layout()
    seen = folded.at(*oriented(made.pilots[:, 0], made.pilots[:, 1], orientation))
    seen = seen * np.minimum(1, 2 * _CLIP / np.maximum(np.abs(seen), 1e-9))
    grid = np.zeros((_FINE, _FINE), np.complex64)
    grid[made.pilots[:, 0], made.pilots[:, 1]] = seen * made.pilot_values.conj()
    fit = np.fft.ifft2(grid).real
    y, x = divmod(int(np.argmax(fit)), _FINE)
    down, across = fit[(y - 1) % _FINE, x], fit[(y + 1) % _FINE, x]
    left, right = fit[y, (x - 1) % _FINE], fit[y, (x + 1) % _FINE]
    place = (y + _vertex(down, fit[y, x], across)) / 2, (x + _vertex(left, fit[y, x], right)) / 2
    strength = float(fit[y, x]) * _FINE**2 / math.sqrt(float((np.abs(made.pilot_values) ** 2).sum()))
    return strength, orientation, (place[0] % SIDE, place[1] % SIDE)


def _vertex(before: float, here: float, after: float) -> float:
    bend = before - 2 * here + after
    return float(np.clip(0.5 * (before - after) / bend, -0.5, 0.5)) if bend < 0 else 0.0


def rectified(plane: Plane, matrix: Floats) -> Plane:
    """A plane brought to the scale and angle of the marked work picture, zero where it has no pixels.

    Args:
        plane: (h, w) float32.
        matrix: see `Geometry`.
    """
    height, width = plane.shape
    corners = np.linalg.inv(matrix) @ np.array([[0, 0, height, height], [0, width, 0, width]], np.float64)
    low = corners.min(axis=1)
    size = np.ceil(corners.max(axis=1) - low).astype(int)
    scale = math.sqrt(abs(float(np.linalg.det(matrix))))
    if scale > 1.2:
        plane = np.asarray(cv2.GaussianBlur(plane, (0, 0), 0.45 * scale), dtype=np.float32)
    start = matrix @ low
    affine = np.array([[matrix[1, 1], matrix[1, 0], start[1]], [matrix[0, 1], matrix[0, 0], start[0]]])
    size = np.minimum(size, 4096)
    return np.asarray(
        cv2.warpAffine(plane, affine, (int(size[1]), int(size[0])), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP),
        dtype=np.float32,
    )
