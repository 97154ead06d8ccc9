"""Whom to believe: the official list, pinned providers, the user's own anchors, and the deny list.

Works offline on day one. Files under ``<home>/trust`` override or extend the bundled snapshot:
``official-signers.pem``, ``official-tsa.pem``, ``products.json`` and every ``user/*.pem``.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from countermark.provenance.errors import UsageError
from countermark.provenance.home import atomic_write, home
from countermark.provenance.manifest.vocabulary import EKU_OIDS

__all__ = ["Deny", "Provider", "TrustStore", "add_anchor", "default_trust", "fingerprint", "parse_pem"]

BUNDLED_DATE = "2026-11-21"
_LISTS = {"signers": "official-signers.pem", "tsa": "official-tsa.pem", "products": "products.json"}


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the DER encoding, lower-case hex."""
    return certificate.fingerprint(hashes.SHA256()).hex()


@dataclass(frozen=True, slots=True)
class Provider:
    """A generator's issuing CA, pinned by fingerprint, with what its leaf certificate must say.

    Attributes:
        id, name: short and readable name.
        ca_sha256: SHA-256 of the issuing certificate.
        leaf: subject attribute (``"O"`` or ``"CN"``) to the values allowed.
    """

    id: str
    name: str
    ca_sha256: str
    leaf: Mapping[str, tuple[str, ...]]

    def admits(self, subject: Mapping[str, str]) -> bool:
        """Whether a leaf subject satisfies the entry."""
        return all(subject.get(key) in values for key, values in self.leaf.items())


@dataclass(frozen=True, slots=True)
class Deny:
    """Signatures that are not believed: subject, generator pattern and span of signing time."""

    id: str
    match: Mapping[str, tuple[str, ...]]
    generator: str
    until: str | None
    since: str | None
    reason: str

    def hits(self, subject: Mapping[str, str], generator: str, signed_on: str | None) -> bool:
        """Whether a signature falls under this entry; an unknown signing date does."""
        day = (signed_on or "")[:10]
        return (
            all(subject.get(key) in values for key, values in self.match.items())
            and re.search(self.generator, generator) is not None
            and not (day and self.since and day < self.since)
            and not (day and self.until and day > self.until)
        )


@dataclass(frozen=True)
class TrustStore:
    """Everything that decides who is believed.

    Attributes:
        official: PEM of the claim signer list.
        tsa: PEM of the time-stamping list; never used for claim signers.
        user: PEM of the user's own anchors, the local CA included.
        providers: pinned generator CAs.
        tsa_pins: SHA-256 of public time-stamping CAs that generators use and the list lacks.
        denied: entries of the deny list.
        products: records of the conforming products list, where one was loaded.
        eku_oids: accepted extended key usages.
        date: date of the official list.
    """

    official: str = ""
    tsa: str = ""
    user: str = ""
    providers: tuple[Provider, ...] = ()
    tsa_pins: frozenset[str] = frozenset()
    denied: tuple[Deny, ...] = ()
    products: tuple[Mapping[str, Any], ...] = ()
    eku_oids: tuple[str, ...] = EKU_OIDS
    date: str = BUNDLED_DATE

    @cached_property
    def version(self) -> str:
        """Short hash over everything in the store, for the record."""
        pinned = (self.providers, sorted(self.tsa_pins), self.denied, self.eku_oids)
        parts = (self.official, self.tsa, self.user, repr(pinned))
        return f"{self.date}+{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:12]}"

    @cached_property
    def pins(self) -> dict[str, tuple[Provider, ...]]:
        """Issuing CA fingerprint to the providers that use it."""
        table: dict[str, tuple[Provider, ...]] = {}
        for provider in self.providers:
            table[provider.ca_sha256] = (*table.get(provider.ca_sha256, ()), provider)
        return table

    def disallowed_signals(self, subject: Mapping[str, str]) -> frozenset[str]:
        """Signals that the conforming products list forbids the signer's product to claim."""
        found: set[str] = set()
        for record in self.products:
            product = record.get("product") or {}
            name = product.get("DN") or {}
            if name.get("CN") == subject.get("CN") and name.get("O") == subject.get("O"):
                for signals in (product.get("disallowedSignals") or {}).values():
                    found.update(signals)
        return frozenset(found)


def parse_pem(data: bytes, what: str) -> list[x509.Certificate]:
    """Certificates of a PEM file.

    Raises:
        UsageError: there is none, or one is damaged.
    """
    try:
        certificates = x509.load_pem_x509_certificates(data)
    except ValueError as exc:
        raise UsageError(
            f"{what}: no readable PEM certificate ({exc}). Expected text with '-----BEGIN CERTIFICATE-----'."
        ) from exc
    return certificates


def to_pem(certificates: list[x509.Certificate]) -> str:
    """PEM text of certificates, in order."""
    return "".join(c.public_bytes(serialization.Encoding.PEM).decode("ascii") for c in certificates)


