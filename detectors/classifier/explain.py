"""Where in the picture the score comes from: a heat map. A hint for a person, never proof.

The CNN ends in global average pooling and a linear head, so its logit is the mean of a map of cells (class activation
map, Zhou et al., CVPR 2016); on a larger input it gives a finer map in one pass. The frame encoder has no such map and
is asked by occlusion. Both parts are added as they are in the score.
"""

from __future__ import annotations

import io
import itertools
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from countermark.detectors.classifier.model import Classifier
from countermark.detectors.classifier.views import normalise, shrink
from countermark.provenance.errors import UsageError

CAVEAT = (
    "The map shows which parts moved the classifier's score. It is a hint where to look, not proof: a warm part is "
    "not shown to be generated, and a cold one is not shown to be real."
)
_CELL = 32
_SHORT = 448
_LONG = 1344
"""Sides in pixels of the input the map is made of."""
_GRID = 7


@dataclass(frozen=True, slots=True)
class HeatMap:
    """A heat map of one picture.

    Attributes:
        cells: float32 (rows, columns), in logits: by how much covering the cell lowers the score, or, where the CNN
            reads frames, the cell's own logit. Above 0 speaks for AI, below against.
        width, height: of the picture, pixels.
        caveat: the sentence that must be shown with it.
    """

    cells: NDArray[np.float32]
    width: int
    height: int
    caveat: str = CAVEAT

    def overlay(self, pixels: NDArray[np.uint8], opacity: float = 0.5, long_side: int = 1024) -> NDArray[np.uint8]:
        """The picture with the map laid over it, RGB uint8 (h, w, 3): warm speaks for AI, cold against.

        Raises:
            UsageError: the opacity is not in [0, 1].
        """
        if not 0 <= opacity <= 1:
            raise UsageError(f"Opacity must be in [0, 1], given {opacity}.")
        scale = min(1.0, long_side / max(pixels.shape[:2]))
        small = shrink(pixels, max(1, round(min(pixels.shape[:2]) * scale)))
        height, width = small.shape[:2]
        values = cv2.resize(self.cells, (width, height), interpolation=cv2.INTER_CUBIC)
        share = np.clip(values / (2 * max(4.0, float(np.abs(self.cells).max()))) + 0.5, 0, 1)
        colours = cv2.applyColorMap((share * 255).astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1]
        weight = (np.abs(share - 0.5) * 2 * opacity)[..., None]  # what says nothing stays as it is
        return np.asarray(np.rint(small * (1 - weight) + colours * weight), dtype=np.uint8)

    def png(self, pixels: NDArray[np.uint8], opacity: float = 0.5) -> bytes:
        """The overlay as a PNG file, the caveat in its text."""
        from PIL.PngImagePlugin import PngInfo

        text = PngInfo()
        text.add_text("Comment", self.caveat)
        out = io.BytesIO()
        Image.fromarray(self.overlay(pixels, opacity)).save(out, "PNG", pnginfo=text)
        return out.getvalue()


def heat_map(pixels: NDArray[np.uint8], model: Classifier) -> HeatMap:
    """The heat map of one picture, RGB uint8 (height, width, 3), in units of the calibrated logit.

    The CNN's part is exact: its cells on the picture at a short side of 448 pixels (a long side of at most 1344; what
    is longer is squeezed). The frame encoder's part is occlusion (Zeiler and Fergus, ECCV 2014): how much the logit
    falls when one part of the frame is blurred away. About a second where there is a frame encoder.
    """
    height, width = pixels.shape[:2]
    scale = _SHORT / min(height, width)
    rows, columns = (max(1, min(_LONG, round(side * scale)) // _CELL) for side in (height, width))
    fusion = model.settings.fusion["fast"]
    total = np.zeros((rows, columns), np.float32)
    if fusion.native or not model.reads_frames:
        view = _squeezed(pixels, columns * _CELL, rows * _CELL)
        cells = model.windows(normalise([view]))["cells"][0]
        total += (fusion.native or fusion.frame) * cv2.resize(cells, (columns, rows), interpolation=cv2.INTER_AREA)
    if model.reads_frames:
        total = total + fusion.frame * cv2.resize(
            _occluded(pixels, model), (columns, rows), interpolation=cv2.INTER_CUBIC
        )
    return HeatMap(np.asarray(total, np.float32), width, height)


def _occluded(pixels: NDArray[np.uint8], model: Classifier) -> NDArray[np.float32]:
    """By part of a grid: the frame's logit less the logit with that part blurred, (_GRID, _GRID)."""
    side = model.settings.frame_size
    frame = _squeezed(pixels, side, side)
    blurred = cv2.GaussianBlur(frame, (0, 0), side / 12)
    edges = np.linspace(0, side, _GRID + 1).astype(int)
    variants = [frame]
    for top, bottom in itertools.pairwise(edges):
        for left, right in itertools.pairwise(edges):
            hidden = frame.copy()
            hidden[top:bottom, left:right] = blurred[top:bottom, left:right]
            variants.append(hidden)
    logits = np.concatenate([model.frames(normalise(variants[i : i + 8]))["logit"] for i in range(0, len(variants), 8)])
    return np.asarray(_GRID * (logits[0] - logits[1:]).reshape(_GRID, _GRID), np.float32)


def _squeezed(pixels: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    kernel = cv2.INTER_AREA if width * height < pixels.shape[0] * pixels.shape[1] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=kernel), dtype=np.uint8)


def write(folder: Path, name: str, pixels: NDArray[np.uint8], model: Classifier) -> Path:
    """Write `NAME.heat.png` and, for programs, `NAME.heat.npy` (the cells); returns the PNG's path."""
    made = heat_map(pixels, model)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name}.heat.png"
    target.write_bytes(made.png(pixels))
    np.save(folder / f"{name}.heat.npy", made.cells)
    return target
