"""The certificate chains inside a manifest store, which the C2PA library does not hand out.

Used for two things only: to recognise a pinned issuing CA, which is then given to the C2PA library as
an anchor (the library does the verification), and to name the chain of an expired certificate.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs7

from countermark.provenance.upload.chunks import bmff_boxes, jpeg_segments

__all__ = ["SignatureCertificates", "manifest_stores", "signature_certificates"]

_C2PA_UUID = bytes.fromhex("6332706100110010800000aa00389b71")  # C2PA 2.2, 11.1.4.2
_X5CHAIN = 33  # COSE header label, RFC 9360
_MAX_STORE = 64 * 1024 * 1024
_MAX_CERTIFICATES = 16
_SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")  # OID 1.2.840.113549.1.7.2


def manifest_stores(data: bytes) -> list[bytes]:
    """Every C2PA manifest store in a file, as JUMBF super box bytes (ISO/IEC 19566-5).

    JPEG spreads it over APP11 segments; the other carriers hold it in one piece. Stores that are
    compressed or encoded (SVG, some PDF) are not found.
    """
    return _from_jpeg(data) if data[:2] == b"\xff\xd8" else _contiguous(data)


def _from_jpeg(data: bytes) -> list[bytes]:
    """Reassemble APP11 segments: two bytes "JP", instance, sequence number, then the box (19566-5, D.2)."""
    parts: defaultdict[bytes, list[tuple[int, bytes]]] = defaultdict(list)
    for segment in jpeg_segments(data):
        body = data[segment.body : segment.stop]
        if segment.kind == b"\xeb" and body[:2] == b"JP" and len(body) > 16:
            parts[body[2:4]].append((int.from_bytes(body[4:8], "big"), body[8:]))
    stores = []
    for pieces in parts.values():
        pieces.sort(key=lambda piece: piece[0])
        store = pieces[0][1] + b"".join(body[8:] for _, body in pieces[1:])
        if store[12:16] == b"jumd" and store[16:32] == _C2PA_UUID:
            stores.append(store)
    return stores


def _contiguous(data: bytes) -> list[bytes]:
    stores, at = [], 0
    while (at := data.find(b"jumb", at)) >= 0:
        start = at - 4
        size = int.from_bytes(data[max(start, 0) : at], "big")
        if start >= 0 and data[at + 8 : at + 12] == b"jumd" and data[at + 12 : at + 28] == _C2PA_UUID:
            if size <= min(_MAX_STORE, len(data) - start):
                stores.append(data[start : start + size])
            at += max(size - 4, 4)
        else:
            at += 4
    return stores


def _children(box: bytes) -> Iterator[tuple[str, bytes]]:
    """Label and payload of the super boxes directly inside a super box payload."""
    for child in bmff_boxes(box):
        if child.kind != b"jumb":
            continue
        payload = box[child.body : child.stop]
        description = next(bmff_boxes(payload), None)
        if description is not None and description.kind == b"jumd":
            raw = payload[description.body + 17 : description.stop]
            yield raw.split(b"\0", 1)[0].decode("utf-8", "replace"), payload


@dataclass(frozen=True, slots=True)
class SignatureCertificates:
    """Certificates inside one claim signature, as found and not verified.

    Attributes:
        chain: signing chain, leaf first.
        stamp: certificates of the time stamp token, in any order.
    """

    chain: tuple[x509.Certificate, ...]
    stamp: tuple[x509.Certificate, ...]


def signature_certificates(data: bytes) -> dict[str, SignatureCertificates]:
    """Manifest label to the certificates in its claim signature; damaged ones are left out."""
    found: dict[str, SignatureCertificates] = {}
    for store in manifest_stores(data):
        outer = next(bmff_boxes(store), None)
        if outer is None:
            continue
        for label, manifest in _children(store[outer.body : outer.stop]):
            for name, box in _children(manifest):
                if name == "c2pa.signature" and label not in found:
                    found[label] = _certificates(box)
    return {label: c for label, c in found.items() if c.chain}


def _certificates(box: bytes) -> SignatureCertificates:
    """x5chain and time stamp of a COSE_Sign1 structure (C2PA 2.2, 13.2, 14.6 and 15.8)."""
    content = next((c for c in bmff_boxes(box) if c.kind == b"cbor"), None)
    try:
        message: Any = cbor2.loads(box[content.body : content.stop]) if content else None
        fields = message.value if isinstance(message, cbor2.CBORTag) else message
        headers = {**fields[1], **(cbor2.loads(fields[0]) if fields[0] else {})}
        chain = headers.get(_X5CHAIN) or headers.get("x5chain") or []
        ders = [chain] if isinstance(chain, bytes) else list(chain)
        certificates = [x509.load_der_x509_certificate(der) for der in ders[:_MAX_CERTIFICATES]]
        return SignatureCertificates(tuple(certificates), tuple(_stamp_certificates(headers)))
    except Exception:  # hostile CBOR or DER: there is simply no chain to be named
        return SignatureCertificates((), ())


def _stamp_certificates(headers: dict[Any, Any]) -> list[x509.Certificate]:
    """Certificates of the first RFC 3161 token; ``sigTst`` wraps it in a TimeStampResp."""
    container = headers.get("sigTst2") or headers.get("sigTst") or {}
    tokens = container.get("tstTokens") or []
    if not tokens:
        return []
    der: bytes = tokens[0]["val"]
    at = der.find(_SIGNED_DATA)
    if at < 2:
        return []
    for start in range(max(0, at - 6), at):  # the ContentInfo SEQUENCE header before the OID
        if der[start] == 0x30:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # real tokens use BER set order
                    return pkcs7.load_der_pkcs7_certificates(der[start:])[:_MAX_CERTIFICATES]
            except ValueError:
                continue
    return []