def _bundled(name: str) -> bytes:
    return resources.files("countermark.provenance.manifest").joinpath("data", name).read_bytes()


def _values(table: Mapping[str, list[str]]) -> dict[str, tuple[str, ...]]:
    return {key: tuple(values) for key, values in table.items()}


@lru_cache(maxsize=1)
def _pinned() -> tuple[tuple[Provider, ...], frozenset[str], tuple[Deny, ...]]:
    pinned = json.loads(_bundled("providers.json"))
    providers = pinned["providers"]
    denied = json.loads(_bundled("deny.json"))["denied"]
    return (
        tuple(Provider(p["id"], p["name"], p["ca_sha256"], _values(p["leaf"])) for p in providers),
        frozenset(t["ca_sha256"] for t in pinned["time_stamping"]),
        tuple(Deny(d["id"], _values(d["match"]), d["generator"], d["to"], d["from"], d["reason"]) for d in denied),
    )


def _state_of(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Names, sizes and times of the user's trust files: the key under which the store is cached."""
    files = sorted(p for pattern in ("*.pem", "*.json", "user/*.pem") for p in folder.glob(pattern))
    ca = folder.parent / "keys" / "ca.pem"
    files += [ca] if ca.is_file() else []
    return tuple((str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in files)


def default_trust() -> TrustStore:
    """The bundled lists, with what the user added or updated on this machine."""
    folder = home() / "trust"
    return _load(folder, _state_of(folder))


@lru_cache(maxsize=4)
def _load(folder: Path, state: tuple[tuple[str, int, int], ...]) -> TrustStore:
    def text(name: str) -> str:
        own = folder / name
        return (own.read_bytes() if own.is_file() else _bundled(name)).decode("utf-8", "replace")

    providers, tsa_pins, denied = _pinned()
    anchors = sorted((folder / "user").glob("*.pem"))
    ca = folder.parent / "keys" / "ca.pem"
    user = "\n".join(p.read_text("ascii", "replace") for p in [*anchors, *([ca] if ca.is_file() else [])])
    products = folder / _LISTS["products"]
    date_file = folder / "official-date.json"
    return TrustStore(
        official=text(_LISTS["signers"]),
        tsa=text(_LISTS["tsa"]),
        user=user,
        providers=providers,
        tsa_pins=tsa_pins,
        denied=denied,
        products=tuple(json.loads(products.read_bytes())) if products.is_file() else (),
        date=json.loads(date_file.read_bytes())["date"] if date_file.is_file() else BUNDLED_DATE,
    )


def add_anchor(pem: bytes, name: str) -> list[str]:
    """Trust certificates on this machine from now on, as ``user``; returns their fingerprints.

    Raises:
        UsageError: no readable certificate, or one that is not a certificate authority.
    """
    certificates = parse_pem(pem, name)
    for certificate in certificates:
        try:
            is_ca = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        except x509.ExtensionNotFound:
            is_ca = False
        if not is_ca:
            raise UsageError(
                f"{name}: {certificate.subject.rfc4514_string()} is not a certificate authority. "
                "Add the root or intermediate certificate that issued it."
            )
    folder = home() / "trust" / "user"
    folder.mkdir(parents=True, exist_ok=True)
    prints = [fingerprint(c) for c in certificates]
    atomic_write(folder / f"{prints[0][:16]}.pem", to_pem(certificates).encode())
    return prints


def update_list(kind: str, data: bytes, what: str, today: dt.date | None = None) -> int:
    """Replace the signer, TSA or products list on this machine; returns the number of entries.

    Args:
        kind: ``"signers"``, ``"tsa"`` or ``"products"``.
        data: PEM text, or JSON for the products.
        what: where it came from, for messages.
        today: date to record; default is the current one.

    Raises:
        UsageError: it does not parse. The list in use stays as it was.
    """
    if kind not in _LISTS:
        raise UsageError(f"Unknown list {kind!r}. Allowed: {', '.join(_LISTS)}.")
    if kind == "products":
        entries: list[Any] = _parse_products(data, what)
        data = json.dumps(entries).encode()
    else:
        entries = parse_pem(data, what)
    folder = home() / "trust"
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write(folder / _LISTS[kind], data)
    stamp = {"date": (today or dt.datetime.now(dt.UTC).date()).isoformat(), "source": what}
    atomic_write(folder / "official-date.json", json.dumps(stamp).encode())
    return len(entries)


def _parse_products(data: bytes, what: str) -> list[Any]:
    try:
        records = json.loads(data)
    except ValueError as exc:
        raise UsageError(f"{what}: not JSON ({exc}). Expected the conforming products list.") from exc
    if not isinstance(records, list) or not all(isinstance(r, dict) and "product" in r for r in records):
        raise UsageError(f"{what}: expected a JSON list of records with a 'product' each.")
    return records
