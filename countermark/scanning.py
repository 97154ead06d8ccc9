"""Scan one upload: gather evidence, judge once, report. The same object for CLI, Python and service."""

from __future__ import annotations

import html
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from countermark.detectors.resolve import Verdict, resolve
from countermark.provenance.errors import CountermarkError, UnreadableError
from countermark.provenance.evidence import Claim, Evidence, Examiner, Kind, Strength, run_examiner
from countermark.provenance.status import SENTENCES, Status
from countermark.provenance.upload import DEFAULT_LIMITS, Limits, Upload
from countermark.provenance.version import VERSION

if TYPE_CHECKING:
    from countermark.policies.model import Context

__all__ = ["SCHEMA", "Classifying", "Policies", "ScanResult", "default_examiners", "policy_context", "scan"]

SCHEMA = "countermark.scan/1"


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What one file can honestly be said to be, and why.

    Attributes:
        path: as given, or None for bytes.
        sha256: of the bytes, lower-case hex; empty when they could not be read.
        media_type, width, height: of the file; size as displayed, 0 where there is none.
        status: judged outcome.
        summary: one plain sentence.
        review: a person should look.
        reasons: codes, most important first.
        classifier_score: calibrated probability in [0, 1], or None where abstained or not run.
        evidence: one item per examiner.
        decisions: what policy packs ask for.
        error: why the file could not be read, or None.
        timings_ms: wall-clock time by step.
        versions: of everything that took part.
    """

    path: str | None
    sha256: str
    media_type: str
    width: int
    height: int
    status: Status
    summary: str
    review: bool
    reasons: tuple[str, ...]
    classifier_score: float | None = None
    evidence: tuple[Evidence, ...] = ()
    decisions: tuple[dict[str, Any], ...] = ()
    error: str | None = None
    timings_ms: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of the scan contract."""
        return {
            "schema": SCHEMA,
            "path": self.path,
            "sha256": self.sha256,
            "media_type": self.media_type,
            "width": self.width,
            "height": self.height,
            "status": self.status.value,
            "summary": self.summary,
            "review": self.review,
            "reasons": list(self.reasons),
            "classifier_score": self.classifier_score,
            "evidence": [e.to_dict() for e in self.evidence],
            "decisions": list(self.decisions),
            "error": self.error,
            "timings_ms": {k: round(v, 3) for k, v in self.timings_ms.items()},
            "versions": dict(self.versions),
        }

    def by_name(self, name: str) -> Evidence | None:
        """Evidence of one examiner, or None."""
        return next((e for e in self.evidence if e.name == name), None)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(e.kind.value)}</td><td>{html.escape(e.claim.value)}</td>"
            f"<td>{html.escape(e.strength.value if e.strength else '')}</td></tr>"
            for e in self.evidence
            if e.found
        )
        return (
            f"<div><b>{html.escape(self.status.value)}</b>: {html.escape(self.summary)}"
            f"<table><tr><th>evidence</th><th>claim</th><th>strength</th></tr>{rows}</table></div>"
        )


@dataclass(frozen=True, slots=True)
class Policies:
    """Which packs to apply, and what the caller knows about the picture and its place.

    Attributes:
        packs: pack ids, ``id@version``, file names, or ``all``.
        traits: see `countermark.policies.model.TRAITS`; never guessed.
        media, role, region: see `countermark.policies.model.Context`; empty for the default.
    """

    packs: tuple[str, ...]
    traits: tuple[str, ...] = ()
    media: str = ""
    role: str = ""
    region: str = ""


@dataclass(frozen=True, slots=True)
class Classifying:
    """Whether and how the classifier looks at a picture.

    Attributes:
        run: false leaves it out; `classifier_score` is then null.
        effort: ``fast`` (two views) or ``careful`` (eight).
        model: path of another model; empty for the shipped one.
    """

    run: bool = True
    effort: Literal["fast", "careful"] = "fast"
    model: str = ""


def default_examiners(thorough: bool = False, classifying: Classifying | None = None) -> list[Examiner]:
    """Examiners in the order in which a reader wants their answers.

    Args:
        thorough: search longer for marks than a scan of many files should.
        classifying: how the classifier is used; default: it runs, fast (careful where ``thorough``).
    """
    chosen = classifying or Classifying(effort="careful" if thorough else "fast")
    return _mark_examiners(thorough) + (_classifiers(chosen) if chosen.run else [])


def _classifiers(chosen: Classifying) -> list[Examiner]:
    from countermark.detectors.classifier.examiner import ClassifierExaminer
    from countermark.detectors.classifier.model import ENVIRONMENT

    if os.environ.get(ENVIRONMENT) == "off" and not chosen.model:
        return []
    return [ClassifierExaminer(chosen.effort, Path(chosen.model) if chosen.model else None)]


def _mark_examiners(thorough: bool) -> list[Examiner]:
    from countermark.provenance.manifest import ManifestExaminer
    from countermark.provenance.metadata import ContainerExaminer, MetadataExaminer
    from countermark.provenance.recover import RegistryExaminer
    from countermark.provenance.watermark import PublicMarksExaminer

    return [
        ManifestExaminer(),
        MetadataExaminer(),
        PublicMarksExaminer(thorough),
        RegistryExaminer(),
        ContainerExaminer(),
    ]


