"""Training samples: the k-th is a pure function of the config's seed and k, so a run can stop and go on anywhere."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from countermark.datasets import laundering
from countermark.datasets.pixels import load_rgb
from countermark.datasets.records import Record
from countermark.detectors.classifier.views import natives, normalise, shrink, window
from countermark.detectors.train.config import Config, Launder

Pixels = NDArray[np.uint8]
_KERNELS = ("bilinear", "bicubic", "area", "lanczos")


@dataclass(frozen=True, slots=True)
class Pool:
    """Pictures of one class with the chance of each."""

    records: tuple[Record, ...]
    chances: NDArray[np.float64]

    def draw(self, rng: np.random.Generator) -> Record:
        """One picture: first a group by its weight, then a picture of it."""
        return self.records[int(rng.choice(len(self.records), p=self.chances))]


def pool(records: Sequence[Record], balance: float, crops: float | None = None) -> Pool:
    """Pictures weighted so that a group (source and generator) of n pictures is drawn n ** `balance` often.

    With `crops`, that share of the draws gives native crops, where there are both crops and others.
    """
    groups: dict[tuple[str, str, bool], int] = defaultdict(int)
    keys = [(record.source, record.generator, record.view == "crop") for record in records]
    for key in keys:
        groups[key] += 1
    counts = np.array([groups[key] for key in keys], np.float64)
    weights = counts**balance / counts
    cut = np.array([key[2] for key in keys])
    if crops is not None and 0 < cut.sum() < len(cut):
        weights[cut] *= crops / weights[cut].sum()
        weights[~cut] *= (1 - crops) / weights[~cut].sum()
    return Pool(tuple(records), weights / weights.sum())


@dataclass(frozen=True)
class Sample:
    """One training sample before batching: float32 (3, side, side), its target, the picture and if it is a frame."""

    pixels: NDArray[np.float32]
    target: int
    picture: int
    frame: bool


class Samples(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """The run's batches of samples.

    Item b is batch b: pixels float32 (n, 3, side, side) and targets float32 (n,).
    """

    def __init__(self, records: Sequence[Record], config: Config, rank: int = 0, world: int = 1) -> None:
        """Take `records` of the training split; `rank` of `world` processes makes its share of every batch."""
        self._config, self._rank, self._world = config, rank, world
        alone = [r for r in records if not r.pair]
        self._pools = tuple(
            pool([r for r in alone if r.target == label], config.balance, config.crops) for label in (0, 1)
        )
        self._pairs = _pairs(records) if config.pairs else []
        self._number = {record.path: index for index, record in enumerate(records)}

    def __len__(self) -> int:
        """Batches of the run."""
        return self._config.samples // self._config.batch

    def __getitem__(self, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Batch number `batch` (this process' share of it)."""
        config = self._config
        side = config.size_at(batch / len(self))
        first = batch * config.batch
        # by twos: a process that saw one class alone would tell the classes by its batch norm's statistics
        mine = [i for i in range(config.batch) if i // 2 % self._world == self._rank]
        made = [self.sample(first + i, side) for i in mine]
        pixels = torch.from_numpy(np.stack([s.pixels for s in made]))
        return pixels, torch.tensor([s.target for s in made], dtype=torch.float32)

    def sample(self, number: int, side: int) -> Sample:
        """Sample `number` of the run at `side` pixels: both classes by turns, a pair's two halves changed alike."""
        config, label = self._config, number % 2
        rng = np.random.default_rng((config.seed, number // 2))
        paired = bool(self._pairs) and rng.random() < config.pairs
        if paired:
            record = self._pairs[int(rng.integers(len(self._pairs)))][label]
        else:
            rng = np.random.default_rng((config.seed, number, 1))
            record = self._pools[label].draw(rng)
        pixels = changed(load_rgb(record.path), config.launder, rng)
        frame = not paired and rng.random() < config.frames
        view = _frame(pixels, side, rng) if frame else _native(pixels, side, rng)
        return Sample(normalise([view])[0], label, self._number[record.path], frame)


def changed(pixels: Pixels, launder: Launder, rng: np.random.Generator) -> Pixels:
    """A picture after the random changes of `launder`: the same for both classes, encoding last."""
    if rng.random() < launder.scale:
        low = max(launder.scale_low, 160 / min(pixels.shape[:2]))
        if low < launder.scale_high:
            scale = float(np.exp(rng.uniform(np.log(low), np.log(launder.scale_high))))
            pixels = laundering.resize(pixels, scale, kernel=str(rng.choice(_KERNELS)))
    changes: list[tuple[float, Callable[[Pixels], Pixels]]] = [
        (launder.blur, lambda p: laundering.blur(p, rng.uniform(0.3, 1.2))),
        (launder.sharpen, lambda p: laundering.sharpen(p, rng.uniform(0.2, 1.0))),
        (launder.noise, lambda p: laundering.noise(p, rng.uniform(1, 8), rng)),
        (launder.colour, lambda p: _recoloured(p, rng)),
        (launder.grey, lambda p: laundering.saturation(p, 0)),
        (launder.encode, lambda p: _encoded(p, launder, rng)),
        (launder.encode_twice, lambda p: _encoded(p, launder, rng)),
    ]
    for chance, change in changes:
        if rng.random() < chance:
            pixels = change(pixels)
    return pixels


def _encoded(pixels: Pixels, launder: Launder, rng: np.random.Generator) -> Pixels:
    quality = int(rng.integers(launder.quality_low, launder.quality_high + 1))
    if rng.random() < launder.webp:
        return laundering.webp(pixels, quality)
    return laundering.jpeg(pixels, quality, "420" if rng.random() < 0.7 else "444")


def _recoloured(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    changes = (laundering.brightness, laundering.contrast, laundering.gamma, laundering.saturation)
    change = changes[int(rng.integers(len(changes)))]
    return change(pixels, float(np.exp(rng.uniform(-0.35, 0.35))))


def _frame(pixels: Pixels, side: int, rng: np.random.Generator) -> Pixels:
    small = shrink(pixels, round(side * float(rng.uniform(1.0, 1.25))))
    return _flipped(window(small, side, rng.random(), rng.random()), rng)


def _native(pixels: Pixels, side: int, rng: np.random.Generator) -> Pixels:
    return _flipped(natives(pixels, side, [(rng.random(), rng.random())])[0], rng)


def _flipped(view: Pixels, rng: np.random.Generator) -> Pixels:
    return view[:, ::-1] if rng.random() < 0.5 else view


def _pairs(records: Sequence[Record]) -> list[tuple[Record, Record]]:
    halves: dict[str, dict[int, Record]] = defaultdict(dict)
    for record in records:
        if record.pair:
            halves[record.pair][record.target] = record
    return [(both[0], both[1]) for _, both in sorted(halves.items()) if len(both) == 2]
