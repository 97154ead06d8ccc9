"""Public watermarks: speed and exactness beside invisible-watermark, detection, false positives.

    pip install -c constraints.txt ".[test,bench]" && pip install --no-deps invisible-watermark PyWavelets
    taskset -c 0 python benchmarks/public_marks.py speed
    python benchmarks/public_marks.py exact
    python benchmarks/public_marks.py detect --pictures FOLDER     # pictures of 768 to 1024 px
    python benchmarks/public_marks.py clean --pictures FOLDER... --plot docs/images/public-marks-p-values.png

Without --pictures the photographs that scikit-image ships are used. invisible-watermark's own modules are
run for the marks and as the peer; they are loaded from their files, because the package imports torch.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
from PIL import Image
from skimage import data as shipped

from countermark.provenance.watermark import known
from countermark.provenance.watermark.known import find_known, known_marks
from countermark.provenance.watermark.lattice import decode, encode

cv2.setNumThreads(1)
Array = np.ndarray
LENGTHS = (32, 48, 64, 136)


def peer(name: str) -> ModuleType:
    """A module of invisible-watermark without its package."""
    spec = importlib.util.find_spec("imwatermark")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("pip install --no-deps invisible-watermark PyWavelets")
    path = Path(spec.submodule_search_locations[0]) / f"{name}.py"
    loaded = importlib.util.spec_from_file_location(f"peer_{name}", path)
    module = importlib.util.module_from_spec(loaded)
    loaded.loader.exec_module(module)
    return module


def embedder(method: str, bits: Array) -> object:
    module = peer("maxDct" if method == "dwtDct" else "dwtDctSvd")
    kind = module.EmbedMaxDct if method == "dwtDct" else module.EmbedDwtDctSvd
    return kind([int(b) for b in bits], wmLen=len(bits))


def bgr(rgb: Array) -> Array:
    return np.ascontiguousarray(rgb[:, :, ::-1])


def files_of(folders: list[Path]) -> list[Path]:
    """Picture files below the folders, sorted."""
    found = [p for f in folders for p in f.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp")]
    return sorted(found)


def pictures(
    folders: list[Path] | None, longest: int | None = 1024, limit: int | None = None
) -> list[tuple[str, Array]]:
    """Names and (H, W, 3) RGB pictures, reduced to ``longest`` where larger."""
    if folders is None:
        arrays = {n: getattr(shipped, n)() for n in ("astronaut", "coffee", "chelsea")}
        return [(n, np.asarray(Image.fromarray(a).resize((1024, 768)))) for n, a in arrays.items()]
    found = []
    for path in files_of(folders)[:limit]:
        image = Image.open(path).convert("RGB")
        if longest and max(image.size) > longest:
            scale = longest / max(image.size)
            image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
        found.append((path.name, np.asarray(image)))
    return found


def clock(run: Callable[[], object], times: int) -> float:
    """Median ms after a warm-up."""
    run()
    spent = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        spent.append((time.perf_counter() - start) * 1000)
    return statistics.median(spent)


def speed() -> None:
    print(f"{'median ms':<12}{'method':<11}{'encode':>9}{'peer':>9}{'x':>7}{'decode':>9}{'peer':>9}{'x':>7}")
    bits = np.random.default_rng(0).integers(0, 2, 48)
    for side in (512, 1024, 2048):
        rgb = np.asarray(Image.fromarray(shipped.astronaut()).resize((side, side), Image.Resampling.BICUBIC))
        for method in ("dwtDct", "dwtDctSvd"):
            theirs = embedder(method, bits)
            source = bgr(rgb)
            marked = theirs.encode(source)
            ours = np.ascontiguousarray(marked[:, :, ::-1])
            times = 3 if side > 600 else 5
            e = (
                clock(lambda r=rgb, m=method: encode(r, bits, m), 9),
                clock(lambda t=theirs, s=source: t.encode(s), times),
            )
            d = (
                clock(lambda r=ours, m=method: decode(r, 48, m), 15),
                clock(lambda t=theirs, s=marked: t.decode(s), times),
            )
            cells = f"{e[0]:9.2f}{e[1]:9.1f}{e[1] / e[0]:7.1f}{d[0]:9.2f}{d[1]:9.1f}{d[1] / d[0]:7.1f}"
            print(f"{side:<12}{method:<11}{cells}")
    rgb = np.asarray(Image.fromarray(shipped.astronaut()).resize((1024, 1024), Image.Resampling.BICUBIC))
    marks = known_marks()
    votes = {o: known._extremes(p) for o, p in known._ll_planes(rgb).items()}
    planes = clock(lambda: {o: known._extremes(p) for o, p in known._ll_planes(rgb).items()}, 15)
    first = planes + clock(lambda: known._first_pass(votes, marks, 0), 15)
    search = clock(lambda: known._scale_search(votes, marks, 0), 9) + clock(lambda: known._gate(rgb, marks), 9)
    phases = clock(lambda: known._phase_search(rgb, marks, [(0, 0), (3, 5), (6, 1)]), 9)
    print(f"all {len(marks)} known messages, both channel orders, 1 MP: first pass {first:.1f} ms (target <= 12),")
    print(f"scale search and gate {search:.1f} ms, phase search {phases:.1f} ms (targets <= 120 together)")


ATTACKS: dict[str, Callable[[Array], Array]] = {
    "none": lambda i: i,
    "jpeg 95": lambda i: jpeg(i, 95),
    "jpeg 80": lambda i: jpeg(i, 80),
    "half and back": lambda i: half_and_back(i),
    "noise 5": lambda i: np.clip(i + np.random.default_rng(0).normal(0, 5, i.shape), 0, 255).astype(np.uint8),
    "brightness 1.2": lambda i: np.clip(i.astype(np.float32) * 1.2, 0, 255).astype(np.uint8),
}


def jpeg(rgb: Array, quality: int) -> Array:
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "JPEG", quality=quality)
    return np.asarray(Image.open(out))


def half_and_back(rgb: Array) -> Array:
    small = cv2.resize(rgb, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, rgb.shape[1::-1], interpolation=cv2.INTER_CUBIC)


def exact(folders: list[Path] | None, limit: int) -> None:
    """Bits and pixels against the library: pictures x attacks x payload lengths."""
    chosen = [(n, np.ascontiguousarray(i[:512, :512])) for n, i in pictures(folders, 1024, limit)]
    for method in ("dwtDct", "dwtDctSvd"):
        same = total = pixels = encodes = 0
        worst = 0
        for index, (_, rgb) in enumerate(chosen):
            for length in LENGTHS:
                bits = np.random.default_rng(index * 1000 + length).integers(0, 2, length)
                theirs = embedder(method, bits)
                marked = np.ascontiguousarray(theirs.encode(bgr(rgb))[:, :, ::-1])
                mine = encode(rgb, bits, method)
                pixels += np.array_equal(mine, marked)
                worst = max(worst, int(np.abs(mine.astype(int) - marked).max()))
                encodes += 1
                for attack in ATTACKS.values():
                    attacked = attack(marked)
                    same += np.array_equal(theirs.decode(bgr(attacked)), decode(attacked, length, method))
                    total += 1
        print(
            f"{method}: decode bit-exact {same}/{total} ({len(chosen)} pictures x {len(ATTACKS)} attacks x "
            f"{len(LENGTHS)} lengths); encode pixel-identical {pixels}/{encodes}, largest difference {worst}"
        )


def embed_as_published(rgb: Array, name: str) -> Array:
    """A known mark by invisible-watermark's own encoder, in the number format its generator uses."""
    mark = next(m for m in known_marks() if m.name == name)
    source = bgr(rgb).astype(np.float32) if mark.domain == "float32" else bgr(rgb)
    marked = embedder("dwtDct", mark.bits).encode(source)[:, :, ::-1]
    return np.ascontiguousarray(np.clip(np.rint(marked), 0, 255).astype(np.uint8))


