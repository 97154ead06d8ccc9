"""What stands inside a model file beside its weights: enough to use it exactly as it was trained and calibrated."""

from __future__ import annotations

import json
import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from countermark.provenance.errors import UnreadableError

KEY = "countermark.classifier"
"""Key of the JSON object in the ONNX file's metadata."""

Domain = Literal["photo", "face", "art", "graphics"]
DOMAINS: tuple[Domain, ...] = ("photo", "face", "art", "graphics")


class Fusion(BaseModel):
    """Logistic regression on the mean logits of both kinds of view.

    The calibrated logit is `frame` * (mean over frames) + `native` * (mean over windows) + `bias`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    frame: float
    native: float
    bias: float

    def probability(self, frame: float, native: float) -> float:
        """The calibrated probability of one picture's mean logits."""
        logit = self.frame * frame + self.native * native + self.bias
        return 1 / (1 + math.exp(-max(-60.0, min(60.0, logit))))


class Settings(BaseModel):
    """The model's metadata.

    Attributes:
        format: version of this object.
        name, version: of the model; version is the date it was trained and the start of its config's sha256.
        size: side in pixels of a window.
        frame_size: side in pixels of a frame.
        frame_model: sha256 of the frame encoder's graph and weights, files beside this one; empty where this model
            reads frames itself.
        mean, deviation: of the normalisation, in units of the 8-bit range (value / 255 - mean) / deviation.
        colour: channel order.
        fusion: by effort, see `views.Effort`.
        high: by domain, the score from which a picture is called likely AI.
        low: the score up to which nothing speaks for AI.
        fpr: rate of real calibration pictures at or above `high`.
        least_side: pictures with a shorter side get no score.
        distance: pictures whose features lie farther from the training pictures than this get no score.
        trained: day, ISO 8601.
        config: sha256 of the training config.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    name: str
    version: str
    size: int
    frame_size: int
    frame_model: str = ""
    mean: float = 0.5
    deviation: float = 0.5
    colour: Literal["RGB"] = "RGB"
    fusion: dict[Literal["fast", "careful"], Fusion]
    high: dict[Domain, float]
    low: float
    fpr: float
    least_side: int = 96
    distance: float
    trained: str
    config: str


def parse(text: str | None, file: str) -> Settings:
    """Settings from a model file's metadata.

    Raises:
        UnreadableError: there are none, or this version does not know their format.
    """
    if not text:
        raise UnreadableError(f"{file} has no {KEY!r} metadata; it was not written by `countermark train`.")
    try:
        return Settings.model_validate(json.loads(text))
    except (ValueError, ValidationError) as error:
        raise UnreadableError(f"{file} has {KEY!r} metadata this version cannot use: {str(error)[:300]}") from None
