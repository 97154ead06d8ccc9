"""What a policy pack says, as typed data: rules from a status and traits to duties, each with its source.

The vocabulary is closed and there is no expression language: a typo is an error when the pack is loaded, not
a rule that silently never fires.
"""

from __future__ import annotations

import datetime as dt
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from countermark.provenance.status import Status

__all__ = [
    "ACTIONS",
    "GROUPS",
    "TRAITS",
    "Context",
    "Label",
    "Media",
    "Pack",
    "Role",
    "Rule",
    "Then",
    "Trait",
    "When",
]

Trait = Literal[
    "realistic",
    "real_person",
    "real_event_place",
    "minor_edit",
    "stylised",
    "satire_art",
    "sensitive_topic",
    "intimate",
    "minor",
    "own_tool",
    "endorsement",
    "fake_authority",
    "private_person",
    "new_subject",
    "newsworthy",
    "whole",
    "export",
]
Media = Literal["image", "video", "audio", "text"]
Role = Literal["platform", "deployer", "provider", "uploader"]
Action = Literal["none", "info", "ask_uploader", "tell_platform", "label", "review", "restrict", "refuse"]
Strength = Literal["law", "code", "platform", "house"]
Confidence = Literal["primary", "secondary", "inferred"]
Region = Literal["world", "eu", "us", "us-ca", "cn", "in", "kr"]

TRAITS: tuple[str, ...] = get_args(Trait)
ACTIONS: tuple[str, ...] = get_args(Action)  # least to most strict

# Names for sets of statuses, so that a rule reads as a sentence.
GROUPS: dict[str, tuple[Status, ...]] = {
    "signed": (Status.AI_GENERATED_CONFIRMED,),
    "edited": (Status.AI_EDITED_CONFIRMED,),
    "marked": (Status.AI_GENERATED_WATERMARKED, Status.AI_DECLARED, Status.AI_MARKED_UNSIGNED),
    "implicit": (
        Status.AI_GENERATED_CONFIRMED,
        Status.AI_EDITED_CONFIRMED,
        Status.AI_GENERATED_WATERMARKED,
        Status.AI_MARKED_UNSIGNED,
    ),
    "declared": (Status.AI_DECLARED,),
    "soft": (Status.LIKELY_AI,),
    "captured": (Status.CAPTURE_CONFIRMED,),
    "trouble": (Status.CONFLICT, Status.PROVENANCE_INVALID),
    "open": (Status.INCONCLUSIVE, Status.ERROR),
    "clean": (Status.NO_AI_EVIDENCE,),
}


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class When(_Model):
    """Conditions of a rule; an empty field is no condition. Traits that nobody stated are absent."""

    status: tuple[str, ...] = ()
    all: tuple[Trait, ...] = ()
    any: tuple[Trait, ...] = ()
    none: tuple[Trait, ...] = ()
    media: tuple[Media, ...] = ()
    role: tuple[Role, ...] = ()
    region: tuple[Region, ...] = ()

    @field_validator("status")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        allowed = {*GROUPS, *(s.value for s in Status)}
        if unknown := [n for n in names if n not in allowed]:
            raise ValueError(f"unknown status {unknown[0]!r}; allowed: {', '.join(sorted(allowed))}")
        return names

    @property
    def statuses(self) -> frozenset[str]:
        """Statuses named, groups resolved; all of them when none is named."""
        named = [s.value for n in self.status for s in GROUPS.get(n, ())] + [n for n in self.status if n not in GROUPS]
        return frozenset(named or [s.value for s in Status])


class Label(_Model):
    """What a viewer is shown.

    Attributes:
        text: wording by language; English always, Chinese where Chinese law asks for it.
        placement: where, in words.
        form: drawn form: ``eu-ai``, ``eu-generated``, ``eu-modified``, ``cn-corner``, ``commons`` or none.
        removable: whether the uploader may take it off.
        min_short_side: height of the text as a share of the picture's short side.
    """

    text: dict[str, str] = Field(min_length=1)
    placement: str
    form: Literal["eu-ai", "eu-generated", "eu-modified", "cn-corner", "commons", "cr-pin"] | None = None
    removable: bool = True
    min_short_side: float | None = None

    @field_validator("text")
    @classmethod
    def _english(cls, text: dict[str, str]) -> dict[str, str]:
        if "en" not in text:
            raise ValueError("a label needs an English text")
        return text


class Then(_Model):
    """What a rule asks for."""

    action: Action
    label: Label | None = None
    review: bool = False
    ask_uploader: bool = False
    keep_marks: bool = True
    duty: str = ""

    @model_validator(mode="after")
    def _complete(self) -> Then:
        if (self.action == "label") != (self.label is not None):
            raise ValueError("action 'label' and a label go together")
        return self


class Context(_Model):
    """What a decision is made about. Traits come from the caller or the manifest, never from a guess."""

    status: Status
    traits: frozenset[Trait] = frozenset()
    media: Media = "image"
    role: Role = "platform"
    region: Region = "world"
    date: dt.date = Field(default_factory=lambda: dt.datetime.now(dt.UTC).date())


class Rule(_Model):
    """One rule.

    Attributes:
        id: unique in its pack.
        when, then: condition and duty.
        source: where it is published, at least one.
        strength: law, code of practice, platform rule or house rule.
        confidence: ``primary`` (official text seen), ``secondary`` (third party) or ``inferred``.
        reviewed_on: when somebody last compared it with its source.
        example: a case that this rule, and no earlier one, decides.
        note: what a reader should know.
    """

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    when: When = When()
    then: Then
    source: tuple[str, ...] = Field(min_length=1)
    strength: Strength
    confidence: Confidence
    reviewed_on: dt.date
    example: Context
    note: str = ""


class Pack(_Model):
    """Versioned rules of one platform or law. Not legal advice.

    Attributes:
        id, version: ``id@version`` names the pack.
        title, kind: for people.
        valid_from, valid_to: first and last day.
        rules: in order; the first that fits decides.
    """

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    version: str
    title: str
    kind: Literal["platform", "law", "code", "house"]
    valid_from: dt.date
    valid_to: dt.date | None = None
    note: str = ""
    rules: tuple[Rule, ...] = Field(min_length=1)

    @property
    def name(self) -> str:
        """``id@version``."""
        return f"{self.id}@{self.version}"

    def in_force(self, day: dt.date) -> bool:
        """Whether the pack applies on a day."""
        return self.valid_from <= day and (self.valid_to is None or day <= self.valid_to)
