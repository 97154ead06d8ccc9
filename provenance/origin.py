"""What a creator says about a picture: the facts that all marks are written from."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

from countermark.provenance.errors import UsageError
from countermark.provenance.evidence import Claim
from countermark.provenance.manifest.vocabulary import (
    DIGITAL_SOURCE_TYPES,
    check_source_type,
    source_type_name,
)

__all__ = ["Origin", "SoftBinding"]

TRAINING = ("notAllowed", "allowed", "constrained")
OVERSIGHT = ("fully_autonomous", "prompt_guided", "human_validated")


@dataclass(frozen=True, slots=True)
class SoftBinding:
    """A watermark that leads back to the manifest.

    Attributes:
        alg: registered algorithm name, or a private one in reverse-DNS form.
        value: what the watermark carries, as text.
    """

    alg: str
    value: str


@dataclass(frozen=True, slots=True)
class Origin:
    """How a picture came to be.

    Attributes:
        generator: program that ran the model, for example ``"ComfyUI"``.
        generator_version: its version.
        model, model_version: the model; the manifest names it as software agent and in its AI disclosure.
        source_type: IPTC digital source type, URI or bare word.
        prompt: written only when given; it may be private.
        prompt_writer: who wrote it.
        parameters: further facts for the manifest, for example seed and scheduler.
        title: title of the asset; default is the file name.
        training: ``notAllowed``, ``allowed`` or ``constrained`` adds a training-mining assertion.
        oversight: human oversight level of the AI disclosure (C2PA 2.4).
        when: time of creation; default is now.
        tc260_producer: content producer code, to write the Chinese implicit label as well.

    Raises:
        UsageError: a word outside its vocabulary.
    """

    generator: str = ""
    generator_version: str = ""
    model: str = ""
    model_version: str = ""
    source_type: str = "trainedAlgorithmicMedia"
    prompt: str = ""
    prompt_writer: str = ""
    parameters: Mapping[str, str | int | float] = field(default_factory=dict)
    title: str = ""
    training: str = ""
    oversight: str = "prompt_guided"
    when: dt.datetime | None = None
    tc260_producer: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "source_type", check_source_type(self.source_type))
        for what, value, allowed in (
            ("training", self.training, ("", *TRAINING)),
            ("oversight", self.oversight, OVERSIGHT),
        ):
            if value not in allowed:
                raise UsageError(f"{what}: {value!r} is not allowed; use {', '.join(a for a in allowed if a)}.")
        if self.tc260_producer and not self.is_ai:
            raise UsageError(
                f"A TC260 label says that a picture is generated, but the source type is "
                f"{source_type_name(self.source_type)}. Leave one of the two out."
            )

    @property
    def is_ai(self) -> bool:
        """Whether the source type names a trained model."""
        return DIGITAL_SOURCE_TYPES.get(self.source_type, Claim.NONE).is_ai
