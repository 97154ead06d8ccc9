"""Find the public marks that are already out there: a soft detector for known messages.

The stock decoder reads hard bits of an 8 bit image and misses most of SDXL's and all of FLUX's marks, which
were embedded in float32, where the U channel is centred on 0.5 instead of 128. Here every block gives a
soft vote, the sine of its place on the lattice, all known messages are correlated with the votes in one
pass, and a p-value says how often a clean picture would do as well.

The statistic is Student's t of the regression of the message's bits on the mean votes per bit: the spread of
the votes around the message, not a model of pictures, sets the scale, so that structure in a picture makes
the test more careful and not more trusting. Every p-value reported is multiplied by the number of hypotheses
searched (Bonferroni, a third of the chance rate for each of the three searches).

A search over brightness or contrast (scale of the lattice) and over crops (phase of the block grid, length
of the old rows) follows only where the first pass leaves the question open.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from importlib import resources

import numpy as np
import numpy.typing as npt

from countermark.provenance.upload import Pixels
from countermark.provenance.watermark.lattice import MIN_AREA, STEP
from countermark.provenance.watermark.stats import student_t_sf

__all__ = ["THRESHOLD", "KnownMark", "MarkScore", "find_known", "known_marks"]

Plane = npt.NDArray[np.float32]
THRESHOLD = 1e-6  # corrected p-value below which a mark is reported
_RELATED = 1e-3  # corrected p-value up to which a related message may be the true one
_CHROMA = 0.492  # OpenCV: U = 0.492 (B - Y)
_LUMA = (0.299, 0.587, 0.114)
_OFFSETS = {"float32": 1.0, "uint8": 256.0}  # twice the centre of U
_SCALES = np.concatenate([np.arange(0.70, 0.99, 0.03), np.arange(1.03, 1.46, 0.03)]).astype(np.float32)
_SEARCHES = 3
_MAX_AREA = 1 << 21  # pixels
_STRIP = 192  # rows of pixels that the gate of the crop search looks at
_GATE = 4.0  # standard deviations of lagged self-correlation that open the crop search
_CANDIDATES = 3


@dataclass(frozen=True)
class KnownMark:
    """A public message.

    Attributes:
        name: short name.
        bits: the message, (L,) of 0 and 1.
        domain: number format in which it was embedded: ``float32`` or ``uint8``.
        generator: who writes it.
        source: where it is published.
    """

    name: str
    bits: npt.NDArray[np.uint8]
    domain: str
    generator: str
    source: str

    @cached_property
    def comb(self) -> int:
        """Period of the component that is left out of long text messages, 1 for none.

        All ASCII text shares its high bits, with a period of 8; that part of the votes cannot tell one
        message from another, nor from any message whose length shares the factor 16.
        """
        length = len(self.bits)
        return 1 if length < 128 else 16 if length % 16 == 0 else 8

    @cached_property
    def signs(self) -> npt.NDArray[np.float64]:
        """The message as signs, the comb (and so the mean) removed, unit power."""
        signs = _without_comb(self.bits.astype(np.float64) * 2.0 - 1.0, self.comb)
        return np.asarray(signs / signs.std())

    @property
    def degrees(self) -> int:
        """Degrees of freedom of the regression on the message."""
        return len(self.bits) - self.comb - 1


def _without_comb(values: npt.NDArray[np.float64], period: int) -> npt.NDArray[np.float64]:
    table = values.reshape(-1, period)
    return np.asarray((table - table.mean(axis=0)).reshape(-1))


@dataclass(frozen=True, slots=True)
class MarkScore:
    """How well one known mark explains a picture.

    Attributes:
        mark: its name.
        generator: who writes it.
        statistic: Student's t of the best hypothesis.
        p_value: chance that a clean picture does as well under any hypothesis searched.
        hypotheses: factor of the Bonferroni correction: three times those of the search that found it.
        bit_agreement: share of the message's bits that the votes give.
        channel_order: ``BGR`` as intended, or ``RGB`` (old diffusers).
        search: ``none``, ``scale`` or ``phase``.
        scale: lattice scale found (brightness or contrast), 1 for none.
        phase: (row, column) offset of the block grid in pixels.
        amplitude: size of the message in the votes; tells which of several related messages it is.
    """

    mark: str
    generator: str
    statistic: float
    p_value: float
    hypotheses: int
    bit_agreement: float
    channel_order: str = "BGR"
    search: str = "none"
    scale: float = 1.0
    phase: tuple[int, int] = (0, 0)
    amplitude: float = 0.0

    @property
    def found(self) -> bool:
        """Whether the mark is reported at the shipped threshold."""
        return self.p_value <= THRESHOLD


@lru_cache(maxsize=1)
def known_marks() -> tuple[KnownMark, ...]:
    """The public messages that ship (`known_marks.toml`)."""
    text = resources.files("countermark.provenance.watermark").joinpath("known_marks.toml").read_text("utf-8")
    marks = []
    for row in tomllib.loads(text)["mark"]:
        if "text" in row:
            bits = np.unpackbits(np.frombuffer(row["text"].encode("ascii"), np.uint8))
        else:
            bits = np.array([int(b) for b in row["bits"]], np.uint8)
        marks.append(KnownMark(row["name"], bits, row["domain"], row["generator"], row["source"]))
    return tuple(marks)


def find_known(rgb: Pixels, thorough: bool = False) -> list[MarkScore]:
    """Score every known mark, best first.

    Args:
        rgb: (H, W, 3) uint8, RGB, [0, 255].
        thorough: try all 64 phases, even where nothing hints at a mark.

    Returns:
        One score a mark; empty for a picture below 256 x 256 pixels in area, where no encoder writes one.
    """
    if rgb.shape[0] * rgb.shape[1] < MIN_AREA or min(rgb.shape[:2]) < 64:
        return []
    marks = known_marks()
    rgb, first = _window(rgb)
    votes = {order: _extremes(plane) for order, plane in _ll_planes(rgb).items()}
    scores = _first_pass(votes, marks, first)
    if not scores[0].found:
        scores = _merge(scores, _scale_search(votes, marks, first))
    if not scores[0].found:
        phases = [(y, x) for _, y, x in _gate(rgb, marks)]
        phases = [(y, x) for y in range(8) for x in range(8)] if thorough else phases[:_CANDIDATES]
        scores = _merge(scores, _phase_search(rgb, marks, phases)) if phases else scores
    return _attributed(scores)


def _window(rgb: Pixels) -> tuple[Pixels, int]:
    """The middle rows of a large picture, and the number of blocks above them: the votes are plenty there."""
    height, width = rgb.shape[:2]
    rows = _MAX_AREA // width // 8
    if rows * 8 >= height:
        return rgb, 0
    above = (height // 8 - rows) // 2
    return rgb[above * 8 : (above + rows) * 8], above * (width // 4 * 4 // 2 // 4)


def _merge(scores: list[MarkScore], more: list[MarkScore]) -> list[MarkScore]:
    """The best score of each mark over two searches."""
    best: dict[str, MarkScore] = {}
    for score in [*scores, *more]:
        if score.mark not in best or score.p_value < best[score.mark].p_value:
            best[score.mark] = score
    return sorted(best.values(), key=lambda s: s.p_value)


def _attributed(scores: list[MarkScore]) -> list[MarkScore]:
    """Once a mark is found, name the one that explains most of the votes.

    Text messages share the high bits of their letters, so a longer one can have the smaller p-value in a
    picture that carries a shorter one. The p-value of the finding stays the smallest one.
    """
    if not scores[0].found:
        return scores
    likely = max((s for s in scores if s.p_value <= _RELATED), key=lambda s: s.amplitude)
    named = replace(likely, p_value=scores[0].p_value)
    return [named, *(s for s in scores if s.mark != likely.mark)]


def _ll_planes(rgb: Pixels) -> dict[str, Plane]:
    """Haar LL of the U channel without its centre, for both channel orders; (H // 2, W // 2) float32."""
    import cv2

    height, width = rgb.shape[0] // 2, rgb.shape[1] // 2
    half = cv2.resize(rgb[: height * 2, : width * 2].astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    r, g, b = _LUMA
    rows = np.array([[-r, -g, 1 - b], [1 - b, -g, -r]], np.float32)  # B - Y, and R - Y with R and B swapped
    both = cv2.transform(half, rows * np.float32(2 * _CHROMA))
    return {"BGR": np.ascontiguousarray(both[:, :, 0]), "RGB": np.ascontiguousarray(both[:, :, 1])}


def _extremes(plane: Plane) -> tuple[Plane, Plane]:
    """Largest and smallest value of each 4 x 4 block, its first value left out; (R, C) each."""
    rows, columns = plane.shape[0] // 4, plane.shape[1] // 4
    part = plane[: rows * 4, : columns * 4].copy()
    part[::4, ::4] = part[::4, 1::4]
    return _pooled(part, np.maximum), _pooled(part, np.minimum)


def _pooled(part: Plane, pick: np.ufunc) -> Plane:
    tall = pick(pick(part[0::4], part[1::4]), pick(part[2::4], part[3::4]))
    return np.asarray(pick(pick(tall[:, 0::4], tall[:, 1::4]), pick(tall[:, 2::4], tall[:, 3::4])))


def _lattice_place(extremes: tuple[Plane, Plane], domain: str, scale: Plane | float = 1.0) -> Plane:
    """Distance of each block's number from zero on the lattice."""
    largest, smallest = (e / np.float32(scale) + np.float32(_OFFSETS[domain]) for e in extremes)
    return np.asarray(np.maximum(largest, -smallest))


def _votes(place: Plane) -> Plane:
    """Soft votes: -1 at a quarter of the step (bit 0), +1 at three quarters (bit 1).

    Zero mean over the last axis of (S, blocks).
    """
    votes = -np.sin(place * np.float32(2 * np.pi / STEP))
    return np.asarray(votes - votes.mean(axis=1, keepdims=True))


def _picture_votes(extremes: tuple[Plane, Plane], domain: str) -> Plane:
    """Votes of a picture of blocks, zero mean over all of it; same shape."""
    place = _lattice_place(extremes, domain)
    return _votes(place.reshape(1, -1)).reshape(place.shape)


def _per_bit(votes: Plane, length: int) -> npt.NDArray[np.float64]:
    """Mean vote of each message bit, (S, blocks) to (S, length), blocks counted row by row."""
    count = votes.shape[1]
    whole = count // length * length
    total = votes[:, :whole].reshape(len(votes), -1, length).sum(axis=1, dtype=np.float64)
    total[:, : count - whole] += votes[:, whole:]
    each = np.full(length, count // length, np.float64)
    each[: count - whole] += 1
    return np.asarray(total / each)


def _t(correlation: float, degrees: int) -> float:
    """Student's t of a correlation coefficient."""
    r = min(max(correlation, -1.0), 1.0 - 1e-12)
    return float(r * np.sqrt(degrees / (1 - r * r)))


def _correlate(means: npt.NDArray[np.float64], mark: KnownMark) -> tuple[int, tuple[float, float, float]]:
    """The row of (S, length) mean votes that fits the message best.

    Returns:
        Its number, and correlation with the message, spread (rms), and share of bits that agree.
    """
    table = means.reshape(len(means), -1, mark.comb)
    centred = (table - table.mean(axis=1, keepdims=True)).reshape(means.shape)
    rms = np.sqrt((centred**2).mean(axis=1))
    correlation = (centred @ mark.signs) / means.shape[1] / np.maximum(rms, 1e-12)
    row = int(np.argmax(correlation))
    agreement = float(((means[row] > np.median(means[row])) == (mark.bits > 0)).mean())
    return row, (float(correlation[row]), float(rms[row]), agreement)


def _score(mark: KnownMark, fit: tuple[float, float, float], hypotheses: int, **how: object) -> MarkScore:
    correlation, rms, agreement = fit
    t = _t(correlation, mark.degrees)
    p = min(1.0, student_t_sf(t, mark.degrees) * hypotheses)
    amplitude = max(correlation, 0.0) * rms
    return MarkScore(mark.name, mark.generator, round(t, 2), p, hypotheses, agreement, amplitude=amplitude, **how)  # type: ignore[arg-type]


class _Best:
    """The best fit of each mark over the hypotheses of one search; p-values are computed once, at the end.

    Each of the three searches gets a third of the allowed chance rate, so that a costly search does not
    blunt a cheap one: p-values are multiplied by three times the search's own hypotheses.
    """

    def __init__(self, hypotheses: int) -> None:
        self.hypotheses = hypotheses * _SEARCHES
        self.fits: dict[str, tuple[KnownMark, tuple[float, float, float], dict[str, object]]] = {}

    def take(self, mark: KnownMark, fit: tuple[float, float, float], **how: object) -> None:
        """Keep a fit if it is better than what is there."""
        if mark.name not in self.fits or fit[0] > self.fits[mark.name][1][0]:
            self.fits[mark.name] = (mark, fit, how)

    def scores(self) -> list[MarkScore]:
        """One score a mark, best first."""
        scores = [_score(mark, fit, self.hypotheses, **how) for mark, fit, how in self.fits.values()]
        return sorted(scores, key=lambda s: s.p_value)


def _first_pass(votes: dict[str, tuple[Plane, Plane]], marks: Sequence[KnownMark], first: int) -> list[MarkScore]:
    """Every mark, both channel orders, no search."""
    best = _Best(len(marks) * len(votes))
    _at_scales(best, votes, marks, first, np.ones(1, np.float32), "none")
    return best.scores()


def _scale_search(votes: dict[str, tuple[Plane, Plane]], marks: Sequence[KnownMark], first: int) -> list[MarkScore]:
    """Brightness and contrast stretch the lattice: every mark at every scale."""
    best = _Best(len(marks) * len(votes) * len(_SCALES))
    _at_scales(best, votes, marks, first, _SCALES, "scale")
    return best.scores()


def _at_scales(
    best: _Best,
    votes: dict[str, tuple[Plane, Plane]],
    marks: Sequence[KnownMark],
    first: int,
    scales: Plane,
    search: str,
) -> None:
    """Fit every mark at every scale; ``first`` is the number of blocks before the first one given."""
    for order, (largest, smallest) in votes.items():
        flat = largest.reshape(1, -1), smallest.reshape(1, -1)
        for domain in _OFFSETS:
            soft = _votes(_lattice_place(flat, domain, scales[:, None]))  # (S, blocks)
            for mark in (m for m in marks if m.domain == domain and len(m.bits) <= soft.shape[1]):
                means = np.roll(_per_bit(soft, len(mark.bits)), first % len(mark.bits), axis=1)
                row, fit = _correlate(means, mark)
                scale = round(float(scales[row]), 2)
                best.take(mark, fit, channel_order=order, search=search, scale=scale)


def _dense_votes(plane: Plane, domain: str) -> Plane:
    """Votes of the block that starts at every LL position, (h - 3, w - 3)."""
    largest, smallest = _sliding(plane, np.maximum), _sliding(plane, np.minimum)
    return _picture_votes((largest, smallest), domain)


def _sliding(plane: Plane, pick: np.ufunc) -> Plane:
    """Extreme of each 4 x 4 window without its first value."""
    three = pick(pick(plane[:, 1:-2], plane[:, 2:-1]), plane[:, 3:])  # columns 1 to 3
    four = pick(three, plane[:, :-3])
    return np.asarray(pick(pick(three[:-3], four[1:-2]), pick(four[2:-1], four[3:])))


def _gate(rgb: Pixels, marks: Iterable[KnownMark]) -> list[tuple[float, int, int]]:
    """Phases of the block grid, in pixels, at which votes repeat after a message's length, best first.

    A mark repeats along each row of blocks, whatever the message; a picture does not. Looks at a strip
    in the middle.
    """
    lags = {(m.domain, len(m.bits)) for m in marks}
    found: dict[tuple[int, int], float] = {}
    start = max(0, (rgb.shape[0] - _STRIP) // 16 * 8)
    for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
        for plane in _ll_planes(rgb[start + dy : start + _STRIP + 8, dx:]).values():
            for domain in _OFFSETS:
                dense = _dense_votes(plane, domain)
                for lag in (length for d, length in lags if d == domain):
                    for y, x, z in _lagged(dense, lag):
                        phase = (2 * y + dy, 2 * x + dx)
                        if z > found.get(phase, _GATE):
                            found[phase] = z
    return sorted(((z, y, x) for (y, x), z in found.items()), reverse=True)


def _lagged(dense: Plane, lag: int) -> Iterator[tuple[int, int, float]]:
    """Self-correlation at a lag of ``lag`` blocks for each of the 16 phases, in standard deviations.

    The neighbouring lags are taken off: plain areas resemble themselves at every lag, a mark only at its own.
    """
    shift = lag * 4
    if dense.shape[1] < shift + 64 or dense.shape[0] < 8:
        return
    width = dense.shape[1] - shift - 4
    beside = dense[:, shift - 4 : shift - 4 + width] + dense[:, shift + 4 : shift + 4 + width]
    product = dense[:, :width] * (dense[:, shift : shift + width] - np.float32(0.5) * beside)
    for y in range(4):
        for x in range(4):
            part = product[y::4, x::4]
            spread = float(np.sqrt((part.astype(np.float64) ** 2).sum()))
            if spread > 1e-9:
                yield y, x, float(part.sum(dtype=np.float64)) / spread


def _phase_search(rgb: Pixels, marks: Sequence[KnownMark], phases: list[tuple[int, int]]) -> list[MarkScore]:
    """Every mark at the given phases, any row length before the crop, any starting bit."""
    # All 64 phases count as searched: the gate looked at each.
    best = _Best(64 * 2 * sum(len(m.bits) ** 2 for m in marks))
    for phase in phases:
        for order, plane in _ll_planes(rgb[phase[0] :, phase[1] :]).items():
            extremes = _extremes(plane)
            soft = {domain: _picture_votes(extremes, domain) for domain in _OFFSETS}
            for mark in marks:
                fit = _any_shift(soft[mark.domain], mark)
                best.take(mark, fit, channel_order=order, search="phase", phase=phase)
    return best.scores()


def _any_shift(votes: Plane, mark: KnownMark) -> tuple[float, float, float]:
    """Best fit over every old row length (modulo the message's) and every starting bit; see `_correlate`.

    Bit ``(i c + j + s) mod L`` stands in block (i, j), with c the old number of columns. Only ``i mod L``
    and ``j mod L`` matter, so votes are folded onto L x L; the sums for all c are then one gather from its
    two-dimensional Fourier transform, and all s one inverse transform.
    """
    length = len(mark.bits)
    rows, columns = votes.shape
    if rows * columns < 4 * length:
        return 0.0, 0.0, 0.5
    padded = np.zeros((-(-rows // length) * length, -(-columns // length) * length), np.float32)
    padded[:rows, :columns] = votes
    folded = padded.reshape(-1, length, padded.shape[1]).sum(axis=0).reshape(length, -1, length).sum(axis=1)
    spectrum = np.fft.fft2(folded * (length / votes.size))  # (a, b): sums become means per bit
    frequency = np.arange(length)
    gathered = spectrum[(frequency[None, :] * frequency[:, None]) % length, frequency[None, :]]  # (c, f)
    gathered[:, :: length // mark.comb] = 0.0
    product = np.fft.ifft(gathered * np.conj(np.fft.fft(mark.signs)), axis=1).real  # (c, s)
    rms = np.sqrt((np.abs(gathered) ** 2).sum(axis=1)) / length
    row = int(np.argmax(product.max(axis=1) / np.maximum(rms, 1e-12)))
    means = np.roll(np.fft.ifft(gathered[row]).real, -int(np.argmax(product[row])))
    return _correlate(means[None], mark)[1]
