"""Write IPTC 2025.1 and TC260 labels into a file without touching its pixels or its other metadata.

JPEG, PNG and WebP are changed chunk by chunk: ICC profile, EXIF, orientation and all other text stay
byte for byte. Other formats carry the C2PA manifest only.
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree as Tree

from countermark.provenance.errors import MarkError, UnreadableError
from countermark.provenance.metadata.carriers import XMP_JPEG, XMP_PNG_KEY, png_text
from countermark.provenance.metadata.xmp import NAMESPACES, RDF, parse_packet
from countermark.provenance.upload import Upload
from countermark.provenance.upload.chunks import Chunk, jpeg_segments, png_chunks, riff_chunks

__all__ = ["Labels", "can_write", "write_labels"]

_WRITABLE = ("jpeg", "png", "webp")
_IPTC, _TC260 = NAMESPACES["Iptc4xmpExt"], NAMESPACES["TC260"]
_META = "adobe:ns:meta/"
_JPEG_MAX = 65_533 - len(XMP_JPEG)
_PADDING = b" " * 64


@dataclass(frozen=True, slots=True)
class Labels:
    """What to write; empty values are left out.

    Attributes:
        source_type: full URI of the IPTC digital source type.
        system, system_version: the AI system used (IPTC 2025.1).
        prompt, prompt_writer: IPTC 2025.1; private, so empty unless the caller asks for it.
        tc260_producer: content producer code of GB 45438-2025; empty writes no TC260 label.
        tc260_id: id of this content at the producer.
    """

    source_type: str
    system: str = ""
    system_version: str = ""
    prompt: str = ""
    prompt_writer: str = ""
    tc260_producer: str = ""
    tc260_id: str = ""

    def properties(self) -> dict[str, str]:
        """XMP properties by ``{namespace}name``."""
        pairs = {
            f"{{{_IPTC}}}DigitalSourceType": self.source_type,
            f"{{{_IPTC}}}AISystemUsed": self.system,
            f"{{{_IPTC}}}AISystemVersionUsed": self.system_version,
            f"{{{_IPTC}}}AIPromptInformation": self.prompt,
            f"{{{_IPTC}}}AIPromptWriterName": self.prompt_writer,
            f"{{{_TC260}}}AIGC": self.tc260() if self.tc260_producer else "",
        }
        return {name: value for name, value in pairs.items() if value}

    def tc260(self) -> str:
        """The label object of GB 45438-2025, annex E: label 1 is "generated"."""
        return json.dumps(
            {
                "Label": "1",
                "ContentProducer": self.tc260_producer,
                "ProduceID": self.tc260_id,
                "ReservedCode1": "",
                "ContentPropagator": "",
                "PropagateID": "",
                "ReservedCode2": "",
            },
            ensure_ascii=False,
        )


def can_write(upload: Upload) -> bool:
    """Whether labels can be written into this format without re-encoding."""
    return upload.format.name in _WRITABLE


def write_labels(upload: Upload, labels: Labels) -> bytes:
    """The file with the labels merged into its XMP packet.

    Raises:
        MarkError: the format has no writer, or the packet does not fit.
        UnreadableError: the container is damaged.
    """
    writer = {"jpeg": _write_jpeg, "png": _write_png, "webp": _write_webp}.get(upload.format.name)
    if writer is None:
        raise MarkError(
            f"IPTC labels cannot be written into {upload.format.name} without re-encoding it. "
            f"Use {', '.join(_WRITABLE)}, or leave 'metadata' out of --marks."
        )
    if upload.truncated:
        raise UnreadableError(f"{upload.path or 'upload'}: the {upload.format.name} file is cut off.")
    return writer(upload, labels)


def merge(packet: bytes | None, labels: Labels) -> bytes:
    """An XMP packet with the labels set; everything else in it is kept."""
    root = parse_packet(packet) if packet else None
    if packet and root is None:
        raise UnreadableError("The XMP packet in this file is damaged; labels cannot be merged into it.")
    for prefix, uri in {**_declared(packet or b""), **NAMESPACES, "rdf": RDF, "x": _META}.items():
        Tree.register_namespace(prefix, uri)
    if root is None:
        root = Tree.Element(f"{{{_META}}}xmpmeta")
    rdf = root if root.tag == f"{{{RDF}}}RDF" else root.find(f"{{{RDF}}}RDF")
    if rdf is None:
        rdf = Tree.SubElement(root, f"{{{RDF}}}RDF")
    for name in labels.properties():
        _remove(rdf, name)
    target = rdf.find(f"{{{RDF}}}Description")
    if target is None:
        target = Tree.SubElement(rdf, f"{{{RDF}}}Description", {f"{{{RDF}}}about": ""})
    for name, value in labels.properties().items():
        Tree.SubElement(target, name).text = value
    begin = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'.encode()
    body: bytes = Tree.tostring(root, encoding="utf-8")
    return begin + body + _PADDING + b'<?xpacket end="w"?>'


def _declared(packet: bytes) -> dict[str, str]:
    """Namespace prefixes of a packet, so that they keep their names; reserved ``ns0`` style is left out."""
    import re

    found = re.findall(rb"xmlns:([A-Za-z_][\w.-]{0,40})\s*=\s*[\"']([^\"']{1,300})[\"']", packet)
    pairs = {p.decode("ascii", "replace"): u.decode("utf-8", "replace") for p, u in found}
    known = set(NAMESPACES.values()) | {RDF, _META}
    return {p: u for p, u in pairs.items() if u not in known and not re.fullmatch(r"ns\d+|xml.*", p)}


def _remove(rdf: Any, name: str) -> None:
    for description in rdf.iter(f"{{{RDF}}}Description"):
        description.attrib.pop(name, None)
        for child in list(description):
            if child.tag == name:
                description.remove(child)


def _write_jpeg(upload: Upload, labels: Labels) -> bytes:
    data = upload.data
    segments = [s for s in jpeg_segments(data) if s.kind != b"\xda"]
    old = next((s for s in segments if s.kind == b"\xe1" and data.startswith(XMP_JPEG, s.body)), None)
    packet = merge(data[old.body + len(XMP_JPEG) : old.stop] if old else None, labels)
    if len(packet) > _JPEG_MAX:
        raise MarkError(
            f"The XMP packet would be {len(packet):,} bytes; a JPEG segment holds {_JPEG_MAX:,}. "
            "Shorten the prompt or leave it out."
        )
    segment = b"\xff\xe1" + struct.pack(">H", 2 + len(XMP_JPEG) + len(packet)) + XMP_JPEG + packet
    if old:
        return data[: old.start] + segment + data[old.end :]
    at = 2
    for s in segments:  # behind JFIF and EXIF, which must come first
        if s.kind in (b"\xe0", b"\xe1") and s.start == at:
            at = s.end
        else:
            break
    return data[:at] + segment + data[at:]


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _is_png_key(data: bytes, chunk: Chunk, key: bytes) -> bool:
    return chunk.kind in (b"tEXt", b"zTXt", b"iTXt") and data.startswith(key + b"\0", chunk.body)


def _write_png(upload: Upload, labels: Labels) -> bytes:
    data = upload.data
    chunks = list(png_chunks(data))
    xmp_key = XMP_PNG_KEY.encode()
    old = [c for c in chunks if _is_png_key(data, c, xmp_key)]
    text = png_text(data, old[0], upload.limits.max_metadata)[1].encode("utf-8") if old else None
    drop = {c.start for c in old}
    new = _png_chunk(b"iTXt", xmp_key + b"\0\0\0\0\0" + merge(text, labels))
    if labels.tc260_producer:
        drop |= {c.start for c in chunks if _is_png_key(data, c, b"AIGC")}
        new += _png_chunk(b"tEXt", b"AIGC\0" + labels.tc260().encode("utf-8"))
    first_data = next((c.start for c in chunks if c.kind == b"IDAT"), None)
    if first_data is None:
        raise UnreadableError(f"{upload.path or 'upload'}: the PNG has no image data.")
    parts = [data[:8]]
    for chunk in chunks:
        if chunk.start == first_data:
            parts.append(new)
        if chunk.start not in drop:
            parts.append(data[chunk.start : chunk.end])
    return b"".join(parts) + data[chunks[-1].end :]


def _write_webp(upload: Upload, labels: Labels) -> bytes:
    """WebP needs the extended header for metadata (WebP container specification, "Extended File Format")."""
    data = upload.data
    chunks = list(riff_chunks(data))
    old = next((c for c in chunks if c.kind == b"XMP "), None)
    packet = merge(data[old.body : old.stop] if old else None, labels)
    body = b"".join(_padded(c, data) for c in chunks if c.kind not in (b"XMP ", b"VP8X"))
    extended = next((data[c.body : c.stop] for c in chunks if c.kind == b"VP8X"), None)
    head = bytearray(extended or _vp8x(upload, chunks))
    head[0] |= 0x04
    new = _riff_chunk(b"VP8X", bytes(head)) + body + _riff_chunk(b"XMP ", packet)
    trailer = data[upload.trailer.offset :] if upload.trailer else b""
    return b"RIFF" + struct.pack("<I", 4 + len(new)) + b"WEBP" + new + trailer


def _riff_chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + (b"\0" if len(body) & 1 else b"")


def _padded(chunk: Chunk, data: bytes) -> bytes:
    return _riff_chunk(chunk.kind, data[chunk.body : chunk.stop])


def _vp8x(upload: Upload, chunks: list[Chunk]) -> bytes:
    header = upload.header
    if header is None:
        raise UnreadableError("The WebP header cannot be read.")
    lossless = next((c for c in chunks if c.kind == b"VP8L"), None)
    alpha = 0x10 if lossless and upload.data[lossless.body + 4] & 0x10 else 0
    size = struct.pack("<I", header.width - 1)[:3] + struct.pack("<I", header.height - 1)[:3]
    return bytes([alpha, 0, 0, 0]) + size
