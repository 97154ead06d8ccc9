"""Features of training frames: each sample of the run laundered, encoded once and kept, for a head to be fitted on."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from countermark.datasets.records import Record
from countermark.detectors.train.config import Config

PART = 512
"""Samples a file."""


def encode(
    records: Sequence[Record],
    config: Config,
    count: int,
    model: Path,
    folder: Path,
    jobs: int,
    progress: Callable[[int, int], None],
) -> tuple[NDArray[np.float16], NDArray[np.int64], NDArray[np.int64]]:
    """Features float16 (N, 2304), targets and numbers of the pictures int64 (N,) of `count` frame samples.

    Parts that are already in `folder` (of this run) are taken from there, so a run that was stopped goes on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = range(0, count, PART)
    files = [folder / f"{part:07d}.npz" for part in parts]
    todo = [(part, file) for part, file in zip(parts, files, strict=True) if not file.is_file()]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        jobs, mp_context=context, initializer=_begin, initargs=(tuple(records), config, model)
    ) as pool:
        waiting = [pool.submit(_part, part, file) for part, file in todo]
        for done, future in enumerate(as_completed(waiting), start=len(files) - len(todo) + 1):
            future.result()
            progress(done, len(files))
    loaded = [np.load(file) for file in files]
    features, target, picture = (np.concatenate([part[name] for part in loaded]) for name in ("x", "y", "p"))
    return features, target, picture


_STATE: dict[str, Any] = {}


def _begin(records: Sequence[Record], config: Config, model: Path) -> None:
    import cv2
    import onnxruntime

    from countermark.detectors.train.samples import Samples

    cv2.setNumThreads(1)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    frames_only = config.model_copy(update={"frames": 1.0, "pairs": 0.0})
    _STATE["samples"] = Samples(records, frames_only)
    _STATE["session"] = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    _STATE["side"] = config.encoder.side if config.encoder else 0


def _part(first: int, file: Path) -> None:
    rows, targets, pictures = [], [], []
    for start in range(first, first + PART, 8):
        made = [_STATE["samples"].sample(number, _STATE["side"]) for number in range(start, start + 8)]
        batch = np.stack([sample.pixels for sample in made])
        rows.append(_STATE["session"].run(["features"], {"pixels": batch})[0].astype(np.float16))
        targets += [sample.target for sample in made]
        pictures += [sample.picture for sample in made]
    unfinished = file.with_suffix(".part.npz")
    np.savez(unfinished, x=np.concatenate(rows), y=np.array(targets), p=np.array(pictures))
    unfinished.replace(file)