def scan(
    source: str | Path | bytes | BinaryIO | Upload,
    *,
    examiners: Sequence[Examiner] | None = None,
    classifying: Classifying | None = None,
    declared: Claim | None = None,
    policies: Policies | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> ScanResult:
    """Say what a file is. Never raises for what the file contains: unreadable ones get status ``error``.

    Args:
        source: path, bytes, binary stream or `Upload`.
        examiners: default is `default_examiners`.
        classifying: how the default examiners use the classifier.
        declared: what the uploader says of it.
        policies: packs to apply, with what the caller knows of the picture.
        limits: bounds checked before decoding.

    Raises:
        UsageError: the source is of a type that cannot be scanned.
    """
    start = time.perf_counter()
    path = None if isinstance(source, bytes | bytearray) else str(getattr(source, "path", None) or "") or None
    try:
        if isinstance(source, str | Path):
            path = str(source)
        upload = source if isinstance(source, Upload) else Upload.open(source, limits)
    except UnreadableError as exc:
        return _decided(unreadable(path, str(exc)), policies)
    opened = time.perf_counter()
    evidence, unread = _gather(upload, default_examiners(classifying=classifying) if examiners is None else examiners)
    if declared is not None:
        evidence.append(_declaration(declared))
    examined = time.perf_counter()
    verdict = resolve(evidence, unread is not None)
    done = time.perf_counter()
    steps = {"open": opened - start, "examine": examined - opened, "resolve": done - examined, "total": done - start}
    result = _result(upload, verdict, evidence, unread, {k: v * 1000.0 for k, v in steps.items()})
    return _decided(result, policies)


def _decided(result: ScanResult, policies: Policies | None) -> ScanResult:
    """The result with the duties of each pack, strictest first."""
    if policies is None or not policies.packs:
        return result
    from countermark.policies.engine import combine, decide, select

    decisions = decide(select(policies.packs), policy_context(result, policies))
    review = result.review or any(d.review for d in decisions)
    return replace(result, decisions=tuple(d.to_dict() for d in combine(decisions)), review=review)


def policy_context(result: ScanResult, policies: Policies) -> Context:
    """What the packs decide about: the status and what the caller said.

    Raises:
        UsageError: a word outside the vocabulary.
    """
    from countermark.policies.engine import context_of

    where = {k: v for k, v in (("media", policies.media), ("role", policies.role), ("region", policies.region)) if v}
    return context_of(result.status, policies.traits, **where)


def _gather(upload: Upload, examiners: Sequence[Examiner]) -> tuple[list[Evidence], str | None]:
    """All evidence, and why the picture itself could not be read (None where it could)."""
    evidence = [run_examiner(examiner, upload) for examiner in examiners]
    return evidence, _decodable(upload) if upload.format.raster else _parsable(evidence)


def _parsable(evidence: Sequence[Evidence]) -> str | None:
    """Of audio, video and documents only the credentials are read; where they cannot be, nothing was."""
    return next((e.error for e in evidence if e.kind == Kind.MANIFEST), None)


def _decodable(upload: Upload) -> str | None:
    try:
        _ = upload.pixels
    except CountermarkError as exc:
        return str(exc)
    except (MemoryError, ValueError, OSError) as exc:
        return f"{upload.format.name} pixels cannot be decoded: {exc}"
    return None


def _declaration(claim: Claim) -> Evidence:
    return Evidence(
        Kind.DECLARATION,
        "uploader",
        found=True,
        claim=claim,
        strength=Strength.DECLARED,
        detail={"says": claim.value},
    )


def _score(evidence: Sequence[Evidence]) -> float | None:
    item = next((e for e in evidence if e.kind == Kind.CLASSIFIER), None)
    value = item.detail.get("score") if item else None
    return float(value) if isinstance(value, int | float) else None


def _result(
    upload: Upload, verdict: Verdict, evidence: list[Evidence], unread: str | None, timings: dict[str, float]
) -> ScanResult:
    try:
        header = upload.header
    except CountermarkError:
        header = None
    versions = {"countermark": VERSION, **{e.name: e.version for e in evidence if e.version}}
    return ScanResult(
        path=upload.path,
        sha256=upload.sha256,
        media_type=upload.media_type,
        width=header.width if header else 0,
        height=header.height if header else 0,
        status=verdict.status,
        summary=verdict.summary,
        review=verdict.review,
        reasons=verdict.reasons,
        classifier_score=_score(evidence),
        evidence=tuple(evidence),
        error=unread,
        timings_ms=timings,
        versions=versions,
    )


def unreadable(path: str | None, error: str) -> ScanResult:
    """The object of a file that could not be read at all."""
    return ScanResult(
        path=path,
        sha256="",
        media_type="",
        width=0,
        height=0,
        status=Status.ERROR,
        summary=SENTENCES[Status.ERROR],
        review=False,
        reasons=("file.unreadable",),
        error=error,
        versions={"countermark": VERSION},
    )
