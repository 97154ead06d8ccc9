"""What was read from a manifest store, as typed values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from countermark.provenance.evidence import Claim

__all__ = ["Action", "Ingredient", "ManifestNode", "ManifestReport", "Signer"]

Presence = Literal["absent", "embedded", "detached", "remote", "malformed", "unreadable"]
Check = Literal["ok", "failed", "unknown"]
SignerTrust = Literal["official", "provider", "user", "unknown"]
TimeTrust = Literal["trusted", "untrusted", "none"]


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signed.

    Attributes:
        name, organisation: CN and O of the leaf certificate; proof of nothing while trust is unknown.
        issuer: CN and O of the issuing certificate.
        serial: certificate serial number, hex.
        not_before, not_after: ISO 8601.
        trust: the list that vouches for the chain.
        provider: id of the pinned provider, where trust is ``provider``.
        expired: the certificate is out of date and no trusted time stamp says it was valid when used.
        revoked: a stapled OCSP answer says so.
        denied: reason from the deny list, or None.
    """

    name: str = ""
    organisation: str = ""
    issuer: str = ""
    serial: str = ""
    not_before: str = ""
    not_after: str = ""
    trust: SignerTrust = "unknown"
    provider: str | None = None
    expired: bool = False
    revoked: bool = False
    denied: str | None = None

    @property
    def believed(self) -> bool:
        """Whether a signature by this signer counts as proof."""
        return self.trust != "unknown" and not (self.expired or self.revoked or self.denied)


@dataclass(frozen=True, slots=True)
class Action:
    """One entry of the edit history."""

    name: str
    source_type: str = ""
    agent: str = ""
    when: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Ingredient:
    """One file that went into another: relationship is parentOf, componentOf or inputTo."""

    relationship: str
    title: str
    label: str | None


@dataclass(frozen=True, slots=True)
class ManifestNode:
    """One manifest of the store.

    Attributes:
        label: its JUMBF label.
        generator: claim generator, ``name/version``.
        claim_version: 1 or 2.
        signer: who signed it.
        time: whether its time stamp can be believed; ``signed_at`` is what it says.
        actions, ingredients: edit history and inputs.
        signals: rules of the Asset Signals rubric that hold.
        model: model named by its AI action or disclosure.
        soft_bindings: (algorithm, value) pairs.
        failures: validation codes that failed.
        vouched: its signature was checked and its signer is believed.
    """

    label: str
    generator: str
    claim_version: int
    signer: Signer
    time: TimeTrust
    signed_at: str
    actions: tuple[Action, ...]
    ingredients: tuple[Ingredient, ...]
    signals: frozenset[str]
    model: str
    soft_bindings: tuple[tuple[str, str], ...]
    failures: tuple[str, ...]
    vouched: bool

    @property
    def source_types(self) -> tuple[str, ...]:
        """Digital source types of its actions, in order, without repeats."""
        return tuple(dict.fromkeys(a.source_type for a in self.actions if a.source_type))


@dataclass(frozen=True, slots=True)
class ManifestReport:
    """What the C2PA credentials of a file say, each question answered on its own.

    Attributes:
        presence: where the manifest store is; ``remote`` ones are reported, never fetched.
        integrity: the content is what was signed.
        signature: the claim signature is by the certificate it carries.
        state: the library's own word (``Invalid``, ``Valid``, ``Trusted``), for comparison.
        claim: what the whole chain of manifests says about the origin.
        claim_signed: every manifest on the way to that claim is vouched for.
        claim_path: labels from the active manifest to the one that makes the claim.
        active: label of the active manifest.
        nodes: all manifests by label.
        disallowed: signals the signer's product may not make, by the conforming products list.
        note: the library's reason for ``malformed`` and ``unreadable``, the URL for ``remote``.
        trust_version: version of the trust store used.
    """

    presence: Presence
    integrity: Check = "unknown"
    signature: Check = "unknown"
    state: str = ""
    claim: Claim = Claim.NONE
    claim_signed: bool = False
    claim_path: tuple[str, ...] = ()
    active: str = ""
    nodes: Mapping[str, ManifestNode] | None = None
    disallowed: tuple[str, ...] = ()
    note: str = ""
    trust_version: str = ""

    @property
    def active_node(self) -> ManifestNode | None:
        """The manifest that binds to the content, or None."""
        return (self.nodes or {}).get(self.active)

    @property
    def signer(self) -> Signer | None:
        """Signer of the active manifest, or None."""
        return self.active_node.signer if self.active_node else None

    @property
    def claim_node(self) -> ManifestNode | None:
        """The manifest that makes the claim, or None."""
        return (self.nodes or {}).get(self.claim_path[-1]) if self.claim_path else None

    @property
    def trusted(self) -> bool:
        """Content intact, signature good, signer believed, product allowed to say so."""
        good = self.integrity == "ok" and self.signature == "ok" and not self.disallowed
        return good and self.signer is not None and self.signer.believed

    def to_dict(self) -> dict[str, Any]:
        """JSON-serialisable form, as it stands in evidence ``detail``."""
        node, claim_node = self.active_node, self.claim_node
        return {
            "presence": self.presence,
            "integrity": self.integrity,
            "signature": self.signature,
            "signer": asdict(node.signer) if node else None,
            "time": node.time if node else "none",
            "signed_at": node.signed_at if node else "",
            "trusted": self.trusted,
            "validation_state": self.state,
            "claim": self.claim.value,
            "claim_path": list(self.claim_path),
            "generator": node.generator if node else "",
            "claim_generator": claim_node.generator if claim_node else "",
            "model": claim_node.model if claim_node else "",
            "source_types": list(dict.fromkeys(t for n in (self.nodes or {}).values() for t in n.source_types)),
            "signals": sorted(node.signals) if node else [],
            "soft_bindings": [{"alg": a, "value": v} for a, v in node.soft_bindings] if node else [],
            "failures": sorted({f for n in (self.nodes or {}).values() for f in n.failures}),
            "disallowed_signals": list(self.disallowed),
            "manifests": [node_dict(n) for n in (self.nodes or {}).values()],
            "active_manifest": self.active,
            "note": self.note,
            "trust_list": self.trust_version,
        }


def node_dict(node: ManifestNode) -> dict[str, Any]:
    """JSON-serialisable form of one manifest."""
    table = asdict(node)
    table["signals"] = sorted(node.signals)
    table["soft_bindings"] = [list(pair) for pair in node.soft_bindings]
    return table
