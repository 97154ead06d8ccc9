"""Every place in a file where unsigned metadata lives, as a flat list of (carrier, key, value).

Parsing is bounded and never raises: what is damaged is left out and named in `Carriers.problems`.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from countermark.provenance.metadata.exif import exif_fields
from countermark.provenance.metadata.xmp import xmp_fields
from countermark.provenance.upload import Upload
from countermark.provenance.upload.chunks import (
    Chunk,
    bmff_boxes,
    gif_blocks,
    jpeg_segments,
    png_chunks,
    riff_chunks,
)

__all__ = ["Carriers", "Field", "read_carriers"]

XMP_PNG_KEY = "XML:com.adobe.xmp"
XMP_JPEG = b"http://ns.adobe.com/xap/1.0/\0"
XMP_JPEG_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
EXIF_JPEG = b"Exif\0\0"
_IPTC_JPEG = b"Photoshop 3.0\0"
_IPTC_NAMES = {(2, 80): "By-line", (2, 110): "Credit", (2, 115): "Source", (2, 120): "Caption"}
_MAX_FIELDS = 4000
_MAX_TRAILER = 256 * 1024


@dataclass(frozen=True, slots=True)
class Field:
    """One value found in a file.

    Attributes:
        carrier: where: ``png.text``, ``exif``, ``xmp``, ``iptc``, ``comment``, ``container`` or ``trailer``.
        key: its name there, for example ``"parameters"`` or ``"Iptc4xmpExt:DigitalSourceType"``.
        value: text, control characters included.
    """

    carrier: str
    key: str
    value: str


@dataclass(slots=True)
class Carriers:
    """All fields of a file, and what could not be read."""

    fields: list[Field] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add(self, carrier: str, pairs: Iterator[tuple[str, str]]) -> None:
        """Take over key-value pairs of one carrier, up to the bound."""
        try:
            for key, value in pairs:
                if len(self.fields) >= _MAX_FIELDS:
                    self.problems.append(f"more than {_MAX_FIELDS} metadata fields; the rest was not read")
                    return
                self.fields.append(Field(carrier, key, value))
        except Exception as exc:  # damaged metadata must not hide the other carriers
            self.problems.append(f"{carrier}: {type(exc).__name__}: {exc}"[:200])


def read_carriers(upload: Upload) -> Carriers:
    """All unsigned metadata of an upload."""
    found = Carriers()
    reader = _READERS.get(upload.format.name)
    if reader is not None:
        try:
            reader(upload, found)
        except Exception as exc:  # hostile container: keep what was read so far
            found.problems.append(f"{upload.format.name}: {type(exc).__name__}: {exc}"[:200])
    if upload.trailer is not None:
        tail = upload.data[upload.trailer.offset :]
        text = tail[:_MAX_TRAILER] + (tail[-_MAX_TRAILER:] if len(tail) > _MAX_TRAILER else b"")
        found.fields.append(Field("trailer", upload.trailer.looks_like or "bytes", text.decode("latin-1")))
    return found


def _inflate(data: bytes, limit: int) -> bytes:
    decoder = zlib.decompressobj()
    plain = decoder.decompress(data, limit)
    if decoder.unconsumed_tail:
        raise ValueError(f"compressed text is larger than {limit:,} bytes")
    return plain


def png_text(data: bytes, chunk: Chunk, limit: int) -> tuple[str, str]:
    """Keyword and text of a tEXt, zTXt or iTXt chunk (PNG specification, 11.3.3).

    Raises:
        ValueError: damaged or larger than the limit.
    """
    key, _, rest = data[chunk.body : chunk.stop].partition(b"\0")
    name = key.decode("latin-1")
    if chunk.kind == b"tEXt":
        return name, _utf8_or_latin1(rest)
    if chunk.kind == b"zTXt":
        return name, _utf8_or_latin1(_inflate(rest[1:], limit))
    compressed = rest[:1] == b"\1"
    parts = rest[2:].split(b"\0", 2)  # language tag, translated keyword, text
    text = parts[2] if len(parts) == 3 else b""
    return name, (_inflate(text, limit) if compressed else text).decode("utf-8", "replace")


def _utf8_or_latin1(raw: bytes) -> str:
    """PNG says Latin-1; many generators write UTF-8."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _png(upload: Upload, found: Carriers) -> None:
    data, limit = upload.data, upload.limits.max_metadata
    for chunk in png_chunks(data):
        if chunk.kind in (b"tEXt", b"zTXt", b"iTXt"):
            try:
                key, value = png_text(data, chunk, limit)
            except (ValueError, zlib.error) as exc:
                found.problems.append(f"PNG {chunk.kind.decode()}: {exc}")
                continue
            if key == XMP_PNG_KEY:
                found.add("xmp", xmp_fields(value.encode("utf-8", "replace")))
            elif key.startswith("Raw profile type exif"):
                found.add("exif", exif_fields(_raw_profile(value)))
            else:
                found.add("png.text", iter([(key, value)]))
        elif chunk.kind == b"eXIf":
            found.add("exif", exif_fields(data[chunk.body : chunk.stop]))


