"""The judgement: all evidence of one upload to one status. Total, ordered, small enough to read.

Two steps. `facts_of` reduces evidence to a closed set of facts; `judge` decides. Kept apart so that
every combination of facts can be checked (there are few enough).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from countermark.provenance.evidence import Claim, Evidence, Kind, Strength
from countermark.provenance.status import SENTENCES, Status

__all__ = ["Facts", "Verdict", "facts_of", "judge", "resolve"]

Manifest = Literal["absent", "trusted", "untrusted", "invalid", "remote"]
Origin = Literal["generated", "edited", "captured", "human_made", "unspecified"]
Mark = Literal["none", "public", "keyed"]
Said = Literal["none", "ai", "not_ai"]
Band = Literal["not_run", "abstained", "low", "mid", "high"]
_KEYED_P = 1e-6  # chance rate above which a keyed watermark is no more than a public one


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything the judgement may look at.

    Attributes:
        manifest: ``trusted`` means intact, signed, signer believed.
        origin: what the manifest claims; ``unspecified`` where it claims nothing of use.
        origin_signed: every manifest that leads to the claim is vouched for.
        denied: the signer is on the deny list or revoked.
        metadata_ai: unsigned metadata say AI.
        mark: strongest watermark found.
        registry: our own record of this picture was found, by its bytes or by watermark id and fingerprint.
        seen: a record with the same fingerprint was found and nothing else; a hint.
        declared: what the uploader says.
        reviewed: what human reviewers decided.
        second_reviewer: whether two of them did.
        classifier: band of the calibrated score.
        failed: an examiner that could have found something failed.
        unread: the picture itself could not be read.
    """

    manifest: Manifest = "absent"
    origin: Origin = "unspecified"
    origin_signed: bool = False
    denied: bool = False
    metadata_ai: bool = False
    mark: Mark = "none"
    registry: bool = False
    seen: bool = False
    declared: Said = "none"
    reviewed: Said = "none"
    second_reviewer: bool = False
    classifier: Band = "not_run"
    failed: bool = False
    unread: bool = False

    @property
    def trusted(self) -> bool:
        """Trusted manifest whose signer is not denied."""
        return self.manifest == "trusted" and not self.denied

    @property
    def marked(self) -> bool:
        """Any watermark or registry record."""
        return self.mark != "none" or self.registry

    @property
    def keyed(self) -> bool:
        """A mark that only the holder of a key could have made."""
        return self.mark == "keyed" or self.registry


@dataclass(frozen=True, slots=True)
class Verdict:
    """Status with its reasons.

    Attributes:
        status: the outcome.
        reasons: codes, most important first.
        review: a person should look.
        summary: one plain sentence.
    """

    status: Status
    reasons: tuple[str, ...]
    review: bool
    summary: str


def judge(f: Facts) -> Verdict:
    """Decide. The order is the order of trust; nothing later overrules anything earlier."""
    return (
        _contradictions(f)
        or _signed(f)
        or _marked(f)
        or _declared(f)
        or _signed_capture(f)
        or _invalid(f)
        or _statistical(f)
    )


def _verdict(status: Status, *reasons: str, review: bool = False) -> Verdict:
    return Verdict(status, tuple(r for r in reasons if r), review, SENTENCES[status])


def _trouble(f: Facts) -> tuple[str, ...]:
    """Reasons that go with every verdict while the credentials are not as they should be."""
    return (("c2pa.signer_denied",) if f.denied else ()) + (("c2pa.invalid",) if f.manifest == "invalid" else ())


def _contradictions(f: Facts) -> Verdict | None:
    if not f.trusted:
        return None
    if f.origin == "captured" and (f.marked or f.metadata_ai or f.declared == "ai"):
        what = "watermark" if f.marked else "metadata" if f.metadata_ai else "declaration"
        return _verdict(Status.CONFLICT, "c2pa.trusted.captured", f"{what}.ai", review=True)
    if f.origin == "human_made" and f.marked:
        return _verdict(Status.CONFLICT, "c2pa.trusted.human_made", "watermark.ai", review=True)
    return None


def _signed(f: Facts) -> Verdict | None:
    if not (f.trusted and f.origin_signed):
        return None
    if f.origin == "generated":
        return _verdict(Status.AI_GENERATED_CONFIRMED, "c2pa.trusted.generated")
    if f.origin == "edited":
        return _verdict(Status.AI_EDITED_CONFIRMED, "c2pa.trusted.edited")
    return None


def _marked(f: Facts) -> Verdict | None:
    if not f.keyed:
        return None
    stripped = "marks.stripped" if f.manifest == "absent" else ""
    which = "watermark.keyed" if f.mark == "keyed" else "registry.match"
    return _verdict(Status.AI_GENERATED_WATERMARKED, which, stripped, *_trouble(f), review=bool(_trouble(f)))


def _declared(f: Facts) -> Verdict | None:
    if f.declared == "ai":
        return _verdict(Status.AI_DECLARED, "declaration.ai", *_trouble(f), review=bool(_trouble(f)))
    unsigned_claim = f.origin in ("generated", "edited") and f.manifest in ("trusted", "untrusted") and not f.denied
    if f.metadata_ai or f.marked or unsigned_claim:
        reasons = (
            "c2pa.untrusted.ai" if unsigned_claim else "",
            "metadata.ai" if f.metadata_ai else "",
            "watermark.public" if f.mark == "public" else "",
        )
        return _verdict(Status.AI_MARKED_UNSIGNED, *reasons, *_trouble(f), review=bool(_trouble(f)))
    return None


