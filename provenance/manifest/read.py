"""Read C2PA credentials and answer each question on its own: intact? signed? by whom? when? saying what?

The library mixes a tampered picture, an expired certificate and an unknown signer in one word
("Invalid"); see https://github.com/contentauth/c2pa-rs/issues/1609. Signer trust is looked up with claim
signer anchors only, because the library accepts a time-stamping root for a signer as well.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from cryptography import x509

from countermark.provenance.evidence import Claim, Evidence, Kind, Strength
from countermark.provenance.manifest.claims import derive
from countermark.provenance.manifest.jumbf import (
    SignatureCertificates,
    manifest_stores,
    signature_certificates,
)
from countermark.provenance.manifest.model import Check, ManifestNode, ManifestReport, Signer
from countermark.provenance.manifest.parse import Codes, anchor_of, codes_of, node_of, subject_of, text, time_of
from countermark.provenance.manifest.sdk import OFFICIAL, TSA, USER, Anchors, context, read_store
from countermark.provenance.manifest.trust import Provider, TrustStore, default_trust, fingerprint, to_pem
from countermark.provenance.upload import Upload

__all__ = ["ManifestExaminer", "read_manifest"]

_PROVIDER = "urn:countermark:provider:"
# Failures that concern who signed or when, not whether the content is intact.
_IDENTITY = ("signingCredential.", "timeStamp.", "timeOfSigning.", "cawg.")
_EXPLAINS_INVALID = ("signingCredential.expired", "signingCredential.invalid", "signingCredential.ocsp.revoked")


def read_manifest(
    upload: Upload,
    trust: TrustStore | None = None,
    *,
    store: bytes | None = None,
    now: dt.datetime | None = None,
) -> ManifestReport:
    """The C2PA credentials of an upload. Never raises for what the file contains, never uses the network.

    Args:
        upload: the file.
        trust: whom to believe; default is `default_trust`.
        store: a detached manifest store (sidecar or registry) to check the file against.
        now: time at which certificates are judged; default is the current time.
    """
    return _Reading(upload, trust or default_trust(), store, now or dt.datetime.now(dt.UTC)).report()


@dataclass
class _Reading:
    """One reading: the library is asked again only where its first answer leaves something open."""

    upload: Upload
    trust: TrustStore
    store: bytes | None
    now: dt.datetime

    def ask(self, anchors: Anchors, timestamp_trust: bool = True) -> tuple[Any, Any, str]:
        ctx = context(anchors, self.trust.eku_oids, timestamp_trust)
        return read_store(self.upload.data, self.upload.media_type, ctx, self.store)

    @cached_property
    def signer_anchors(self) -> Anchors:
        return ((OFFICIAL, self.trust.official), (USER, self.trust.user))

    def report(self) -> ManifestReport:
        presence, table, note = self.ask(self.signer_anchors)
        version = self.trust.version
        if table is None:
            return ManifestReport(presence, note=note, trust_version=version)
        codes = codes_of(table)
        active = _active(table)
        integrity = _integrity(table["state"], codes, active)
        signature: Check = "ok" if "claimSignature.validated" in _of(codes, active).success else "failed"
        nodes = self.nodes(table, codes)
        derived = derive(nodes, active)
        report = ManifestReport(
            presence="embedded" if self.store is None else "detached",
            integrity=integrity,
            signature=signature,
            state=table["state"],
            claim=derived.claim,
            claim_signed=bool(derived.path) and all(nodes[label].vouched for label in derived.path),
            claim_path=derived.path,
            active=active,
            nodes=nodes,
            trust_version=version,
        )
        return replace(report, disallowed=self.disallowed(table, report))

    def nodes(self, table: Mapping[str, Any], codes: Mapping[str, Codes]) -> dict[str, ManifestNode]:
        """All manifests with signer, time and vouching settled."""
        inside = self.certificates(codes)
        provided, stamped = self.provided(codes, inside), self.stamped(codes)
        nodes = {}
        for manifest in (m for m in table.get("manifests", []) if isinstance(m, dict)):
            label = text(manifest.get("label"))
            own, at_signing = _of(codes, label), _of(provided, label)
            node = node_of(manifest, own)
            certificates = inside.get(label, SignatureCertificates((), ()))
            if time_of(_of(stamped, label)) == "trusted" or self.pinned_stamp(node, certificates.stamp):
                node = replace(node, time="trusted")
            signer = self.settle(node, manifest, at_signing, certificates.chain)
            good = not [f for f in node.failures if not f.startswith(_IDENTITY)]
            proven = "claimSignature.validated" in {**own.success, **at_signing.success}
            nodes[label] = replace(node, signer=signer, vouched=good and proven and signer.believed)
        return nodes

    def settle(
        self,
        node: ManifestNode,
        manifest: Mapping[str, Any],
        at_signing: Codes,
        chain: tuple[x509.Certificate, ...],
    ) -> Signer:
        """Which list vouches for the signer, whether it had expired, and whether it is denied."""
        signer, subject = node.signer, subject_of(manifest)
        if signer.trust == "unknown":
            signer = self.vouch(signer, subject, anchor_of(at_signing))
        # A trusted stamp moves the judgement to the moment of signing, which may itself be too late.
        stamped = node.time == "trusted" and node.signed_at
        expired = _is_past(signer.not_after, _moment(node.signed_at) if stamped else self.now)
        if expired and signer.trust == "unknown" and (provider := self.named_provider(signer, subject, chain)):
            signer = replace(signer, trust="provider", provider=provider.id)
        denied = next(
            (d.reason for d in self.trust.denied if d.hits(subject, node.generator, node.signed_at or None)), None
        )
        return replace(signer, expired=expired, denied=denied)

    def vouch(self, signer: Signer, subject: Mapping[str, str], anchor: str | None) -> Signer:
        """The signer with the trust that an anchor list gives it."""
        if anchor == OFFICIAL:
            return replace(signer, trust="official")
        if anchor == USER:
            return replace(signer, trust="user")
        if anchor and anchor.startswith(_PROVIDER):
            for provider in self.trust.pins.get(anchor.removeprefix(_PROVIDER), ()):
                if provider.admits(subject):
                    return replace(signer, trust="provider", provider=provider.id)
        return signer

    def certificates(self, codes: Mapping[str, Codes]) -> dict[str, SignatureCertificates]:
        """Certificates inside the store, fetched only where the library left a question open.

        A file with more than one store is left alone: which of them the library read cannot be told.
        """
        open_question = any(
            "signingCredential.untrusted" in c.failure or time_of(c) == "untrusted" for c in codes.values()
        )
        if not open_question or self.store is not None or len(manifest_stores(self.upload.data)) != 1:
            return {}
        return signature_certificates(self.upload.data)

    def provided(self, codes: Mapping[str, Codes], inside: Mapping[str, SignatureCertificates]) -> dict[str, Codes]:
        """The library's answer with the pinned CAs found in the store as anchors, at signing time.

        The library verifies the chain; a fingerprint only says which certificate may be an anchor.
        """
        candidates = {fingerprint(c): c for found in inside.values() for c in found.chain}
        pinned = {h: c for h, c in candidates.items() if h in self.trust.pins}
        expired = any("signingCredential.expired" in c.failure for c in codes.values())
        if not pinned and not expired:
            return {}
        anchors = self.signer_anchors + tuple((_PROVIDER + h, to_pem([c])) for h, c in sorted(pinned.items()))
        _, table, _ = self.ask(anchors, timestamp_trust=False)
        return codes_of(table) if table else {}

    def pinned_stamp(self, node: ManifestNode, certificates: tuple[x509.Certificate, ...]) -> bool:
        """Whether the time stamp, which the library found good, is by a pinned time-stamping CA.

        Needed for version 1 claims, where the library takes any authority, and for public authorities
        that are not on the C2PA list.
        """
        if node.time == "none" or not self.trust.tsa_pins:
            return False
        pinned = [c for c in certificates if fingerprint(c) in self.trust.tsa_pins]
        leaves = [c for c in certificates if not _is_ca(c)]
        roots = [c for c in certificates if any(_issued(ca, c) for ca in pinned)]
        # Nothing else may lie in the token, or the one that really signed could hide among them.
        strangers = [c for c in certificates if c not in leaves and c not in pinned and c not in roots]
        return len(leaves) == 1 and not strangers and any(_issued(leaves[0], ca) for ca in pinned)

    def stamped(self, codes: Mapping[str, Codes]) -> dict[str, Codes]:
        """The library's answer about time stamps with the time-stamping list as anchors, and only that."""
        open_question = any("timeStamp.untrusted" in {**c.info, **c.failure} for c in codes.values())
        if not open_question or not self.trust.tsa:
            return {}
        _, table, _ = self.ask(((TSA, self.trust.tsa),))
        return codes_of(table) if table else {}

    def named_provider(
        self, signer: Signer, subject: Mapping[str, str], chain: tuple[x509.Certificate, ...]
    ) -> Provider | None:
        """Name the provider of an expired certificate, which the library no longer chains.

        A name only: the caller sets ``expired`` as well, and then `Signer.believed` is false.
        """
        if len(chain) < 2:
            return None
        same = f"{chain[0].serial_number:x}" == signer.serial.lstrip("0").lower()
        if not same or not _issued(chain[0], chain[1]):
            return None
        return next((p for p in self.trust.pins.get(fingerprint(chain[1]), ()) if p.admits(subject)), None)

    def disallowed(self, table: Mapping[str, Any], report: ManifestReport) -> tuple[str, ...]:
        """Signals of the active manifest that its product may not make (conforming products list)."""
        node = report.active_node
        if node is None or not self.trust.products:
            return ()
        manifest: dict[str, Any] = next((m for m in table["manifests"] if m.get("label") == report.active), {})
        forbidden = self.trust.disallowed_signals(subject_of(manifest))
        claimed = {s.rpartition("_")[2] for s in node.signals}
        return tuple(sorted(forbidden & claimed))