def stock_finds(rgb: Array, name: str) -> bool:
    """The stock decoder, granted a perfect threshold of 90 % of the bits."""
    mark = next(m for m in known_marks() if m.name == name)
    return bool((embedder("dwtDct", mark.bits).decode(bgr(rgb)) == (mark.bits > 0)).mean() >= 0.9)


def detect(folders: list[Path] | None, limit: int) -> None:
    chosen = pictures(folders, 1024, limit)
    attacks: dict[str, Callable[[Array], Array]] = {
        **{n: ATTACKS[n] for n in ("none", "jpeg 95", "half and back")},
        "offset crop": lambda i: np.ascontiguousarray(i[37:-20, 51:-30]),
        "jpeg 90": lambda i: jpeg(i, 90),
        "jpeg 80": lambda i: jpeg(i, 80),
        "brightness 1.2": ATTACKS["brightness 1.2"],
        "contrast 0.8": lambda i: np.clip((i.astype(np.float32) - 128) * 0.8 + 128, 0, 255).astype(np.uint8),
        "blur 1": lambda i: cv2.GaussianBlur(i, (0, 0), 1),
    }
    print(
        f"{len(chosen)} pictures, detected at p <= {known.THRESHOLD:g} and named right (stock decoder at 90 % of bits)"
    )
    names = ("sdxl", "flux", "stable-diffusion-1")
    print(f"{'':<16}" + "".join(f"{n:>28}" for n in names))
    marked = {n: [embed_as_published(rgb, n) for _, rgb in chosen] for n in names}
    for attack, run in attacks.items():
        cells = []
        for name in names:
            attacked = [run(i) for i in marked[name]]
            best = [find_known(i)[0] for i in attacked]
            right = sum(b.found and b.mark == name for b in best) / len(best)
            wrong = sum(b.found and b.mark != name for b in best)
            stock = sum(stock_finds(i, name) for i in attacked) / len(best)
            cells.append(f"{right:7.1%} ({stock:6.1%})" + (f" wrong {wrong}" if wrong else ""))
        print(f"{attack:<16}" + "".join(f"{c:>28}" for c in cells))


