"""`countermark evaluate`: score labelled pictures, as they are and laundered, with one detector or several."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from countermark.datasets import laundering
from countermark.datasets.audit import shortcut_scores
from countermark.datasets.pixels import load_rgb
from countermark.datasets.records import Record
from countermark.detectors.evaluate import metrics
from countermark.detectors.evaluate.scorers import Scorer, load
from countermark.provenance.errors import CountermarkError, UsageError

SCHEMA = "countermark.evaluation/1"
STORED = "stored"
LAUNDERINGS: dict[str, str] = {
    STORED: "",
    "JPEG 75": "jpeg:75",
    "half size, JPEG 80": "resize:0.5|jpeg:80",
    "384 px, JPEG 90": "fit:384|jpeg:90",
    "WebP 60": "webp:60",
}
"""By name as it stands in the report, the chain."""
LEAST_GENERATOR, LEAST_SOURCE = 25, 50
"""Pictures a generator or a real source must have to count in a minimum or a maximum."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of one detector on all records after one laundering.

    Attributes:
        detector, version: who scored.
        laundering: name of the chain.
        score: float (N,), NaN where the detector abstains or failed.
        called: float (N,), 1 where it calls the picture generated, 0 where not, NaN where it says nothing.
        ms: float (N,), milliseconds beyond decoding.
    """

    detector: str
    version: str
    laundering: str
    score: NDArray[np.float64]
    called: NDArray[np.float64]
    ms: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A finished evaluation; `to_dict` is the JSON report."""

    records: tuple[Record, ...]
    scores: tuple[Scores, ...]
    shortcut: dict[str, float]
    unreadable: tuple[str, ...] = ()
    made: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @property
    def target(self) -> metrics.Ints:
        """Int (N,), 1 for generated."""
        return np.array([record.target for record in self.records], np.int64)

    def of(self, detector: str, name: str = STORED) -> Scores:
        """Scores of one detector after one laundering."""
        return next(s for s in self.scores if s.detector == detector and s.laundering == name)

    @property
    def detectors(self) -> list[str]:
        """Names of the detectors, ours first."""
        return list(dict.fromkeys(s.detector for s in self.scores))

    def to_dict(self) -> dict[str, Any]:
        """Everything measured, as JSON."""
        return {
            "schema": SCHEMA,
            "made": self.made,
            "pictures": {"real": int((self.target == 0).sum()), "generated": int(self.target.sum())},
            "unreadable": list(self.unreadable),
            "shortcut_baseline": {name: _round(value) for name, value in self.shortcut.items()},
            "detectors": [self._detector(name) for name in self.detectors],
        }

    def _detector(self, name: str) -> dict[str, Any]:
        stored = self.of(name)
        return {
            "name": name,
            "version": stored.version,
            "ms_median": round(float(np.median(stored.ms)), 2),
            "launderings": {s.laundering: summary(self.target, s) for s in self.scores if s.detector == name},
            "generators": by_generator(self, stored),
            "real_sources": by_source(self, stored),
        }


def summary(target: metrics.Ints, scores: Scores) -> dict[str, Any]:
    """All metrics of one detector after one laundering; pictures without a score are left out and counted."""
    has = ~np.isnan(scores.score)
    truth, score = target[has], scores.score[has]
    both = len(set(truth.tolist())) == 2
    values: dict[str, Any] = {
        key: {
            "value": _round(metric(truth, score)) if both else None,
            "interval": [_round(v) for v in metrics.interval(metric, truth, score)] if both else [None, None],
        }
        for key, metric in metrics.METRICS.items()
    }
    said = ~np.isnan(scores.called)
    real, made = said & (target == 0), said & (target == 1)
    return values | {
        "scored": int(has.sum()),
        "abstained": int((~said).sum()),
        "at_threshold": {
            "fpr": _round(float(scores.called[real].mean())) if real.any() else None,
            "tpr": _round(float(scores.called[made].mean())) if made.any() else None,
        },
    }


def by_generator(evaluation: Evaluation, scores: Scores) -> dict[str, dict[str, Any]]:
    """For each generator (and its source): AUROC against all real pictures, and how often it is called generated."""
    return _by(evaluation, scores, 1, [r.group for r in evaluation.records])