def _raw_profile(text: str) -> bytes:
    """ImageMagick's hex profile: name, length, then hex digits."""
    digits = "".join(text.split("\n")[3:])
    return bytes.fromhex(re.sub(r"[^0-9a-fA-F]", "", digits)).removeprefix(EXIF_JPEG)


def _jpeg(upload: Upload, found: Carriers) -> None:
    data = upload.data
    extended: dict[bytes, dict[int, bytes]] = {}
    for segment in jpeg_segments(data):
        body = data[segment.body : segment.stop]
        if segment.kind == b"\xe1" and body.startswith(EXIF_JPEG):
            found.add("exif", exif_fields(body[6:]))
        elif segment.kind == b"\xe1" and body.startswith(XMP_JPEG):
            found.add("xmp", xmp_fields(body[len(XMP_JPEG) :]))
        elif segment.kind == b"\xe1" and body.startswith(XMP_JPEG_EXTENSION):
            head = body[len(XMP_JPEG_EXTENSION) :]
            guid, offset = head[:32], int.from_bytes(head[36:40], "big")
            extended.setdefault(guid, {})[offset] = head[40:]
        elif segment.kind == b"\xed" and body.startswith(_IPTC_JPEG):
            found.add("iptc", _iptc_fields(body))
        elif segment.kind == b"\xfe":
            found.add("comment", iter([("COM", _utf8_or_latin1(body))]))
        elif segment.kind == b"\xda":
            break
    for parts in extended.values():
        found.add("xmp", xmp_fields(b"".join(parts[offset] for offset in sorted(parts))))


def _iptc_fields(body: bytes) -> Iterator[tuple[str, str]]:
    """IPTC-IIM datasets inside a Photoshop resource block (IIM 4.2, 1.6)."""
    at = body.find(b"\x1c\x02")
    while at >= 0 and at + 5 <= len(body) and body[at] == 0x1C:
        size = int.from_bytes(body[at + 3 : at + 5], "big")
        name = _IPTC_NAMES.get((body[at + 1], body[at + 2]))
        if name:
            yield name, _utf8_or_latin1(body[at + 5 : at + 5 + size])
        at += 5 + size


def _webp(upload: Upload, found: Carriers) -> None:
    for chunk in riff_chunks(upload.data):
        body = upload.data[chunk.body : chunk.stop]
        if chunk.kind == b"EXIF":
            found.add("exif", exif_fields(body.removeprefix(EXIF_JPEG)))
        elif chunk.kind == b"XMP ":
            found.add("xmp", xmp_fields(body))


def _gif(upload: Upload, found: Carriers) -> None:
    data = upload.data
    for block in gif_blocks(data):
        if block.kind != b"!":
            continue
        label, payload = data[block.start + 1], data[block.body : block.stop]
        if label == 0xFE:
            found.add("comment", iter([("Comment", _utf8_or_latin1(_joined(payload)))]))
        elif label == 0xFF and payload[1:12] == b"XMP DataXMP":
            # the packet stands unblocked, followed by a 258 byte "magic trailer"
            found.add("xmp", xmp_fields(payload[12:-258]))