def _of(codes: Mapping[str, Codes], label: str) -> Codes:
    return codes.get(label) or Codes()


def _active(table: Mapping[str, Any]) -> str:
    """crJSON lists the active manifest first."""
    manifests = table.get("manifests") or [{}]
    return str(manifests[0].get("label", ""))


def _integrity(state: str, codes: Mapping[str, Codes], active: str) -> Check:
    """``ok`` unless something other than the signer's identity failed."""
    failures = _of(codes, active).failure
    if [f for f in failures if not f.startswith(_IDENTITY)]:
        return "failed"
    if state == "Invalid" and not any(f in _EXPLAINS_INVALID for f in failures):
        return "failed"
    return "ok"


def _moment(text_: str) -> dt.datetime:
    """A time from a file; one that cannot be read lies at the end of time, after every validity."""
    try:
        moment = dt.datetime.fromisoformat(text_)
    except ValueError:
        return dt.datetime.max.replace(tzinfo=dt.UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def _is_past(end: str, now: dt.datetime) -> bool:
    """Whether a validity had ended; an end that cannot be read counts as passed."""
    if not end:
        return False
    try:
        moment = dt.datetime.fromisoformat(end)
    except ValueError:
        return True
    return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)) < now


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return bool(certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except (x509.ExtensionNotFound, ValueError):
        return False


def _issued(leaf: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(issuer)
    except Exception:  # wrong name, wrong signature, unknown algorithm: not issued by it
        return False
    return True


class ManifestExaminer:
    """C2PA credentials as evidence."""

    kind = Kind.MANIFEST
    name = "c2pa"

    def __init__(self, trust: TrustStore | None = None) -> None:
        self.trust = trust

    def __call__(self, upload: Upload) -> Evidence:
        report = read_manifest(upload, self.trust)
        return evidence_of(report)


def evidence_of(report: ManifestReport) -> Evidence:
    """Evidence of a manifest report: a broken or remote one is found, but claims nothing."""
    if report.presence == "unreadable":
        error = f"the container cannot be parsed for credentials: {report.note}"
        return Evidence(Kind.MANIFEST, "c2pa", error=error, version=report.trust_version)
    found = report.presence != "absent"
    readable = report.presence in ("embedded", "detached") and report.integrity == report.signature == "ok"
    strength = None
    if found:
        strength = Strength.SIGNED if report.trusted and report.claim_signed else Strength.DECLARED
    return Evidence(
        Kind.MANIFEST,
        "c2pa",
        found=found,
        claim=report.claim if readable else Claim.NONE,
        strength=strength,
        detail=report.to_dict() if found else {"presence": "absent", "note": report.note},
        version=report.trust_version,
    )
