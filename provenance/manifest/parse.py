"""crJSON of the C2PA library to typed manifests."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from countermark.provenance.manifest.model import Action, Ingredient, ManifestNode, Signer, SignerTrust, TimeTrust
from countermark.provenance.manifest.rubric import actions_of, signals
from countermark.provenance.manifest.sdk import OFFICIAL, USER
from countermark.provenance.manifest.vocabulary import AI_DISCLOSURE

__all__ = ["Codes", "anchor_of", "codes_of", "node_of", "subject_of"]

_FOUND_IN = re.compile(r"found in \[([^\]]*)\] trust anchors")
_LABEL_IN_URL = re.compile(r"/c2pa/([^/]+)")
_MAX_TEXT = 2000


def text(value: Any) -> str:
    """A string from hostile JSON: bounded, and empty for anything that is not text or a number."""
    return str(value)[:_MAX_TEXT] if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


class Codes:
    """Validation codes of one manifest: code to explanation, success and failure apart."""

    def __init__(self) -> None:
        self.success: dict[str, str] = {}
        self.failure: dict[str, str] = {}
        self.info: dict[str, str] = {}

    def add(self, results: Mapping[str, Any]) -> None:
        """Take over later results; they overrule what was said before about the same question."""
        for kind, table in (("success", self.success), ("failure", self.failure), ("informational", self.info)):
            for item in _dicts(results.get(kind)):
                code = text(item.get("code"))
                table[code] = text(item.get("explanation"))
                if code == "signingCredential.trusted":
                    self.failure.pop("signingCredential.untrusted", None)
                if code == "signingCredential.untrusted":
                    self.success.pop("signingCredential.trusted", None)


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    yield from (v for v in value if isinstance(v, dict)) if isinstance(value, list) else ()


def codes_of(crjson: Mapping[str, Any]) -> dict[str, Codes]:
    """All validation codes by manifest label.

    An ingredient carries the results of the day it was added; the library reports only what differs
    today (``ingredientDeltas``). Both together are today's verdict.
    """
    table: defaultdict[str, Codes] = defaultdict(Codes)
    manifests = list(_dicts(crjson.get("manifests")))
    for manifest in manifests:
        for _, assertion in _ingredients(manifest):
            recorded = assertion.get("validationResults") or {}
            _file(table, (recorded.get("activeManifest") or {}) if isinstance(recorded, dict) else {})
            _file(table, {"failure": assertion.get("validationStatus")})
    for manifest in manifests:
        _file(table, manifest.get("validationResults") or {}, text(manifest.get("label")))
        for delta in _dicts(manifest.get("ingredientDeltas")):
            _file(table, delta.get("validationDeltas") or {})
    return dict(table)


def _file(table: defaultdict[str, Codes], results: Mapping[str, Any], default: str = "") -> None:
    """Sort results under the manifest that each code's URL names."""
    for kind in ("success", "informational", "failure"):
        for item in _dicts(results.get(kind)):
            match = _LABEL_IN_URL.search(text(item.get("url")))
            table[match[1] if match else default].add({kind: [item]})


