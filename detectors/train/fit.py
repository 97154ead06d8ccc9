"""What is fitted after training, on pictures the network did not learn from: calibration, thresholds, domains."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from countermark.datasets import laundering
from countermark.datasets.pixels import load_rgb
from countermark.datasets.records import Record
from countermark.detectors.classifier.model import Classifier, Raw
from countermark.detectors.classifier.settings import DOMAINS, Domain, Fusion
from countermark.detectors.classifier.views import Effort, frames, normalise
from countermark.detectors.train.model import Network, Outer
from countermark.provenance.errors import UsageError

DOMAIN_OF: dict[str, Domain] = {
    "photo": "photo",
    "food": "photo",
    "product": "photo",
    "portrait": "face",
    "illustration": "art",
    "art": "art",
    "render": "art",
    "screenshot": "graphics",
    "graphic": "graphics",
}
LAUNDERINGS = ("", "jpeg:75", "resize:0.5|jpeg:80", "fit:384|jpeg:90", "webp:60")
"""Calibration pictures are seen as stored and, by turns, after one of the others, so that the score holds then."""
SEEN = 2
"""How often each calibration picture is seen."""
_LEAST = 50
LOW = 0.5
"""Up to this probability (stated for the config's prior) nothing speaks for AI."""


def features(network: Network, records: Sequence[Record], size: int) -> NDArray[np.float32]:
    """Pooled features of the CNN (N, width) for the records' central frames."""
    rows = []
    with torch.inference_mode():
        for i in range(0, len(records), 32):
            views = [frames(load_rgb(r.path), size, (0.5,))[0] for r in records[i : i + 32]]
            rows.append(network.backbone(torch.from_numpy(normalise(views))).numpy())
    return np.concatenate(rows)


def fit_outer(table: NDArray[np.float32], records: Sequence[Record]) -> Outer:
    """Fit the domain head on real pictures whose kind is known, centre and spread on pictures of both classes.

    Args:
        table: features (N, width).
        records: the picture of each row.
    """
    from sklearn.linear_model import LogisticRegression

    centre, spread = table.mean(axis=0), table.std(axis=0) + 1e-3
    named = [r.kind in DOMAIN_OF and not r.target for r in records]
    domains = np.array([DOMAINS.index(DOMAIN_OF[r.kind]) for r, known in zip(records, named, strict=True) if known])
    weight = np.zeros((len(DOMAINS), table.shape[1]), np.float32)
    bias = np.full(len(DOMAINS), -1e4, np.float32)
    known = sorted(set(domains.tolist()))
    if len(known) > 2:
        model = LogisticRegression(C=0.01, class_weight="balanced", max_iter=300)
        model.fit((table[np.array(named)] - centre) / spread, domains)
        weight[known] = model.coef_ / spread
        bias[known] = model.intercept_ - (model.coef_ / spread) @ centre
    else:
        bias[0] = 0  # next to nothing is known of kinds: everything is a photo
    return Outer(*(torch.from_numpy(np.asarray(part, np.float32)) for part in (weight, bias, centre, spread)))


@dataclass(frozen=True, slots=True)
class Seen:
    """One calibration picture as the network saw it, after one laundering."""

    record: Record
    laundering: str
    raw: Raw


def see(model: Classifier, records: Sequence[Record], effort: Effort) -> Iterator[Seen]:
    """Outputs for each record as stored and after one of `LAUNDERINGS`."""
    for number, record in enumerate(records):
        pixels = load_rgb(record.path)
        for text in (LAUNDERINGS[0], LAUNDERINGS[1 + number % (len(LAUNDERINGS) - 1)]):
            yield Seen(record, text, model.raw([laundering.parse(text)(pixels)], effort)[0])


def fit_fusion(seen: Sequence[Seen], prior: float = 0.5) -> Fusion:
    """Logistic regression on both mean logits, each class and within it each group (generator, source) alike.

    The bias is then moved from as many real as generated pictures to a share of `prior` generated ones.

    Raises:
        UsageError: the calibration pictures are all of one class.
    """
    from sklearn.linear_model import LogisticRegression

    table = np.array([[s.raw.frame, s.raw.native] for s in seen])
    target = np.array([s.record.target for s in seen])
    if len(set(target)) < 2:
        raise UsageError("The calibration pictures are all of one class; hold out sources of both, real and generated.")
    model = LogisticRegression(C=1.0).fit(table, target, sample_weight=weights(seen))
    frame, native = (max(0.0, float(c)) for c in model.coef_[0])
    return Fusion(frame=frame, native=native, bias=float(model.intercept_[0]) + math.log(prior / (1 - prior)))


def weights(seen: Sequence[Seen]) -> NDArray[np.float64]:
    """Sample weights: both classes sum to the same, and within a class a group of n counts as sqrt(n)."""
    keys = [(s.record.target, s.record.source) for s in seen]
    counts = {key: keys.count(key) for key in set(keys)}
    raw = np.array([counts[key] ** -0.5 for key in keys])
    target = np.array([key[0] for key in keys])
    for label in (0, 1):
        raw[target == label] /= raw[target == label].sum()
    return raw * len(seen) / 2


def thresholds(scores: NDArray[np.float64], seen: Sequence[Seen], fpr: float) -> dict[Domain, float]:
    """By domain, the score that a share of `fpr` of its real calibration pictures reaches.

    A domain with fewer than 50 of them (each counted once a laundering) gets the strictest of the others.
    """
    real = np.array([not s.record.target for s in seen])
    domain = np.array([DOMAIN_OF.get(s.record.kind, "photo") for s in seen])
    least = SEEN * _LEAST
    found: dict[Domain, float] = {
        name: float(np.quantile(scores[real & (domain == name)], 1 - fpr))
        for name in DOMAINS
        if int((real & (domain == name)).sum()) >= least
    }
    pooled = float(np.quantile(scores[real], 1 - fpr))
    floor = max(LOW, pooled)
    strict = max([floor, *found.values()])
    return {name: min(max(found.get(name, strict), floor), 0.995) for name in DOMAINS}
