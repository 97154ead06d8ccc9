"""Measure detectors on a folder or table of labelled pictures, from Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from countermark.detectors.evaluate.run import Evaluation

__all__ = ["evaluate"]


def evaluate(
    dataset: str | Path,
    detectors: Sequence[str] = ("countermark",),
    *,
    layout: str = "auto",
    split: str = "",
    launderings: dict[str, str] | None = None,
    jobs: int = 1,
) -> Evaluation:
    """Score the pictures of a dataset and measure the scores; needs the `evaluate` extra.

    Args:
        dataset: folder or csv file, see `countermark.datasets.layouts`.
        detectors: see `countermark.detectors.evaluate.scorers.load`.
        layout: how the folders are read.
        split: only pictures of this split.
        launderings: by name, chains of `countermark.datasets.laundering`; default: stored and four launderings.
        jobs: worker processes.

    Returns:
        The scores; `.to_dict()` is the report.

    Raises:
        UsageError: no labelled pictures, one class only, or an unknown detector, layout or chain.
        MissingPart: a peer, or scikit-learn, is not installed.
    """
    from countermark.datasets.layouts import read
    from countermark.detectors.evaluate.run import evaluate as run

    records = [record for record in read(dataset, layout) if not record.pair and split in ("", record.split)]
    return run(records, detectors, launderings=launderings, jobs=jobs)