def each(folders: list[Path] | None, limit: int | None) -> Iterator[Array]:
    if folders is None:
        yield from (rgb for _, rgb in pictures(None))
        return
    for path in files_of(folders)[:limit]:
        yield np.asarray(Image.open(path).convert("RGB"))


def clean(folders: list[Path] | None, limit: int | None, plot: Path | None) -> None:
    """False positives and the distribution of corrected p-values on pictures without a mark."""
    values, found = [], 0
    for rgb in each(folders, limit):
        scores = find_known(rgb)
        if scores:
            values.append(scores[0].p_value)
            found += scores[0].found
    table = np.sort(np.array(values))
    print(f"{len(table)} clean pictures: {found} found at p <= {known.THRESHOLD:g}, smallest p {table[0]:.2g}")
    for level in (0.5, 0.1, 0.05, 0.01, 0.001):
        print(f"  share with p <= {level:g}: {(table <= level).mean():.4f}")
    if plot:
        draw(table, plot)


def draw(values: Array, path: Path) -> None:
    """Share of clean pictures below each p-value; on or below the diagonal is conservative."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(6, 4.5), dpi=110)
    axis.plot([1e-4, 1], [1e-4, 1], color="0.6", linestyle="--", label="exact")
    axis.step(values, np.arange(1, len(values) + 1) / len(values), where="post", label=f"{len(values)} clean pictures")
    axis.set(xscale="log", yscale="log", xlim=(1e-4, 1), ylim=(1e-4, 1.2))
    axis.set_xlabel("corrected p-value of the best known mark")
    axis.set_ylabel("share of clean pictures at or below")
    axis.legend(loc="lower right")
    axis.grid(alpha=0.3, which="both")
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["speed", "exact", "detect", "clean"])
    parser.add_argument("--pictures", type=Path, nargs="+")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    if options.part == "speed":
        speed()
    elif options.part == "exact":
        exact(options.pictures, options.limit or 18)
    elif options.part == "detect":
        detect(options.pictures, options.limit or 110)
    else:
        clean(options.pictures, options.limit, options.plot)


if __name__ == "__main__":
    main()
