"""Writing the own mark: as weak as a test recompression allows, and nowhere stronger than the picture hides."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg

from countermark.provenance.errors import UsageError
from countermark.provenance.watermark.tile import ecc
from countermark.provenance.watermark.tile.front import Pixels, Plane, fold, masks_of, residual, stack, to_work
from countermark.provenance.watermark.tile.layout import SIDE, chips, layout
from countermark.provenance.watermark.tile.payload import MarkKey, Payload

__all__ = ["LEAST_SIDE", "STRENGTHS", "can_carry", "embed", "signs_of"]

LEAST_SIDE = 256
"""Pixels the short side must have."""
STRENGTHS = ("auto", "subtle", "normal", "strong")
_LEVELS = ((46.1, 1.0), (45.1, 1.1), (44.1, 1.2), (43.1, 1.35), (42.1, 1.5))  # PSNR in dB; most in flat parts, levels
_FIXED = {"subtle": 0, "normal": 2, "strong": 4}
_PILOT_GAINS = (0.6, 1.0, 1.6)
_DATA_ENOUGH, _PILOTS_ENOUGH = 30.0, 24.0
_STRESS_QUALITY = 50
_INFORMED = 0.6


def can_carry(height: int, width: int) -> bool:
    """Whether a picture is large enough."""
    return min(height, width) >= LEAST_SIDE


def signs_of(payload: Payload, key: MarkKey) -> npt.NDArray[np.float32]:
    """Signs of all chips, (2N,)."""
    dealt = chips(key.secret)
    return dealt.sign * ecc.encode(payload.bits)[dealt.bit]


def embed(rgb: Pixels, payload: Payload, key: MarkKey, strength: str = "auto") -> Pixels:
    """Write a mark.

    Args:
        rgb: (H, W, 3) uint8, RGB, both sides at least `LEAST_SIDE`.
        payload: what to write.
        key: whose mark.
        strength: `auto` takes the weakest of five levels (PSNR 46 to 42 dB) whose mark stands a recompression at
            JPEG 50 with room to spare; `subtle`, `normal` and `strong` are the first, third and fifth.

    Returns:
        (H, W, 3) uint8, RGB. The same input always gives the same output.

    Raises:
        UsageError: the picture is too small, or the strength is unknown.
    """
    height, width = rgb.shape[:2]
    if not can_carry(height, width):
        raise UsageError(
            f"The watermark needs {LEAST_SIDE} x {LEAST_SIDE} pixels; this picture has {width} x {height}."
        )
    if strength not in STRENGTHS:
        raise UsageError(f"Unknown strength {strength!r}; allowed are {', '.join(STRENGTHS)}.")
    luma = to_work(np.asarray(cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY), dtype=np.uint8))
    small = 1.5 * float(np.clip(np.log2(np.sqrt(height * width) / 512), -1, 0))
    pattern = _Writer(luma, signs_of(payload, key), small).pattern(strength)
    if pattern.shape != (height, width):
        pattern = np.asarray(cv2.resize(pattern, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.float32)
    return np.asarray(np.clip(np.rint(rgb + pattern[..., None]), 0, 255), dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class _Stress:
    """What is left after the test: of the data, in deviations of noise; of the median pilot, as a power ratio."""

    data: float
    pilots: float

    @property
    def stood(self) -> bool:
        return self.data >= _DATA_ENOUGH and self.pilots >= _PILOTS_ENOUGH


class _Writer:
    """One picture made ready: work luma (h, w), masks, signs of the chips (2N,)."""

    def __init__(self, luma: Plane, signs: npt.NDArray[np.float32], decibel: float) -> None:
        self._luma, self._signs, self._decibel = luma, signs, decibel
        self._masks = masks_of(luma)
        self._nominal = np.repeat(layout().amplitude, 2)

    def pattern(self, strength: str) -> Plane:
        """The change to every channel, (h, w) float32, in levels."""
        gain = 1
        for level in [_FIXED[strength]] if strength in _FIXED else range(len(_LEVELS)):
            plain = self._make(level, _PILOT_GAINS[gain], self._nominal)
            pattern = self._make(level, _PILOT_GAINS[gain], self._informed(plain))
            left = self._stress(pattern)
            if left.stood:
                break
            if left.data < _DATA_ENOUGH and left.pilots > 3 * _PILOTS_ENOUGH:
                gain = max(0, gain - 1)
            elif left.data >= _DATA_ENOUGH and left.pilots < _PILOTS_ENOUGH:
                gain = min(len(_PILOT_GAINS) - 1, gain + 1)
        return pattern

    def _make(self, level: int, pilot_gain: float, amplitude: npt.NDArray[np.float64]) -> Plane:
        signed = amplitude * self._signs
        low, high = (self._laid(t) for t in _tiles(signed[0::2] + 1j * signed[1::2], pilot_gain))
        pattern = self._masks.low * low + self._masks.high * high
        psnr, most = _LEVELS[level]
        wanted = 255 / 10 ** ((psnr + self._decibel) / 20) / max(1e-6, float(np.sqrt(np.mean(pattern * pattern))))
        return np.asarray(pattern * min(most, wanted), dtype=np.float32)

    def _laid(self, tile: Plane) -> Plane:
        height, width = self._luma.shape
        return np.tile(tile, (-(-height // SIDE), -(-width // SIDE)))[:height, :width]

    def _informed(self, pattern: Plane) -> npt.NDArray[np.float64]:
        """Amplitudes that make up for what the picture itself adds to each chip (improved spread spectrum).

        Malvar and Florencio, "Improved spread spectrum", IEEE Trans. Signal Processing 51, 2003.
        """
        made = layout()
        bins = np.fft.fft2(stack(residual(np.clip(self._luma + pattern, 0, 255))))[::2, ::2][
            made.bins[:, 0], made.bins[:, 1]
        ]
        seen = np.stack([bins.real, bins.imag], axis=1).reshape(-1) * self._signs
        response = max(float(seen @ self._nominal) / float(self._nominal @ self._nominal), 1e-6)
        host = seen / response - self._nominal
        return np.clip(self._nominal - _INFORMED * host, 0.4 * self._nominal, 2.5 * self._nominal)

    def _stress(self, pattern: Plane) -> _Stress:
        grey = np.clip(np.rint(self._luma + pattern), 0, 255).astype(np.uint8)
        data = simplejpeg.encode_jpeg(grey[..., None], _STRESS_QUALITY, "GRAY", "444")
        after = np.asarray(simplejpeg.decode_jpeg(data, "GRAY")[..., 0], dtype=np.float32)
        folded, made = fold(stack(residual(after))), layout()
        ky, kx = made.bins.T
        values = folded.chips(folded.at(ky, kx), ky, kx)
        share = float(values @ self._signs) ** 2 / (len(values) * float(values @ values) + 1e-9)
        pilots = folded.at(*made.pilots.T)
        return _Stress(
            float(np.sqrt(len(values) * share / max(1e-6, 1 - share))), float(np.median(np.abs(pilots) ** 2)) / 2
        )


def _tiles(values: npt.NDArray[np.complex128], pilot_gain: float) -> tuple[Plane, Plane]:
    """The tile's low and high band from the data bins' values (N,), together of deviation 1."""
    made = layout()
    bands = []
    for low in (True, False):
        spectrum = np.zeros((SIDE, SIDE), np.complex128)
        for bins, numbers, lows in (
            (made.bins, values, made.low),
            (made.pilots, pilot_gain * made.pilot_values, made.pilot_low),
        ):
            ky, kx = bins[lows == low].T
            spectrum[ky, kx] = numbers[lows == low]
            spectrum[-ky, -kx] = numbers[lows == low].conj()
        bands.append(np.fft.ifft2(spectrum).real)
    deviation = float(np.std(bands[0] + bands[1]))
    return (bands[0] / deviation).astype(np.float32), (bands[1] / deviation).astype(np.float32)