def _joined(blocks: bytes) -> bytes:
    out, at = [], 0
    while at < len(blocks) and blocks[at]:
        out.append(blocks[at + 1 : at + 1 + blocks[at]])
        at += 1 + blocks[at]
    return b"".join(out)


def _via_decoder(upload: Upload, found: Carriers) -> None:
    """AVIF, HEIC and TIFF: the decoder's header parser hands out the EXIF and XMP items."""
    from countermark.provenance.upload.decode import open_image

    image = open_image(upload.data, upload.format, upload.limits)
    exif, xmp = image.info.get("exif"), image.info.get("xmp")
    if isinstance(exif, bytes):
        found.add("exif", exif_fields(exif.removeprefix(EXIF_JPEG)))
    elif upload.format.name == "tiff":
        found.add("exif", exif_fields(upload.data))
    if isinstance(xmp, bytes | str):
        found.add("xmp", xmp_fields(xmp.encode() if isinstance(xmp, str) else xmp))


def _jxl(upload: Upload, found: Carriers) -> None:
    for box in bmff_boxes(upload.data):
        body = upload.data[box.body : box.stop]
        if box.kind == b"Exif":
            found.add("exif", exif_fields(body[4:]))
        elif box.kind == b"xml ":
            found.add("xmp", xmp_fields(body))


def _mp4(upload: Upload, found: Carriers) -> None:
    """``moov/udta/meta`` or ``moov/meta``: keys box and item list (QuickTime File Format, metadata)."""
    data = upload.data
    for moov in (b for b in bmff_boxes(data) if b.kind == b"moov"):
        parents = [moov] + [b for b in bmff_boxes(data, moov.body, moov.stop) if b.kind == b"udta"]
        for parent in parents:
            for meta in bmff_boxes(data, parent.body, parent.stop):
                if meta.kind == b"meta":
                    found.add("container", _mp4_items(data, meta))
    for box in bmff_boxes(data):
        if box.kind == b"uuid" and data[box.body : box.body + 16].hex() == "be7acfcb97a942e89c71999491e3afac":
            found.add("xmp", xmp_fields(data[box.body + 16 : box.stop]))


def _mp4_items(data: bytes, meta: Chunk) -> Iterator[tuple[str, str]]:
    for start in (meta.body + 4, meta.body):  # ISO has a version field here, QuickTime has none
        boxes = {b.kind: b for b in bmff_boxes(data, start, meta.stop)}
        if b"ilst" in boxes:
            break
    else:
        return
    names: list[str] = []
    if keys := boxes.get(b"keys"):
        entries = bmff_boxes(data, keys.body + 8, keys.stop)
        names = [data[k.body : k.stop].decode("utf-8", "replace") for k in entries]
    for item in bmff_boxes(data, boxes[b"ilst"].body, boxes[b"ilst"].stop):
        index = int.from_bytes(item.kind, "big")
        name = names[index - 1] if 0 < index <= len(names) else item.kind.decode("latin-1")
        for value in bmff_boxes(data, item.body, item.stop):
            if value.kind == b"data":
                yield name, data[value.body + 8 : value.stop].decode("utf-8", "replace")


def _riff_info(upload: Upload, found: Carriers) -> None:
    """LIST/INFO strings of AVI and WAV."""
    data = upload.data
    for chunk in riff_chunks(data):
        if chunk.kind == b"LIST" and data[chunk.body : chunk.body + 4] == b"INFO":
            pairs = (
                (c.kind.decode("latin-1"), _utf8_or_latin1(data[c.body : c.stop].rstrip(b"\0")))
                for c in riff_chunks(data, chunk.body + 4, chunk.stop)
            )
            found.add("container", pairs)


_READERS: dict[str, Callable[[Upload, Carriers], None]] = {
    "png": _png,
    "jpeg": _jpeg,
    "webp": _webp,
    "gif": _gif,
    "avif": _via_decoder,
    "heic": _via_decoder,
    "heif": _via_decoder,
    "tiff": _via_decoder,
    "jxl": _jxl,
    "mp4": _mp4,
    "mov": _mp4,
    "m4a": _mp4,
    "avi": _riff_info,
    "wav": _riff_info,
}
