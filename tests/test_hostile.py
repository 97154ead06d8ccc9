"""2,000 mutated files with a fixed seed: no crash, no hang, an object for every file."""

from __future__ import annotations

import io
import random
import resource
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

import countermark as cm
from countermark.batch import scan_many
from countermark.provenance.keys import local_signing
from countermark.provenance.manifest.write import sign_manifest

COUNT = 2000
SECONDS_EACH = 5.0
MEMORY = 1536 * 1024  # kB


def seeds(photo: Image.Image) -> list[bytes]:
    """Small valid files of every kind, signed and unsigned, with every sort of metadata."""
    small = photo.resize((96, 96))
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "x\nSteps: 2, Sampler: y, Seed: 1", zip=True)
    info.add_itxt("XML:com.adobe.xmp", '<x:xmpmeta xmlns:x="adobe:ns:meta/"/>')
    exif = Image.Exif()
    exif[0x0112], exif[0x0131] = 6, "dall-e"
    files = []
    for form, options in (
        ("JPEG", {"exif": exif, "comment": b"x"}),
        ("JPEG", {"progressive": True}),
        ("PNG", {"pnginfo": info}),
        ("WEBP", {"exif": exif}),
        ("WEBP", {"lossless": True}),
        ("GIF", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("AVIF", {}),
    ):
        out = io.BytesIO()
        small.save(out, form, **options)
        files.append(out.getvalue())
    files.append(_png_with_alpha(small))
    signed = [
        sign_manifest(f, cm.Upload(f).media_type, cm.Origin(model="m"), local_signing()).data
        for f in files
        if cm.Upload(f).format.name in ("jpeg", "png", "webp", "gif", "tiff", "avif")
    ]
    box = struct.pack(">I4s", 8, b"free")
    others = [
        b"%PDF-1.7\n1 0 obj<<>>endobj\n%%EOF",
        b"<svg xmlns='http://www.w3.org/2000/svg'><g/></svg>",
        b"ID3\x04\0\0\0\0\0\x0a" + b"\0" * 400,
        struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 0) + box * 3,
        b"RIFF" + struct.pack("<I", 36) + b"WAVEfmt " + b"\0" * 28,
        b"fLaC" + b"\0" * 60,
        b"\xff\x0a" + b"\0" * 60,
    ]
    return files + signed + others


