"""Signing keys: a local certificate authority made in one call, PEM files, or a callback (HSM, KMS)."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import NameOID

from countermark.provenance.errors import MissingPart, UsageError
from countermark.provenance.home import atomic_write, home
from countermark.provenance.manifest.trust import fingerprint, parse_pem, to_pem
from countermark.provenance.manifest.vocabulary import EKU_OIDS

__all__ = ["Signing", "init_keys", "local_signing", "signing_from_callback", "signing_from_pem"]

# A leaf that outlives the picture's first year: without a time stamp its end would turn every file
# signed with it into an unproven one. The official profile's 366 days bind public authorities only.
_CA_DAYS, _LEAF_DAYS = 7305, 3652
_CURVES: dict[str, tuple[str, hashes.HashAlgorithm]] = {
    "secp256r1": ("es256", hashes.SHA256()),
    "secp384r1": ("es384", hashes.SHA384()),
    "secp521r1": ("es512", hashes.SHA512()),
}


@dataclass(frozen=True, slots=True)
class Signing:
    """Everything needed to sign a claim.

    Attributes:
        algorithm: COSE algorithm name, for example ``"es256"``.
        chain: PEM certificates, leaf first.
        sign: bytes to signature; raw or DER for ECDSA.
        source: where it came from, for messages; never the key itself.
        key_pem: the private key as unencrypted PKCS#8 PEM where this process holds it; the manifest is
            then 9 kB smaller than with a callback, for which the library reserves room.
        tsa_url: RFC 3161 time-stamping service, or None.
        tsa_required: fail instead of signing without a time stamp when the service does not answer.
    """

    algorithm: str
    chain: str
    sign: Callable[[bytes], bytes]
    source: str
    tsa_url: str | None = None
    tsa_required: bool = False
    key_pem: bytes | None = field(default=None, repr=False)

    @property
    def leaf(self) -> x509.Certificate:
        """The signing certificate."""
        return x509.load_pem_x509_certificates(self.chain.encode())[0]


def _name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, common),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Countermark local authority"),
        ]
    )


def _builder(subject: x509.Name, issuer: x509.Name, key: Any, days: int, now: dt.datetime) -> Any:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), False)
    )


def _usage(ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _authority(now: dt.datetime) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"Countermark local root {x509.random_serial_number() % 16**6:06x}")
    certificate = (
        _builder(name, name, key.public_key(), _CA_DAYS, now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .add_extension(_usage(ca=True), True)
        .sign(key, hashes.SHA256())
    )
    return key, certificate


def _leaf(
    ca_key: ec.EllipticCurvePrivateKey, ca: x509.Certificate, common: str, now: dt.datetime
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """A claim signing certificate (C2PA 2.2, 14.5.1); emailProtection is what default readers accept."""
    key = ec.generate_private_key(ec.SECP256R1())
    usages = x509.ExtendedKeyUsage([x509.ObjectIdentifier(oid) for oid in (EKU_OIDS[0], EKU_OIDS[-1])])
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    certificate = (
        _builder(_name(common), ca.subject, key.public_key(), _LEAF_DAYS, now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        .add_extension(_usage(ca=False), True)
        .add_extension(usages, False)
        .add_extension(issuer_id, False)
        .sign(ca_key, hashes.SHA256())
    )
    return key, certificate


def _pem(key: Any) -> bytes:
    pem: bytes = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem


def key_folder() -> Path:
    """Folder of the local keys."""
    return home() / "keys"


def init_keys(name: str = "Countermark local signer") -> tuple[bool, Path, str]:
    """Make the local certificate authority and signing key, unless they exist.

    Files: ``ca.pem`` and ``chain.pem`` (public), ``ca.key`` and ``signing.key`` (owner only).

    Args:
        name: common name of the signing certificate; it is visible in every stamped file.

    Returns:
        ``(made, folder, fingerprint of the authority)``; ``made`` is False when they were there.

    Raises:
        UsageError: the folder holds only part of the files.
    """
    folder = key_folder()
    expected = ("ca.pem", "chain.pem", "ca.key", "signing.key")
    present = [f for f in expected if (folder / f).exists()]
    if len(present) == len(expected):
        return False, folder, fingerprint(parse_pem((folder / "ca.pem").read_bytes(), "ca.pem")[0])
    if present:
        missing = ", ".join(f for f in expected if f not in present)
        raise UsageError(
            f"{folder} holds {', '.join(present)} but not {missing}. "
            "Restore the missing files from a backup, or move the folder away and run `countermark keys init` again."
        )
    folder.mkdir(parents=True, exist_ok=True)
    os.chmod(folder, 0o700)
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    ca_key, ca = _authority(now)
    key, leaf = _leaf(ca_key, ca, name, now)
    atomic_write(folder / "ca.key", _pem(ca_key), 0o600)
    atomic_write(folder / "signing.key", _pem(key), 0o600)
    atomic_write(folder / "chain.pem", to_pem([leaf, ca]).encode(), 0o644)
    atomic_write(folder / "ca.pem", to_pem([ca]).encode(), 0o644)
    return True, folder, fingerprint(ca)


def local_signing() -> Signing:
    """The key that `init_keys` made.

    Raises:
        MissingPart: there is none yet.
    """
    folder = key_folder()
    if not (folder / "signing.key").is_file():
        raise MissingPart(
            f"No signing key in {folder}. Make one with `countermark keys init`, or name your own with "
            "--cert and --key."
        )
    return signing_from_pem(folder / "chain.pem", folder / "signing.key")


def signing_from_pem(
    chain: Path,
    key: Path,
    password: str | None = None,
    tsa_url: str | None = None,
    tsa_required: bool = False,
) -> Signing:
    """Signing with a certificate chain and a private key in PEM files.

    Args:
        chain: certificates, leaf first, root optional.
        key: private key: EC P-256, P-384, P-521, Ed25519 or RSA of at least 2048 bits.
        password: of an encrypted key.
        tsa_url, tsa_required: see `Signing`.

    Raises:
        UsageError: a file is missing or damaged, or key and certificate do not belong together.
    """
    try:
        chain_pem, key_pem = Path(chain).read_bytes(), Path(key).read_bytes()
    except OSError as exc:
        raise UsageError(f"{exc.filename}: {exc.strerror}. Name a PEM chain and a PEM key.") from exc
    certificates = parse_pem(chain_pem, str(chain))
    try:
        private = serialization.load_pem_private_key(key_pem, password.encode() if password else None)
    except (ValueError, TypeError) as exc:
        raise UsageError(f"{key}: the private key cannot be read; is it PEM, and the password right?") from exc
    algorithm, sign = _signer_of(private, str(key))
    if private.public_key() != certificates[0].public_key():
        raise UsageError(
            f"{key} is not the key of the first certificate in {chain}. The leaf certificate must come first."
        )
    return Signing(algorithm, to_pem(certificates), sign, str(chain), tsa_url, tsa_required, _pem(private))


def _signer_of(key: Any, what: str) -> tuple[str, Callable[[bytes], bytes]]:
    """COSE algorithm and signing function of a private key (C2PA 2.2, 13.2.1)."""
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        name, digest = _CURVES[key.curve.name]
        return name, lambda data: key.sign(data, ec.ECDSA(digest))
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519", key.sign
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048:
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
        return "ps256", lambda data: key.sign(data, pss, hashes.SHA256())
    raise UsageError(f"{what}: C2PA allows EC P-256, P-384 and P-521, Ed25519 and RSA from 2048 bits; this is another.")


def signing_from_callback(
    sign: Callable[[bytes], bytes],
    algorithm: str,
    chain: str,
    tsa_url: str | None = None,
    tsa_required: bool = False,
) -> Signing:
    """Signing where the key never enters this process, for example an HSM or a cloud KMS.

    Args:
        sign: bytes to signature. An exception in it ends the stamping with that message.
        algorithm: ``es256``, ``es384``, ``es512``, ``ps256``, ``ps384``, ``ps512`` or ``ed25519``.
        chain: PEM certificates, leaf first.
        tsa_url, tsa_required: see `Signing`.

    Raises:
        UsageError: unknown algorithm or unreadable chain.
    """
    allowed = ("es256", "es384", "es512", "ps256", "ps384", "ps512", "ed25519")
    if algorithm.lower() not in allowed:
        raise UsageError(f"Unknown signature algorithm {algorithm!r}. Allowed: {', '.join(allowed)}.")
    parse_pem(chain.encode(), "certificate chain")
    return Signing(algorithm.lower(), chain, sign, "callback", tsa_url, tsa_required)
