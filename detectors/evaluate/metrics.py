"""Metrics of a detector's scores: what researchers expect, each with a bootstrap interval.

Throughout, `target` is int (N,) with 1 for generated, `score` is float (N,), higher for generated. Ties count half in
AUROC. All functions are pure; `interval` gives any of them its confidence interval.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Metric = Callable[[Ints, Floats], float]


def auroc(target: Ints, score: Floats) -> float:
    """Area under the ROC curve: the chance that a generated picture scores above a real one (Mann-Whitney)."""
    order = np.argsort(score, kind="stable")
    _, inverse, counts = np.unique(score[order], return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = np.empty(len(score))
    ranks[order] = (last - (counts - 1) / 2)[inverse]
    positives = int(target.sum())
    negatives = len(target) - positives
    if not positives or not negatives:
        return float("nan")
    return float((ranks[target == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def average_precision(target: Ints, score: Floats) -> float:
    """Area under the precision-recall curve as the sum of precision times gained recall."""
    thresholds = np.unique(score)[::-1]
    reached = _at_or_above(score, thresholds)
    hits = _at_or_above(score[target == 1], thresholds)
    if not target.sum():
        return float("nan")
    precision, recall = hits / reached, hits / target.sum()
    return float(np.sum(precision * np.diff(recall, prepend=0.0)))


def roc(target: Ints, score: Floats) -> tuple[Floats, Floats, Floats]:
    """False- and true-positive rates (K,) and the thresholds (K,) they belong to, from strict to lax."""
    thresholds = np.concatenate([[np.inf], np.unique(score)[::-1]])
    fpr = _at_or_above(score[target == 0], thresholds) / max(1, int((target == 0).sum()))
    tpr = _at_or_above(score[target == 1], thresholds) / max(1, int((target == 1).sum()))
    return fpr, tpr, thresholds


def tpr_at_fpr(target: Ints, score: Floats, fpr: float = 0.01) -> float:
    """Largest true-positive rate at a false-positive rate of at most `fpr`."""
    false, true, _ = roc(target, score)
    return float(true[false <= fpr].max())


def fpr_at_tpr(target: Ints, score: Floats, tpr: float = 0.95) -> float:
    """Smallest false-positive rate at a true-positive rate of at least `tpr`."""
    false, true, _ = roc(target, score)
    return float(false[true >= tpr].min())


def balanced_accuracy(target: Ints, score: Floats, threshold: float = 0.5) -> float:
    """Mean of the rates at which each class is told right, at `score >= threshold`."""
    called = score >= threshold
    return float((called[target == 1].mean() + (~called[target == 0]).mean()) / 2)


def calibration_error(target: Ints, score: Floats, bins: int = 10) -> float:
    """Expected calibration error over bins of equal width (Guo et al. 2017); `score` is a probability."""
    _, mean, share, weight = reliability(target, score, bins)
    return float(np.sum(weight * np.abs(mean - share)))


def reliability(target: Ints, score: Floats, bins: int = 10) -> tuple[Floats, Floats, Floats, Floats]:
    """By bin of the probability: centre, mean score, share of generated, share of all; empty bins are left out."""
    at = np.minimum((score * bins).astype(int), bins - 1)
    used = np.unique(at)
    rows = [((b + 0.5) / bins, score[at == b].mean(), target[at == b].mean(), float((at == b).mean())) for b in used]
    centre, mean, share, weight = np.array(rows, np.float64).T
    return centre, mean, share, weight


def brier(target: Ints, score: Floats) -> float:
    """Mean squared distance of the probability from the truth."""
    return float(np.mean((score - target) ** 2))


METRICS: dict[str, Metric] = {
    "auroc": auroc,
    "average_precision": average_precision,
    "tpr_at_fpr_1": tpr_at_fpr,
    "fpr_at_tpr_95": fpr_at_tpr,
    "balanced_accuracy": balanced_accuracy,
    "ece": calibration_error,
    "brier": brier,
}


def interval(
    metric: Metric, target: Ints, score: Floats, rounds: int = 300, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval, both classes resampled on their own so that each keeps its size."""
    rng = np.random.default_rng(seed)
    rows = [np.flatnonzero(target == label) for label in (0, 1)]
    if not all(len(r) for r in rows):
        return float("nan"), float("nan")
    values = []
    for _ in range(rounds):
        drawn = np.concatenate([rng.choice(r, len(r)) for r in rows])
        values.append(metric(target[drawn], score[drawn]))
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def wilson(hits: int, of: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval of a rate; (0, 1) where nothing was counted."""
    if not of:
        return 0.0, 1.0
    share = hits / of
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z * np.sqrt(share * (1 - share) / of + z * z / (4 * of * of)) / (1 + z * z / of)
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def groups(names: Sequence[str]) -> dict[str, Ints]:
    """Rows of each name, names in order."""
    table = np.array(names)
    return {str(name): np.flatnonzero(table == name) for name in sorted(set(names))}


def _at_or_above(score: Floats, thresholds: Floats) -> Floats:
    ordered = np.sort(score)
    return np.asarray(len(ordered) - np.searchsorted(ordered, thresholds, side="left"), np.float64)
