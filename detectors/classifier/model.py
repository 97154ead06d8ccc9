"""The classifier at run time: ONNX Runtime on one thread, no torch.

Frames are read by a frozen image encoder with a trained head, windows by a CNN; a calibrated sum of both is the score.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from countermark.datasets import laundering
from countermark.detectors.classifier import packing
from countermark.detectors.classifier.settings import DOMAINS, KEY, Domain, Settings, parse
from countermark.detectors.classifier.views import Effort, normalise, shrink, views
from countermark.provenance.errors import MissingPart, UnreadableError

Pixels = NDArray[np.uint8]
Band = Literal["abstained", "low", "mid", "high"]

WEIGHTS = Path(__file__).resolve().parent.parent / "weights" / "classifier.onnx"
"""The shipped model."""
ENVIRONMENT = "COUNTERMARK_CLASSIFIER"
"""Environment variable that names another model file, or is `off`."""
RE_ENCODING = "resize:0.9|jpeg:80"
"""What a high score must survive before it is given (see `Classifier.predict`)."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the classifier says of one picture.

    Attributes:
        score: calibrated probability in [0, 1] that it is AI-generated, or None where the classifier abstains.
        band: `high` from the domain's threshold on, `low` where nothing speaks for AI, `mid` between, `abstained`.
        domain: kind of picture the threshold was chosen for.
        threshold: that threshold.
        reason: why it abstains, a plain sentence; empty where it does not.
        logits: mean raw logit of the frames and of the windows.
        distance: how far the picture's features lie from those of the training pictures (1 is typical).
    """

    score: float | None
    band: Band
    domain: Domain
    threshold: float
    reason: str = ""
    logits: tuple[float, float] = (0.0, 0.0)
    distance: float = 0.0


@dataclass(frozen=True, slots=True)
class Raw:
    """The outputs for one picture: mean logit by kind of view (0 for windows without a weight in the score), domain
    logits (4,), feature distance."""

    frame: float
    native: float
    domains: NDArray[np.float32]
    distance: float


class Classifier:
    """A loaded model.

    Args:
        file: a model written by `countermark train`.
        threads: threads of ONNX Runtime; one, because scanning runs one process a core.

    Raises:
        MissingPart: there is no such file.
        UnreadableError: it is no such model.
    """

    def __init__(self, file: Path = WEIGHTS, threads: int = 1) -> None:
        if not file.is_file():
            raise MissingPart(f"The classifier's model {file} is not there; train one with `countermark train`.")
        data = file.read_bytes()
        self._session = _session(data, file, threads)
        self.settings: Settings = parse(self._session.get_modelmeta().custom_metadata_map.get(KEY), str(file))
        self._frames = self._session
        if self.settings.frame_model:
            self._frames = _packed_session(file, self.settings.frame_model, threads)
        self.sha256 = hashlib.sha256(data).hexdigest()

    @property
    def version(self) -> str:
        """Name, version and the start of the file's sha256."""
        return f"{self.settings.name} {self.settings.version} sha256:{self.sha256[:16]}"

    @property
    def reads_frames(self) -> bool:
        """Whether a second network, the frame encoder, reads the frames."""
        return bool(self.settings.frame_model)

    def windows(self, batch: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """The CNN on float32 (N, 3, h, w) in [-1, 1].

        Returns:
            `logit` (N,) and `cells` (N, rows, columns), the logit of each part of the picture; their mean is it.
        """
        names = ["logit", "cells"]
        return dict(zip(names, self._session.run(names, {"pixels": batch}), strict=True))

    def frames(self, batch: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """The frame network on float32 (N, 3, frame_size, frame_size) in [-1, 1].

        Returns:
            `logit` (N,), `domains` (N, 4) and `distance` (N,), float32.
        """
        names = ["logit", "domains", "distance"]
        # one by one: the encoder's int8 activations are scaled by the largest in the batch, and a picture's score must
        # not depend on its neighbours
        rows = [self._frames.run(names, {"pixels": batch[i : i + 1]}) for i in range(len(batch))]
        return {name: np.concatenate([row[at] for row in rows]) for at, name in enumerate(names)}

    def raw(self, pictures: Sequence[Pixels], effort: Effort = "fast") -> list[Raw]:
        """The networks' outputs for pictures (RGB uint8 (height, width, 3)), all views of a kind in one batch."""
        made = [views(pixels, self.settings.size, self.settings.frame_size, effort) for pixels in pictures]
        shown = self.frames(normalise([view for frames, _ in made for view in frames]))
        frames, windows = len(made[0][0]), len(made[0][1])
        cut = np.zeros(len(made) * windows, np.float32)
        if self.settings.fusion[effort].native:  # what calibration gave no weight is not worth the time
            cut = self.windows(normalise([view for _, windows in made for view in windows]))["logit"]
        return [
            Raw(
                float(shown["logit"][i * frames : (i + 1) * frames].mean()),
                float(cut[i * windows : (i + 1) * windows].mean()),
                shown["domains"][i * frames : (i + 1) * frames].mean(axis=0),
                float(shown["distance"][i * frames : (i + 1) * frames].min()),
            )
            for i in range(len(made))
        ]

    def probability(self, raw: Raw, effort: Effort = "fast") -> float:
        """The calibrated probability of one picture's outputs, without any abstention."""
        return self.settings.fusion[effort].probability(raw.frame, raw.native)

    def predict(self, pixels: Pixels, effort: Effort = "fast") -> Prediction:
        """What is to be said of one picture, RGB uint8 (height, width, 3).

        It abstains where the picture is too small, has next to no content, is unlike anything it was trained on,
        or where a high score does not outlive a light re-encoding (`RE_ENCODING`).
        """
        return self.judge(pixels, self.raw([pixels], effort)[0], effort)

    def judge(self, pixels: Pixels, raw: Raw, effort: Effort = "fast") -> Prediction:
        """`predict` where the networks' outputs are already there."""
        domain = DOMAINS[int(raw.domains.argmax())]
        threshold = self.settings.high[domain]
        reason = self._unfit(pixels, raw)
        score = self.probability(raw, effort)
        if not reason and score >= threshold:
            again = self.probability(self.raw([laundering.parse(RE_ENCODING)(_bounded(pixels))], effort)[0], effort)
            if again <= self.settings.low:
                reason = "Its answer turns into the opposite when the picture is re-encoded lightly."
        logits = (raw.frame, raw.native)
        if reason:
            return Prediction(None, "abstained", domain, threshold, reason, logits, raw.distance)
        band: Band = "high" if score >= threshold else "low" if score <= self.settings.low else "mid"
        return Prediction(score, band, domain, threshold, "", logits, raw.distance)

    def _unfit(self, pixels: Pixels, raw: Raw) -> str:
        height, width = pixels.shape[:2]
        least = self.settings.least_side
        if min(height, width) < least:
            return f"The picture is {width} x {height} pixels; below {least} on the short side the score means nothing."
        if float(shrink(pixels, 64).std()) < 3:
            return "The picture has next to no content to judge."
        if raw.distance > self.settings.distance:
            return "The picture is unlike anything the classifier was trained on."
        return ""


def _session(data: bytes, file: Path, threads: int, weights: dict[str, NDArray[np.int8]] | None = None) -> Any:
    """An ONNX Runtime session; `weights` fill the graph's external tensors.

    Raises:
        UnreadableError: it is not a graph that can be run.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        if weights:
            values = [onnxruntime.OrtValue.ortvalue_from_numpy(value) for value in weights.values()]
            options.add_external_initializers(list(weights), values)
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base
        raise UnreadableError(f"{file} is not an ONNX model that can be run: {str(error)[:200]}") from None


def _packed_session(file: Path, sha256: str, threads: int) -> Any:
    """The frame encoder beside a model file.

    Raises:
        MissingPart: one of its two files is not there.
        UnreadableError: they are not those the model was calibrated with.
    """
    graph, packed = (file.with_name(name) for name in (packing.GRAPH, packing.WEIGHTS))
    for needed in (graph, packed):
        if not needed.is_file():
            raise MissingPart(f"The classifier's frame encoder {needed} is not there; it belongs beside {file.name}.")
    graph_data, packed_data = graph.read_bytes(), packed.read_bytes()
    if packing.digest(graph_data, packed_data) != sha256:
        raise UnreadableError(f"{graph} and {packed.name} are not the frame encoder that {file.name} was made with.")
    return _session(graph_data, graph, threads, packing.unpack(packed_data))


def _bounded(pixels: Pixels) -> Pixels:
    """At most 1024 pixels on the short side: the re-encoding test needs no more and must stay cheap."""
    return pixels if min(pixels.shape[:2]) <= 1024 else shrink(pixels, 1024)


@lru_cache(maxsize=2)
def shared(file: Path | None = None) -> Classifier:
    """The process' classifier: the named model, that of `$COUNTERMARK_CLASSIFIER`, or the shipped one."""
    return Classifier(file or Path(os.environ.get(ENVIRONMENT) or WEIGHTS))
