"""Cost of a decision and of loading all packs, and a contact sheet of drawn labels.

taskset -c 0 python benchmarks/policies.py
python benchmarks/policies.py --sheet docs/images/labels.png
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data as shipped

from countermark.policies.draw import draw_label
from countermark.policies.engine import context_of, decide, load_packs

LABELS = (
    ("eu-generated", "AI GENERATED"),
    ("eu-modified", "AI MODIFIED"),
    ("cn-corner", "为人工智能生成合成内容"),
    ("commons", "AI-generated"),
    ("cr-pin", "Content Credentials"),
)
CELL = (240, 170)


def cost() -> None:
    spent = []
    for _ in range(15):
        load_packs.cache_clear()
        start = time.perf_counter()
        packs = load_packs()
        spent.append((time.perf_counter() - start) * 1000)
    rules = sum(len(p.pack.rules) for p in packs.values())
    print(f"load {len(packs)} packs, {rules} rules: median {statistics.median(spent):.1f} ms (target <= 60)")
    context = context_of("no_ai_evidence", ["realistic"])  # falls through every rule: the dearest case
    chosen = list(packs.values())
    start = time.perf_counter()
    for _ in range(2000):
        decide(chosen, context)
    each = (time.perf_counter() - start) / 2000 / len(chosen) * 1e6
    print(f"one decision, averaged over all packs: {each:.1f} microseconds (target <= 20)")


def pictures() -> list[tuple[str, np.ndarray]]:
    """Photo, dark, light, plain, tiny, huge, portrait, wide and busy pictures."""

    def resized(name: str, size: tuple[int, int]) -> np.ndarray:
        return np.asarray(Image.fromarray(getattr(shipped, name)()).resize(size))

    return [
        ("photo", resized("coffee", (600, 400))),
        ("cat", resized("chelsea", (600, 400))),
        ("dark", (resized("coffee", (600, 400)) * 0.12).astype(np.uint8)),
        ("white", np.full((400, 600, 3), 255, np.uint8)),
        ("black", np.zeros((400, 600, 3), np.uint8)),
        ("grey", np.full((400, 600, 3), 128, np.uint8)),
        ("busy", np.random.default_rng(0).integers(0, 256, (400, 600, 3), dtype=np.uint8)),
        ("tiny 64", resized("chelsea", (64, 64))),
        ("250 px", resized("coffee", (250, 167))),
        ("8000 px", resized("chelsea", (8000, 5300))),
        ("portrait", resized("chelsea", (400, 640))),
        ("wide", resized("coffee", (1200, 300))),
    ]


def sheet(path: Path) -> None:
    chosen = pictures()
    page = Image.new("RGB", (len(LABELS) * (CELL[0] + 8) + 8, len(chosen) * (CELL[1] + 8) + 8), (232, 230, 224))
    ratios: list[float] = []
    for row, (_, rgb) in enumerate(chosen):
        for column, (form, text) in enumerate(LABELS):
            drawn, where = draw_label(rgb, text, form)
            ratios.append(where["contrast"])
            image = Image.fromarray(drawn)
            image.thumbnail(CELL, Image.Resampling.LANCZOS)
            page.paste(image, (8 + column * (CELL[0] + 8), 8 + row * (CELL[1] + 8)))
    print(f"smallest contrast {min(ratios):.1f}:1")
    page.quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {len(chosen)} pictures, {len(LABELS)} labels")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sheet", type=Path)
    options = parser.parse_args()
    if options.sheet:
        sheet(options.sheet)
    else:
        cost()


if __name__ == "__main__":
    main()
