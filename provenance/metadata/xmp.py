"""XMP packets: every property, attribute or element form, as ``prefix:name`` and text (ISO 16684-1)."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any

__all__ = ["NAMESPACES", "xmp_fields"]

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
NAMESPACES = {
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "TC260": "http://www.tc260.org.cn/ns/AIGC/1.0/",
    "dc": "http://purl.org/dc/elements/1.1/",
    "dcterms": "http://purl.org/dc/terms/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "tiff": "http://ns.adobe.com/tiff/1.0/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "xmpMM": "http://ns.adobe.com/xap/1.0/mm/",
    "xmpRights": "http://ns.adobe.com/xap/1.0/rights/",
}
_PREFIXES = {uri: prefix for prefix, uri in NAMESPACES.items()}
_MAX_PACKET = 16 * 1024 * 1024
# For packets that are not well-formed XML: the two properties that must not be missed.
_RESCUE = {
    "Iptc4xmpExt:DigitalSourceType": re.compile(r"DigitalSourceType(?:\s*=\s*[\"']|[^>]{0,200}>)\s*([^\"'<\s]{1,300})"),
    "TC260:AIGC": re.compile(r"TC260:AIGC(?:\s*=\s*[\"']|\s*>)([^<]{1,8000})"),
}


def xmp_fields(packet: bytes) -> Iterator[tuple[str, str]]:
    """Properties of a packet; names get the usual prefix whatever the file calls it."""
    if len(packet) > _MAX_PACKET:
        raise ValueError(f"XMP packet of {len(packet):,} bytes is larger than {_MAX_PACKET:,}")
    root = parse_packet(packet)
    if root is None:
        yield from _rescued(packet)
        return
    for description in root.iter(f"{{{RDF}}}Description"):
        yield from _properties(description)


def parse_packet(packet: bytes) -> Any:
    """Root element of a packet, or None where it is not well-formed. DTDs and entities are refused."""
    from defusedxml import ElementTree
    from defusedxml.common import DefusedXmlException

    body = packet.strip(b"\0 \t\r\n\xef\xbb\xbf")
    end = max(body.rfind(b"</x:xmpmeta>"), body.rfind(b"</rdf:RDF>"), body.rfind(b"?>"))
    start = body.find(b"<x:xmpmeta")
    for candidate in (body, body[start : end + 12] if start >= 0 else b""):
        try:
            return ElementTree.fromstring(candidate, forbid_dtd=True)
        except (ElementTree.ParseError, DefusedXmlException, ValueError):
            continue
    return None


def name_of(tag: str) -> str:
    """``{namespace}local`` to ``prefix:local`` with the usual prefix, or the bare local name."""
    uri, _, local = tag.rpartition("}")
    prefix = _PREFIXES.get(uri.lstrip("{"))
    return f"{prefix}:{local}" if prefix else local


def _properties(node: Any) -> Iterator[tuple[str, str]]:
    for tag, value in node.attrib.items():
        if not tag.startswith(f"{{{RDF}}}"):
            yield name_of(tag), value
    for child in node:
        if child.tag.startswith(f"{{{RDF}}}"):
            continue
        resource = child.attrib.get(f"{{{RDF}}}resource")
        text = resource if resource is not None else "".join(child.itertext()).strip()
        if text:
            yield name_of(child.tag), text
        for inner in child.iter():
            if inner is not child and not inner.tag.startswith(f"{{{RDF}}}") and (inner.text or "").strip():
                yield name_of(inner.tag), (inner.text or "").strip()


def _rescued(packet: bytes) -> Iterator[tuple[str, str]]:
    text = packet.decode("utf-8", "replace")
    for name, pattern in _RESCUE.items():
        if match := pattern.search(text):
            yield name, html.unescape(match[1])