def by_source(evaluation: Evaluation, scores: Scores) -> dict[str, dict[str, Any]]:
    """For each real source: AUROC against all generated pictures, and how often it is called generated (FPR)."""
    return _by(evaluation, scores, 0, [r.source for r in evaluation.records])


def _by(evaluation: Evaluation, scores: Scores, label: int, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    target, has = evaluation.target, ~np.isnan(scores.score)
    table: dict[str, dict[str, Any]] = {}
    for name, rows in metrics.groups(names).items():
        rows = rows[(target[rows] == label) & has[rows]]
        if not len(rows):
            continue
        others = np.flatnonzero((target != label) & has)
        both = np.concatenate([rows, others])
        called = scores.called[rows]
        called = called[~np.isnan(called)]
        table[name] = {
            "pictures": len(rows),
            "auroc": _round(metrics.auroc(target[both], scores.score[both])),
            "called_generated": _round(float(called.mean())) if len(called) else None,
            "interval": [_round(v) for v in metrics.wilson(int(called.sum()), len(called))],
            "abstained": int(len(rows) - len(called)),
        }
    return table


def evaluate(
    records: Sequence[Record],
    detectors: Sequence[str] = ("countermark",),
    *,
    launderings: dict[str, str] | None = None,
    jobs: int = 1,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Score records with detectors.

    Args:
        records: labelled pictures; those that cannot be read are left out and named in the result.
        detectors: see `scorers.load`.
        launderings: by name, the chain each picture is put through before it is scored, the same for both classes;
            default `LAUNDERINGS`. The first is taken as the stored state.
        jobs: worker processes, one thread each.
        seed: of the laundering.
        progress: called with pictures done and pictures in all.

    Raises:
        UsageError: there are not both classes, or a chain or a detector is unknown.
    """
    chains = {STORED: "", **(LAUNDERINGS if launderings is None else launderings)}
    for text in chains.values():
        laundering.parse(text)
    versions = {scorer.name: scorer.version for scorer in load(detectors)}
    rows: list[_Row | str] = []
    work = [(i, record, tuple(detectors), tuple(chains.values()), seed) for i, record in enumerate(records)]
    for row in _mapped(work, jobs):
        rows.append(row)
        if progress is not None:
            progress(len(rows), len(records))
    kept = [record for record, row in zip(records, rows, strict=True) if not isinstance(row, str)]
    good = [row for row in rows if not isinstance(row, str)]
    if len({record.label for record in kept}) < 2:
        raise UsageError(f"An evaluation needs real and generated pictures; {len(kept)} were read, all of one label.")
    table = np.array(good, np.float64)  # picture, laundering, detector, (score, called, ms)
    scores = tuple(
        Scores(name, versions[name], chain, *(table[:, c, d, k] for k in range(3)))
        for d, name in enumerate(versions)
        for c, chain in enumerate(chains)
    )
    return Evaluation(tuple(kept), scores, shortcut_scores(kept), tuple(row for row in rows if isinstance(row, str)))


_Row = list[list[tuple[float, float, float]]]
_Work = tuple[int, Record, tuple[str, ...], tuple[str, ...], int]


def _mapped(work: Sequence[_Work], jobs: int) -> Iterator[_Row | str]:
    if jobs <= 1:
        yield from map(_one, work)
        return
    import multiprocessing

    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_one, work, chunksize=4)


@lru_cache(maxsize=1)
def _scorers(names: tuple[str, ...]) -> tuple[Scorer, ...]:
    import cv2

    cv2.setNumThreads(1)
    return tuple(load(names))


def _one(work: _Work) -> _Row | str:
    number, record, names, chains, seed = work
    try:
        pixels = load_rgb(record.path)
    except CountermarkError as error:
        return str(error)
    laundered = [laundering.parse(chain)(pixels, np.random.default_rng((seed, number))) for chain in chains]
    return [[_timed(scorer, version) for scorer in _scorers(names)] for version in laundered]


def _timed(scorer: Scorer, pixels: NDArray[np.uint8]) -> tuple[float, float, float]:
    start = time.perf_counter()
    score = scorer.score(pixels)
    ms = (time.perf_counter() - start) * 1000
    called = scorer.verdict(pixels, score)
    return (math.nan if score is None else score, math.nan if called is None else float(called), ms)


def _round(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)