def _png_with_alpha(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.convert("RGBA").save(out, "PNG")
    return out.getvalue()


def mutate(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """One of ten ways to be hostile."""
    body = bytearray(data)
    kind = rng.randrange(10)
    if kind == 0:  # bit flips anywhere
        for _ in range(rng.randrange(1, 20)):
            body[rng.randrange(len(body))] ^= 1 << rng.randrange(8)
    elif kind == 1:  # bit flips in the header
        for _ in range(rng.randrange(1, 8)):
            body[rng.randrange(min(len(body), 200))] ^= 1 << rng.randrange(8)
    elif kind == 2:  # truncation
        del body[rng.randrange(len(body)) :]
    elif kind == 3:  # a piece of another file spliced in
        other = rng.choice(others)
        start = rng.randrange(len(other))
        at = rng.randrange(len(body))
        body[at:at] = other[start : start + rng.randrange(1, 2000)]
    elif kind == 4:  # a length field that lies
        at = rng.randrange(max(1, min(len(body), 400) - 4))
        body[at : at + 4] = struct.pack(">I", rng.choice([0, 1, 7, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, 65536]))
    elif kind == 5:  # a piece repeated many times
        at = rng.randrange(len(body))
        piece = bytes(body[at : at + rng.randrange(4, 200)])
        body[at:at] = piece * rng.randrange(10, 200)
    elif kind == 6:  # another head
        other = rng.choice(others)
        body[: rng.randrange(4, 40)] = other[: rng.randrange(4, 40)]
    elif kind == 7:  # deep nesting of boxes
        depth = rng.randrange(50, 2000)
        nested = b""
        for _ in range(depth):
            nested = struct.pack(">I4s", len(nested) + 8, rng.choice([b"moov", b"jumb", b"meta"])) + nested
        body += nested if rng.random() < 0.5 else b""
        body = body if body[-1:] else bytearray(data)
        if rng.random() < 0.3:
            body = bytearray(struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 0) + nested)
    elif kind == 8:  # random noise behind a real magic number
        body[rng.randrange(4, 16) :] = rng.randbytes(rng.randrange(0, 3000))
    else:  # zeros
        at = rng.randrange(len(body))
        body[at : at + rng.randrange(1, 500)] = b"\0" * rng.randrange(0, 500)
    return bytes(body)


@pytest.mark.slow
def test_mutated_files_never_crash_hang_or_vanish(keys, photo, tmp_path):
    rng = random.Random(20261121)
    originals = seeds(photo)
    statuses: dict[str, int] = {}
    slowest = 0.0
    for index in range(COUNT):
        source = rng.choice(originals)
        data = mutate(source, originals, rng)
        start = time.perf_counter()
        result = cm.scan(data)
        slowest = max(slowest, time.perf_counter() - start)
        table = result.to_dict()
        assert table["status"] in set(cm.Status), index
        assert table["status"] != "error" or table["error"], index
        statuses[table["status"]] = statuses.get(table["status"], 0) + 1
        if result.status is cm.Status.AI_GENERATED_CONFIRMED and data != source and cm.Upload(data).format.raster:
            # C2PA leaves a few container bytes out of its hash; what is seen must be what was signed
            assert np.array_equal(cm.Upload(data).pixels, cm.Upload(source).pixels), index
    assert sum(statuses.values()) == COUNT
    assert slowest < SECONDS_EACH
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < MEMORY
    assert statuses.get("error", 0) > 200
    print(statuses, f"slowest {slowest:.2f} s")


def test_bombs_are_refused_in_time(tmp_path):
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    flood = zlib.compress(b"\0" * 50_000_000, 9)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", flood) + chunk(b"IEND", b"")
    text = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
    text += b"".join(chunk(b"zTXt", b"parameters\0\0" + flood) for _ in range(50)) + chunk(b"IEND", b"")
    for data in (bomb, text):
        start = time.perf_counter()
        assert cm.scan(data).status is cm.Status.ERROR
        assert time.perf_counter() - start < SECONDS_EACH


def test_a_worker_that_dies_takes_only_its_own_file_with_it(tmp_path, encode, monkeypatch):
    """A file that kills its process (here by a poisoned examiner) is reported; all others are scanned."""
    for i in range(20):
        (tmp_path / f"{i:02}.jpg").write_bytes(encode(quality=40 + i))
    poison = tmp_path / "site"
    poison.mkdir()
    (poison / "sitecustomize.py").write_text(
        "import os, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'countermark.scanning':\n"
        "            import countermark.provenance.upload as u\n"
        "            real = u.Upload.open.__func__\n"
        "            def deadly(cls, source, limits=u.DEFAULT_LIMITS):\n"
        "                if str(source).endswith('07.jpg'): os._exit(9)\n"
        "                return real(cls, source, limits)\n"
        "            u.Upload.open = classmethod(deadly)\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    root = str(Path(__file__).resolve().parent.parent)
    monkeypatch.setenv("PYTHONPATH", f"{poison}:{root}")
    results = list(scan_many(sorted(tmp_path.glob("*.jpg")), jobs=2))
    assert [Path(r.path).name for r in results] == [f"{i:02}.jpg" for i in range(20)]
    dead = [Path(r.path).name for r in results if r.status is cm.Status.ERROR]
    assert dead == ["07.jpg"]


def test_scan_is_thread_safe(keys, encode):
    from concurrent.futures import ThreadPoolExecutor

    data = [cm.stamp(encode(quality=q), None, cm.Origin(model=str(q))).data for q in range(60, 76)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(cm.scan, data * 4))
    assert {r.status for r in results} == {cm.Status.AI_GENERATED_CONFIRMED}
    assert np.unique([r.sha256 for r in results]).size == 16