def _ingredients(manifest: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    assertions = manifest.get("assertions")
    for label, value in assertions.items() if isinstance(assertions, dict) else ():
        if label.startswith("c2pa.ingredient") and isinstance(value, dict):
            yield label, value


def _certificate(info: Any) -> dict[str, Any]:
    return info if isinstance(info, dict) else {}


def subject_of(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Subject attributes of the leaf certificate, for example ``{"CN": ..., "O": ...}``."""
    info = _certificate(_certificate(manifest.get("signature")).get("certificateInfo"))
    return {k: text(v) for k, v in _certificate(info.get("subject")).items()}


def anchor_of(codes: Codes) -> str | None:
    """URN of the anchor list that the signer's chain ended in, or None."""
    match = _FOUND_IN.search(codes.success.get("signingCredential.trusted", ""))
    return match[1] if match else None


def _list_of(codes: Codes) -> SignerTrust:
    """The list that vouches for a signer.

    An ingredient found trusted on the day it was added, and today still (no delta), carries no
    explanation of which list; the official one is then meant.
    """
    explanation = codes.success.get("signingCredential.trusted")
    if explanation is None:
        return "unknown"
    anchor = anchor_of(codes)
    return "user" if anchor == USER else "official" if anchor == OFFICIAL or not explanation else "unknown"


def time_of(codes: Codes) -> TimeTrust:
    """Whether the time stamp can be believed.

    For version 1 claims the library accepts any time-stamping authority ("legacy"): that is a stamp,
    not a trusted one.
    """
    if "legacy" not in codes.success.get("timeStamp.trusted", "legacy"):
        return "trusted"
    return "untrusted" if "timeStamp.validated" in codes.success else "none"


def signer_of(manifest: Mapping[str, Any], codes: Codes) -> Signer:
    """The signer as far as the library knows it; provider, expiry and denial are judged later."""
    info = _certificate(_certificate(manifest.get("signature")).get("certificateInfo"))
    subject, issuer = subject_of(manifest), _certificate(info.get("issuer"))
    validity = _certificate(info.get("validity"))
    return Signer(
        name=subject.get("CN", ""),
        organisation=subject.get("O", ""),
        issuer=", ".join(text(issuer[k]) for k in ("CN", "O") if k in issuer),
        serial=text(info.get("serialNumber")),
        not_before=text(validity.get("notBefore")),
        not_after=text(validity.get("notAfter")),
        trust=_list_of(codes),
        revoked="signingCredential.ocsp.revoked" in {**codes.failure, **codes.info},
    )


def _generator(manifest: Mapping[str, Any]) -> str:
    """Version 1 claims have a user agent string, version 2 claims a name and a version."""
    claim = _certificate(manifest.get("claim.v2") or manifest.get("claim"))
    if agent := text(claim.get("claim_generator")):
        return agent
    info = claim.get("claim_generator_info")
    first = next(_dicts(info), None) if isinstance(info, list) else info
    if isinstance(first, dict) and text(first.get("name")):
        version = text(first.get("version"))
        return text(first["name"]) + (f"/{version}" if version else "")
    return ""


def _agent(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(t for t in (text(value.get("name")), text(value.get("version"))) if t)
    return text(value)


def _action(raw: Mapping[str, Any]) -> Action:
    return Action(
        name=text(raw.get("action")),
        source_type=text(raw.get("digitalSourceType")),
        agent=_agent(raw.get("softwareAgent")),
        when=text(raw.get("when")),
        description=text(raw.get("description")),
    )


def _ingredient(raw: Mapping[str, Any]) -> Ingredient:
    link = raw.get("activeManifest") or raw.get("c2pa_manifest")
    match = _LABEL_IN_URL.search(text(_certificate(link).get("url")))
    return Ingredient(text(raw.get("relationship")), text(raw.get("dc:title")), match[1] if match else None)


def _assertion(manifest: Mapping[str, Any], name: str) -> Iterator[dict[str, Any]]:
    table = manifest.get("assertions")
    for label, value in table.items() if isinstance(table, dict) else ():
        if label.split("__")[0] == name and isinstance(value, dict):
            yield value


def _model(manifest: Mapping[str, Any], actions: tuple[Action, ...]) -> str:
    for disclosure in _assertion(manifest, AI_DISCLOSURE):
        if name := text(disclosure.get("modelName")):
            return name
    return next((a.agent for a in actions if a.agent and a.source_type), "")


def _soft_bindings(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for binding in _assertion(manifest, "c2pa.soft-binding"):
        for block in _dicts(binding.get("blocks")):
            yield text(binding.get("alg")), text(block.get("value"))


def _metadata_source_type(manifest: Mapping[str, Any]) -> Iterator[Action]:
    """Digital source type in an IPTC metadata assertion, as some cameras and tools write it."""
    for name in ("stds.iptc", "stds.iptc.photo-metadata", "cawg.metadata", "c2pa.metadata"):
        for value in _assertion(manifest, name):
            for key in ("Iptc4xmpExt:DigitalSourceType", "iptcExt:DigitalSourceType"):
                if uri := text(value.get(key)):
                    yield Action("c2pa.created", uri, description=f"from {name}")


def node_of(manifest: Mapping[str, Any], codes: Codes) -> ManifestNode:
    """One manifest with today's validation codes."""
    actions = tuple(_action(a) for a in actions_of(manifest)) + tuple(_metadata_source_type(manifest))
    stamp = _certificate(_certificate(manifest.get("signature")).get("timeStampInfo"))
    return ManifestNode(
        label=text(manifest.get("label")),
        generator=_generator(manifest),
        claim_version=2 if "claim.v2" in manifest else 1,
        signer=signer_of(manifest, codes),
        time=time_of(codes),
        signed_at=text(stamp.get("timestamp")),
        actions=actions,
        ingredients=tuple(_ingredient(i) for _, i in _ingredients(manifest)),
        signals=signals(manifest),
        model=_model(manifest, actions),
        soft_bindings=tuple(_soft_bindings(manifest)),
        failures=tuple(sorted(codes.failure)),
        vouched=False,
    )