def _signed_capture(f: Facts) -> Verdict | None:
    if not (f.trusted and f.origin == "captured" and f.origin_signed):
        return None
    if f.classifier == "high":
        return _verdict(Status.CAPTURE_CONFIRMED, "c2pa.trusted.captured", "classifier.disagrees", review=True)
    return _verdict(Status.CAPTURE_CONFIRMED, "c2pa.trusted.captured")


def _invalid(f: Facts) -> Verdict | None:
    if f.manifest == "invalid" or f.denied:
        return _verdict(Status.PROVENANCE_INVALID, *_trouble(f), review=True)
    return None


def _statistical(f: Facts) -> Verdict:
    remote = "c2pa.remote_not_fetched" if f.manifest == "remote" else ""
    signed = "c2pa.no_ai_claim" if f.manifest in ("trusted", "untrusted") else ""
    if f.reviewed == "ai":
        return _verdict(Status.LIKELY_AI, "human_review.ai", review=not f.second_reviewer)
    if f.reviewed == "not_ai":
        return _verdict(Status.NO_AI_EVIDENCE, "human_review.not_ai")
    if f.unread:
        return _verdict(Status.ERROR, "file.unreadable")
    failed = "examiner.failed" if f.failed else ""
    if f.classifier == "high":
        return _verdict(Status.LIKELY_AI, "classifier.high", remote, failed, review=True)
    if f.seen:
        return _verdict(Status.INCONCLUSIVE, "registry.same_fingerprint", remote, failed, review=True)
    if f.classifier in ("abstained", "mid"):
        return _verdict(Status.INCONCLUSIVE, f"classifier.{f.classifier}", remote, failed)
    if remote or failed:
        return _verdict(Status.INCONCLUSIVE, remote, failed)
    return _verdict(Status.NO_AI_EVIDENCE, signed, f"classifier.{f.classifier}")


_ORIGINS: dict[Claim, Origin] = {
    Claim.GENERATED: "generated",
    Claim.EDITED: "edited",
    Claim.CAPTURED: "captured",
    Claim.HUMAN_MADE: "human_made",
}


def _manifest_facts(evidence: Evidence) -> dict[str, Any]:
    detail = evidence.detail
    presence = detail.get("presence", "absent")
    if not evidence.found:
        return {}
    if presence == "remote":
        return {"manifest": "remote"}
    signer = detail.get("signer") or {}
    denied = bool(signer.get("denied") or signer.get("revoked"))
    intact = presence != "malformed" and detail.get("integrity") == detail.get("signature") == "ok"
    state: Manifest = "invalid" if not intact else "trusted" if detail.get("trusted") or denied else "untrusted"
    return {
        "manifest": state,
        "origin": _ORIGINS.get(evidence.claim, "unspecified"),
        "origin_signed": evidence.strength == Strength.SIGNED,
        "denied": denied and intact,
    }


def _mark_of(evidence: Evidence) -> Mark:
    """A keyed mark needs a stated, tiny chance rate; everything else found counts as public."""
    p_value = evidence.detail.get("p_value", 1.0)
    keyed = evidence.strength == Strength.KEYED and isinstance(p_value, float | int) and p_value <= _KEYED_P
    return "keyed" if keyed else "public"


def _registry_facts(evidence: Evidence, known: dict[str, Any]) -> dict[str, Any]:
    """A record counts fully when proven; a watermark id on another picture is a mark that anybody can copy."""
    if evidence.strength == Strength.KEYED:
        return {"registry": True}
    if "watermark" in evidence.detail.get("by", ()):
        return {"mark": known.get("mark", "public")}
    return {"seen": True}


def facts_of(evidence: Iterable[Evidence], unread: bool = False) -> Facts:
    """Reduce evidence to facts.

    Args:
        evidence: one item per examiner.
        unread: the picture itself could not be read.
    """
    table: dict[str, Any] = {"unread": unread}
    for item in evidence:
        if item.error:
            table["failed"] = True
        elif item.kind == Kind.MANIFEST:
            table.update(_manifest_facts(item))
        elif not item.found:
            continue
        elif item.kind == Kind.METADATA and item.claim.is_ai:
            table["metadata_ai"] = True
        elif item.kind == Kind.WATERMARK and item.claim.is_ai:
            table["mark"] = "keyed" if "keyed" in (table.get("mark"), _mark_of(item)) else "public"
        elif item.kind == Kind.REGISTRY and item.claim.is_ai:
            table.update(_registry_facts(item, table))
        elif item.kind == Kind.DECLARATION:
            table["declared"] = "ai" if item.claim.is_ai else "not_ai"
        elif item.kind == Kind.CLASSIFIER:
            table["classifier"] = item.detail.get("band", "abstained")
    return Facts(**table)


def resolve(evidence: Iterable[Evidence], unread: bool = False) -> Verdict:
    """Judge all evidence of one upload."""
    return judge(facts_of(evidence, unread))
