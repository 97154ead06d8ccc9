"""`countermark train`: from a dataset and a config to a model file that `scan` can use."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from countermark.datasets.layouts import read
from countermark.datasets.records import Record
from countermark.datasets.splits import assign, near_duplicates_of, unreadable
from countermark.detectors.classifier.model import Classifier
from countermark.detectors.classifier.settings import DOMAINS, Fusion, Settings
from countermark.detectors.classifier.views import Effort
from countermark.detectors.train import encoder, export, fit, frames, loop
from countermark.detectors.train.config import Config
from countermark.detectors.train.head import fit_head
from countermark.detectors.train.model import FrameScorer, Network, Scorer
from countermark.provenance.errors import UsageError

MODEL, MODEL_INT8, REPORT, RUN = "classifier.onnx", "classifier-int8.onnx", "training.json", "run.json"
_FRAMES_A_PICTURE = 32
_EFFORTS: tuple[Effort, ...] = ("fast", "careful")
_PLACEHOLDER = Fusion(frame=1, native=1, bias=0)


@dataclass(frozen=True, slots=True)
class Trained:
    """Where a finished run put its files, and what was learned from."""

    model: Path
    model_int8: Path
    report: Path


def train(
    datasets: Sequence[Path | str],
    out: Path,
    config: Config,
    *,
    processes: int = 1,
    workers: int = 0,
    every: int = 50,
) -> Trained:
    """Train, calibrate and export.

    Args:
        datasets: folders or csv files in a layout of `countermark.datasets.layouts`. Records whose split is `val`
            or `test` are never used; where a dataset has no splits at all, one is made that keeps sources and
            near-duplicates together.
        out: folder for checkpoint, log, models and report; a run that was stopped goes on from its checkpoint.
        config: the recipe.
        processes: training processes (torch DDP), one a core or a GPU.
        workers: further processes a training process loads pictures with.
        every: batches between checkpoints.

    Raises:
        UsageError: a class is missing, or the folder holds a run of another config or on other pictures.
        MissingPart: torch, timm, the backbone's weights or the encoder's package are not installed.
    """
    learn, hold = divide(datasets, config)
    out.mkdir(parents=True, exist_ok=True)
    _claim(out, (*learn, *hold), config)
    generated = sum(record.target for record in learn)
    _note(f"{len(learn):,} pictures to learn from ({generated:,} generated), {len(hold):,} to calibrate on")
    fitted = frame_network(learn, hold, config, out, processes) if config.encoder else None
    network = loop.run(loop.Job(tuple(learn), config, out, workers, every), processes)
    return finish(network, fitted, learn, hold, config, out)


@dataclass(frozen=True, slots=True)
class FrameNetworks:
    """The frame network twice: fitted without the calibration pictures, and with them (the one that is shipped)."""

    calibrating: FrameScorer
    final: FrameScorer


def frame_network(
    learn: Sequence[Record], hold: Sequence[Record], config: Config, out: Path, processes: int
) -> FrameNetworks:
    """Encode laundered frames and fit the heads on them.

    Calibration needs a head that has not seen the calibration pictures; a head that is fitted on all sources is
    better on new ones. So it is fitted twice on features that are encoded once.
    """
    settings = config.encoder
    if settings is None:
        raise UsageError("The config has no encoder.")
    module = encoder.Encoder(settings).eval()
    model = out / "encoder.onnx"
    if not model.is_file():
        encoder.to_runtime(module, model, settings.side, ["features"])
    tables = []
    for name, part, share in (("frames", learn, 1.0), ("held-out frames", hold, 0.15)):
        alone = [record for record in part if not record.pair]
        wanted = min(settings.samples * share, _FRAMES_A_PICTURE * len(alone))
        count = max(frames.PART, round(wanted / frames.PART) * frames.PART)
        places = out / name.replace(" ", "-")
        table, target, picture = frames.encode(alone, config, count, model, places, processes, _progress(name))
        tables.append((table, target, [alone[number] for number in picture]))
    learned, held = tables
    _note("fitting the frame head")
    first = fit_head(learned[0], learned[1], settings, config.seed)
    both = np.concatenate([learned[0], held[0]]), np.concatenate([learned[1], held[1]])
    second = fit_head(*both, settings, config.seed)
    outer = fit.fit_outer(learned[0][:8192].astype(np.float32), learned[2][:8192])
    return FrameNetworks(FrameScorer(module, first, outer), FrameScorer(module, second, outer))


def divide(datasets: Sequence[Path | str], config: Config) -> tuple[list[Record], list[Record]]:
    """Records to learn from and records to calibrate on, without a picture that is nearly one of the other.

    Those to calibrate on come from the sources of `held_out`, or, where there are none of these, from sources split
    off so that near-duplicates stay on one side. Pictures that cannot be read are left out.
    """
    records = [record for place in datasets for record in read(place)]
    if any(record.split for record in records):
        records = [record for record in records if record.split in ("", "train")]
    broken = unreadable(records)
    if broken:
        _note(f"{len(broken):,} pictures cannot be read and are left out: {', '.join(map(str, sorted(broken)[:5]))}")
        records = [record for record in records if record.path not in broken]
    hold = [record for record in records if record.source in config.held_out]
    if hold:
        sources = {record.source for record in hold}
        learn = [record for record in records if record.source.removeprefix("paired-") not in sources]
    else:
        parts = assign(records, {"train": 0.85, "val": 0.15}, config.seed)
        hold = [record for record in parts if record.split == "val" and not record.pair]
        learn = [record for record in parts if record.split == "train"]
    for name, part in (("train", learn), ("calibrate", hold)):
        if len({r.label for r in part}) < 2:
            raise UsageError(
                f"There are not both real and generated pictures to {name} on "
                f"({len(part)} in all). Add the missing class, or change held_out in the config."
            )
    twins = near_duplicates_of(hold, learn)
    return learn, [record for record in hold if record.path not in twins]


def _claim(out: Path, records: Sequence[Record], config: Config) -> None:
    """Keep a folder to one run: what it holds was made from these pictures with these settings."""
    table = "\n".join(f"{record.path.resolve()}\t{record.label}\t{record.source}" for record in records)
    mine = {
        "pictures": hashlib.sha256(table.encode()).hexdigest(),
        "config": config.made_digest,
    }
    file = out / RUN
    if not file.is_file():
        file.write_text(json.dumps(mine), "utf-8")
        return
    theirs = json.loads(file.read_text("utf-8"))
    for name, what in (("config", "with another config"), ("pictures", "on other pictures")):
        if theirs[name] != mine[name]:
            raise UsageError(f"{out} holds a run {what}; train into a new folder, or remove it.")


def finish(
    network: Network, fitted: FrameNetworks | None, learn: list[Record], hold: list[Record], config: Config, out: Path
) -> Trained:
    """Export, calibrate, and write the report."""
    _note("exporting and calibrating")
    alone = [record for record in learn if not record.pair]
    files = (out / MODEL, out / MODEL_INT8)
    outer = None
    if fitted is None:
        some = export.balanced(alone, 3000)
        outer = fit.fit_outer(fit.features(network, some, config.size), some)
    export.to_onnx(Scorer(network, outer), files[0], config.size)
    export.quantise(files[0], files[1], export.balanced(alone, 200), config.size)
    side = config.encoder.side if config.encoder else config.size
    calibrating = export.frame_files(fitted.calibrating, out, side) if fitted else ""
    with ProcessPoolExecutor(len(files), mp_context=multiprocessing.get_context("spawn")) as pool:
        settings = list(pool.map(calibrate, files, [calibrating] * 2, [hold] * 2, [config] * 2))
    if fitted:
        final = export.frame_files(fitted.final, out, side)
        for file, found in zip(files, settings, strict=True):
            export.write_settings(file, found.model_copy(update={"frame_model": final}))
    report = {
        "config": config.model_dump(mode="json"),
        "digest": config.digest,
        "learned_from": _counts(learn),
        "calibrated_on": _counts(hold),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    (out / REPORT).write_text(json.dumps(report, indent=1), "utf-8")
    return Trained(*files, out / REPORT)


def calibrate(file: Path, frame_model: str, hold: Sequence[Record], config: Config) -> Settings:
    """Fit fusion, thresholds and the limit of distance for one model file, and write them into it."""
    trained = datetime.now(UTC).date().isoformat()
    blank = Settings(
        name=config.name,
        version=f"{trained.replace('-', '')}.{config.digest[:8]}",
        size=config.size,
        frame_size=config.encoder.side if config.encoder else config.size,
        frame_model=frame_model,
        fusion=dict.fromkeys(_EFFORTS, _PLACEHOLDER),
        high=dict.fromkeys(DOMAINS, 0.5),
        low=fit.LOW,
        fpr=config.fpr,
        distance=1e9,
        trained=trained,
        config=config.digest,
    )
    export.write_settings(file, blank)
    model = Classifier(file, threads=1)
    seen = {effort: list(fit.see(model, hold, effort)) for effort in _EFFORTS}
    fusion = {effort: fit.fit_fusion(seen[effort], config.prior) for effort in _EFFORTS}
    judged = seen[config.effort]
    scores = np.array([fusion[config.effort].probability(s.raw.frame, s.raw.native) for s in judged])
    settings = blank.model_copy(
        update={
            "fusion": fusion,
            "high": fit.thresholds(scores, judged, config.fpr),
            "distance": 1.5 * float(np.quantile([s.raw.distance for s in judged], 0.995)),
        }
    )
    export.write_settings(file, settings)
    return settings


def _counts(records: Sequence[Record]) -> dict[str, dict[str, int]]:
    table: dict[str, dict[str, int]] = {"real": {}, "generated": {}}
    for record in records:
        row = table[record.label]
        row[record.source] = row.get(record.source, 0) + 1
    return table


def _note(text: str) -> None:
    sys.stderr.write(f"\n{text}\n")


def _progress(name: str) -> Callable[[int, int], None]:
    def show(done: int, of: int) -> None:
        sys.stderr.write(f"\r{name} {done}/{of} ")

    return show
