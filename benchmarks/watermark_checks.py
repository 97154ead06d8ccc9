"""The own watermark beside the robustness table: false positives, copy attack, recovery, speed.

    python benchmarks/watermark_checks.py clean FOLDER... --crops 20000 --plot docs/images/own-mark-p-values.png
    python benchmarks/watermark_checks.py copy FOLDER
    python benchmarks/watermark_checks.py recover FOLDER --others 100000
    taskset -c 0 python benchmarks/watermark_checks.py speed FOLDER

FOLDER: pictures without a mark of ours, searched with all below it. `clean` makes the full geometric search on every
picture and on random crops of them. `copy` lifts the mark of one picture and pastes it on another.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from countermark.datasets.laundering import parse
from countermark.provenance.errors import CountermarkError
from countermark.provenance.upload import Upload
from countermark.provenance.watermark.tile import PUBLIC, MarkKey, detect, embed, new_payload
from countermark.provenance.watermark.tile.detect import codewords, match
from countermark.provenance.watermark.tile.payload import payload_of
from countermark.provenance.watermark.tile.sketch import AGREES, agreement, sketch_of

cv2.setNumThreads(1)
KEY = MarkKey(bytes(range(32)))
Array = np.ndarray


def files_of(folders: Sequence[Path]) -> list[Path]:
    """Pictures below folders, sorted."""
    suffixes = {".jpg", ".jpeg", ".png", ".webp"}
    return sorted(path for folder in folders for path in folder.rglob("*") if path.suffix.lower() in suffixes)


def load(path: Path, side: int = 0) -> Array | None:
    """RGB pixels, scaled to an area of `side` squared where that is given; None for a file that does not decode."""
    try:
        pixels = Upload.open(path).pixels
    except CountermarkError:
        return None
    scale = side / float(np.sqrt(pixels.shape[0] * pixels.shape[1])) if side else 1.0
    if scale == 1.0:
        return pixels
    size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def spread(call: Any, work: list[Any], jobs: int) -> Iterator[Any]:
    """Results in order, from worker processes."""
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(call, work, chunksize=8)


def clean_one(work: tuple[int, Path, int]) -> list[tuple[float, float, float]]:
    """For a picture and its crops: p of a message, p of one known message, score of the best geometry."""
    number, path, crops = work
    pixels = load(path)
    if pixels is None or min(pixels.shape[:2]) < 128:
        return []
    rng = np.random.default_rng((7, number))
    views = [pixels]
    for _ in range(crops):
        side = [int(rng.integers(min(128, s), s + 1)) for s in pixels.shape[:2]]
        y, x = (int(rng.integers(s - c + 1)) for s, c in zip(pixels.shape[:2], side, strict=True))
        views.append(pixels[y : y + side[0], x : x + side[1]])
    rows = []
    for view in views:
        found = detect(view, [PUBLIC, KEY])
        if found.found:
            print("FOUND", path, view.shape, found.p_value, flush=True)
        words = codewords([payload_of(int(rng.integers(1 << 40)), KEY)])
        rows.append((found.p_value, match(found.readouts, words, KEY)[1] if found.readouts else 1.0, found.pilot))
    return rows


def clean(args: argparse.Namespace) -> None:
    """False positives of the full search."""
    files = files_of(args.folders)
    each = -(-args.crops // max(1, len(files)))
    rows: list[tuple[float, float, float]] = []
    start = time.perf_counter()
    for done, part in enumerate(spread(clean_one, [(i, p, each) for i, p in enumerate(files)], args.jobs), 1):
        rows += part
        if done % 500 == 0:
            print(f"  {done}/{len(files)} files, {len(rows)} views, {time.perf_counter() - start:.0f} s", flush=True)
    table = np.array(rows)
    print(f"{len(files)} pictures and {len(rows) - len(files)} crops, two keys, full geometric search:")
    print(f"  found {int((table[:, 0] <= 1e-6).sum())}; smallest p of a message {table[:, 0].min():.2g}")
    tested = table[table[:, 1] < 1, 1]
    print(
        f"  one known message: {len(tested)} views with a hypothesis worth reading, smallest p {table[:, 1].min():.2g}"
    )
    for level in (0.5, 0.1, 0.01, 0.001, 0.0001):
        print(f"    share at or below {level:g}: {(table[:, 1] <= level).mean():.5f}")
    print(f"  pilot statistic: 99 % {np.quantile(table[:, 2], 0.99):.1f}, largest {table[:, 2].max():.1f}")
    if args.plot:
        _plot(table[:, 1], args.plot)


def _plot(values: Array, target: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5, 4.2), dpi=110)
    ordered = np.sort(values)
    axes.loglog(ordered, np.arange(1, len(ordered) + 1) / len(ordered), lw=2, label="clean views, one known message")
    axes.loglog([1e-5, 1], [1e-5, 1], "k--", lw=1, label="uniform")
    axes.set(xlabel="p-value", ylabel="share of views at or below it", xlim=(1e-5, 1.2), ylim=(1e-5, 1.5))
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left")
    figure.tight_layout()
    figure.savefig(target)


HONEST = (
    "", "jpeg:50", "resize:0.5|jpeg:80", "crop:0.5|jpeg:80", "crop:0.25|jpeg:80", "rotate:5|jpeg:80", "flip:h|jpeg:80",
    "turn:90|jpeg:80", "resize:1.1,0.9", "letterbox:0.15|jpeg:80", "overlay:0.2|jpeg:80", "screenshot|jpeg:75",
    "brightness:1.3", "gamma:1.6", "contrast:0.7", "noise:10", "blur:1.5", "crop:0.5|resize:0.7|jpeg:70",
)  # fmt: skip
LIFTS = ("denoised residual", "residual, doubled", "residual of a median filter")


def copy_one(work: tuple[int, Path, Path]) -> tuple[list[float | None], list[float | None]]:
    """Agreement with the sketch of honest copies that read, and of forgeries that read."""
    number, path, other = work
    one, two = load(path, 1024), load(other, 1024)
    payload = new_payload(KEY)
    marked = embed(one, payload, KEY)
    sketch = sketch_of(marked)
    honest, forged = [], []
    for chain in HONEST:
        copy = parse(chain)(marked, np.random.default_rng(number))
        found = detect(copy, [KEY])
        if found.payload == payload:
            honest.append(agreement(copy, found.geometry, sketch))
    high, wide = (min(a, b) for a, b in zip(marked.shape[:2], two.shape[:2], strict=True))
    source = marked[:high, :wide]
    smooth = cv2.fastNlMeansDenoisingColored(source, None, 5, 5, 5, 13)
    soft = cv2.medianBlur(source, 5)
    for lifted in (source.astype(int) - smooth, 2 * (source.astype(int) - smooth), source.astype(int) - soft):
        forgery = np.clip(two[:high, :wide].astype(int) + lifted, 0, 255).astype(np.uint8)
        found = detect(forgery, [KEY])
        forged.append(agreement(forgery, found.geometry, sketch) if found.payload == payload else float("nan"))
    return honest, forged


def copy(args: argparse.Namespace) -> None:
    """How many lifted marks pass as ours, and how many honest copies are refused."""
    files = files_of([args.folder])[: args.limit]
    work = [(i, p, files[(i + len(files) // 2) % len(files)]) for i, p in enumerate(files)]
    rows = list(spread(copy_one, work, args.jobs))
    honest = [value for row in rows for value in row[0]]
    told = np.array([value for value in honest if value is not None])
    refused = int((told < AGREES).sum())
    print(
        f"honest: {len(honest)} copies of {len(files)} pictures read; {refused} refused "
        f"({refused / len(honest):.2%}), {len(honest) - len(told)} too plain to tell; smallest {told.min():.2f}"
    )
    for at, name in enumerate(LIFTS):
        values = [row[1][at] for row in rows]
        read = [v for v in values if v is None or not np.isnan(v)]
        passed = sum(v is not None and v >= AGREES for v in read)
        most = max((v for v in read if v is not None), default=float("nan"))
        print(f"forged by {name}: {len(values)} tried, {len(read)} read, {passed} pass as ours; largest {most:.2f}")


def speed(args: argparse.Namespace) -> None:
    """Median ms at one megapixel; run on one core."""
    spent: dict[str, list[float]] = {}

    def timed(name: str, call: Any) -> Any:
        start = time.perf_counter()
        result = call()
        spent.setdefault(name, []).append((time.perf_counter() - start) * 1000)
        return result

    for path in files_of([args.folder])[:: args.step]:
        pixels = load(path, 1024)
        marked = timed("embed, strength auto", lambda p=pixels: embed(p, new_payload(KEY), KEY))
        timed("embed, strength normal", lambda p=pixels: embed(p, new_payload(KEY), KEY, "normal"))
        timed("detect, marked, no change", lambda p=marked: detect(p, [KEY]))
        turned = parse("rotate:5|resize:0.8")(marked)
        timed("detect, marked, turned and scaled", lambda p=turned: detect(p, [KEY]))
        timed("detect, clean, fast", lambda p=pixels: detect(p, [KEY], "fast"))
        timed("detect, clean, normal", lambda p=pixels: detect(p, [KEY], "normal"))
        timed("detect, clean, full search", lambda p=pixels: detect(p, [KEY]))
    for name, values in spent.items():
        print(f"{name:<36} median {np.median(values):6.1f} ms  95 % {np.quantile(values, 0.95):6.1f} ms")


def main() -> None:
    """Parse the command line and run one of the checks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("clean")
    one.add_argument("folders", type=Path, nargs="+")
    one.add_argument("--crops", type=int, default=20_000)
    one.add_argument("--jobs", type=int, default=2)
    one.add_argument("--plot", type=Path)
    one.set_defaults(run=clean)
    two = commands.add_parser("copy")
    two.add_argument("folder", type=Path)
    two.add_argument("--limit", type=int, default=100)
    two.add_argument("--jobs", type=int, default=2)
    two.set_defaults(run=copy)
    four = commands.add_parser("speed")
    four.add_argument("folder", type=Path)
    four.add_argument("--step", type=int, default=4)
    four.set_defaults(run=speed)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
