"""Bytes in, bounded and decoded once: formats, limits, orientation, colour modes, trailing bytes."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from conftest import noise
from PIL import Image

from countermark.provenance.errors import LimitExceeded, UnreadableError, UnsupportedFormat, UsageError
from countermark.provenance.upload import Limits, Upload, sniff
from countermark.provenance.upload import decode as decode_module

RASTER = [("JPEG", "jpeg"), ("PNG", "png"), ("WEBP", "webp"), ("GIF", "gif"), ("AVIF", "avif"), ("TIFF", "tiff")]


@pytest.mark.parametrize(("form", "name"), RASTER)
def test_every_raster_format_is_sniffed_measured_and_decoded(encode, form, name):
    upload = Upload(encode(form))
    assert upload.format.name == name
    assert (upload.header.width, upload.header.height) == (512, 512)
    assert upload.pixels.shape == (512, 512, 3)
    assert upload.pixels.dtype == np.uint8
    assert not upload.pixels.flags.writeable


def test_heic_is_decoded(photo):
    pillow_heif = pytest.importorskip("pillow_heif")
    out = io.BytesIO()
    pillow_heif.from_pillow(photo).save(out, quality=90)
    upload = Upload(out.getvalue())
    assert upload.format.name in ("heic", "heif")
    assert upload.pixels.shape == (512, 512, 3)


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"%PDF-1.7\n", "pdf"),
        (b"RIFF\x10\0\0\0AVI LIST", "avi"),
        (b"RIFF\x10\0\0\0WAVEfmt ", "wav"),
        (b"ID3\x04\0\0", "mp3"),
        (b"\xff\xfb\x90\x00", "mp3"),
        (b"fLaC\0\0\0\x22", "flac"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp41", "mp4"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "mov"),
        (b"\0\0\0\x14ftypM4A \0\0\0\0M4A ", "m4a"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "heic"),
        (b"\xff\x0a\xfa\x7f", "jxl"),
        (b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>", "svg"),
        (b"\xef\xbb\xbf<svg/>", "svg"),
    ],
)
def test_other_formats_are_told_by_their_first_bytes(head, name):
    assert sniff(head).name == name


def test_the_name_of_a_file_is_not_believed(tmp_path: Path, encode):
    path = tmp_path / "really-a-jpeg.png"
    path.write_bytes(encode("JPEG"))
    assert Upload.open(path).format.name == "jpeg"


@pytest.mark.parametrize("data", [b"GARBAGE" * 10, b"\0" * 100, b"#!/bin/sh\n", b"<html></html>"])
def test_unknown_bytes_name_what_is_readable(data):
    with pytest.raises(UnsupportedFormat, match="Readable are"):
        Upload(data)


def test_an_empty_file_says_so(tmp_path: Path):
    (tmp_path / "empty.jpg").write_bytes(b"")
    with pytest.raises(UnreadableError, match="empty"):
        Upload.open(tmp_path / "empty.jpg")


def test_sources_other_than_paths_bytes_and_binary_streams_are_refused(encode):
    assert Upload.open(io.BytesIO(encode())).format.name == "jpeg"
    assert Upload.open(bytearray(encode())).format.name == "jpeg"
    with pytest.raises(UsageError, match="binary mode"):
        Upload.open(io.StringIO("text"))
    with pytest.raises(UsageError, match="got ndarray"):
        Upload.open(np.zeros((2, 2, 3)))


def test_missing_files_and_folders_are_explained(tmp_path: Path):
    with pytest.raises(UnreadableError, match="No such file"):
        Upload.open(tmp_path / "nothing.png")
    with pytest.raises(UnreadableError, match="is a folder"):
        Upload.open(tmp_path)


def test_byte_limit_holds_for_every_source(tmp_path: Path, encode):
    data = encode()
    path = tmp_path / "x.jpg"
    path.write_bytes(data)
    limits = Limits(max_bytes=1000)
    for source in (path, data, io.BytesIO(data)):
        with pytest.raises(LimitExceeded, match="allowed 1,000"):
            Upload.open(source, limits)


def png_of(width: int, height: int) -> bytes:
    """A PNG whose header announces any size, over almost no data."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)), (b"IDAT", zlib.compress(b"\0" * 9))]
    body = b"".join(
        struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in [*chunks, (b"IEND", b"")]
    )
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(("width", "height"), [(10_000, 10_000), (20_000, 20_000), (65_000, 65_000)])
def test_bombs_are_refused_from_the_header(width, height, monkeypatch):
    monkeypatch.setattr(decode_module, "_load", lambda *a: pytest.fail("decoded a bomb"))
    with pytest.raises(LimitExceeded):
        _ = Upload(png_of(width, height)).pixels


def test_a_forged_jpeg_size_is_refused_before_the_decoder_sees_it(encode, monkeypatch):
    data = bytearray(encode())
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", 65_500, 65_500)
    monkeypatch.setattr(decode_module, "_decode_jpeg", lambda *a, **k: pytest.fail("decoded a bomb"))
    with pytest.raises(LimitExceeded):
        _ = Upload(bytes(data)).pixels


def test_too_many_frames_are_refused(encode):
    frames = [Image.fromarray(noise(8, 8, seed)) for seed in range(5)]
    data = encode("GIF", frames[0], save_all=True, append_images=frames[1:])
    assert Upload(data).header.frames == 5
    with pytest.raises(LimitExceeded, match="frames"):
        _ = Upload(data, limits=Limits(max_frames=4)).header


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_to_size_pixels_and_view(encode, orientation):
    base = Image.fromarray(noise(48, 80)).resize((640, 384), Image.Resampling.NEAREST)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode("JPEG", base, quality=95, exif=exif)
    upload = Upload(data)
    from PIL import ImageOps

    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    assert (upload.header.height, upload.header.width) == expected.shape[:2]
    assert upload.pixels.shape == expected.shape
    assert np.abs(upload.pixels.astype(int) - expected).mean() < 1.0
    assert max(upload.view.shape) == 512


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_colour_modes_become_rgb(encode, photo, mode):
    if mode == "I;16":
        image = Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257)
    else:
        image = photo.convert(mode)
    form = "TIFF" if mode == "CMYK" else "PNG"
    pixels = Upload(encode(form, image)).pixels
    assert pixels.shape == (512, 512, 3)
    expected = photo.convert("L").convert("RGB") if mode == "I;16" else image.convert("RGB")
    assert np.abs(pixels.astype(int) - np.asarray(expected)).mean() < 1


def test_cmyk_jpeg_is_decoded(encode, photo):
    pixels = Upload(encode("JPEG", photo.convert("CMYK"), quality=95)).pixels
    assert np.abs(pixels.astype(int) - np.asarray(photo)).mean() < 6


def test_transparency_is_laid_on_white(encode):
    clear = Image.new("RGBA", (4, 4), (10, 20, 30, 0))
    assert (Upload(encode("PNG", clear)).pixels == 255).all()
    assert Upload(encode("PNG", clear)).rgba[0, 0].tolist() == [10, 20, 30, 0]


def test_pixels_and_view_are_decoded_once(encode, monkeypatch):
    calls = []
    real = decode_module._decode_jpeg
    monkeypatch.setattr(decode_module, "_decode_jpeg", lambda d, small: calls.append(small) or real(d, small))
    upload = Upload(encode())
    for _ in range(3):
        _ = upload.pixels, upload.view
    assert sorted(calls) == [False, True]


def test_trailing_bytes_are_seen_and_named(encode):
    for form in ("JPEG", "PNG", "GIF", "WEBP"):
        data = encode(form)
        assert Upload(data).trailer is None
        trailer = Upload(data + b"PK\x03\x04" + b"x" * 50).trailer
        assert (trailer.offset, trailer.size, trailer.looks_like) == (len(data), 54, "zip")
    assert Upload(encode() + b"<script>alert(1)</script>").trailer.looks_like == "markup"


def test_a_cut_file_is_truncated_and_its_pixels_are_an_error(encode):
    for form in ("JPEG", "PNG"):
        data = encode(form)
        upload = Upload(data[: len(data) // 2])
        assert upload.truncated
        with pytest.raises(UnreadableError):
            _ = upload.pixels


def test_one_pixel_and_extreme_shapes(encode):
    for size in ((1, 1), (1, 600), (600, 1)):
        upload = Upload(encode("PNG", Image.new("RGB", size, (1, 2, 3))))
        assert upload.pixels.shape == (size[1], size[0], 3)
        assert max(upload.view.shape[:2]) <= 512
        assert min(upload.view.shape[:2]) >= 1


def test_a_raised_limit_is_honoured_beyond_the_decoders_own():
    data = png_of(10_000, 10_000)
    assert Upload(data, limits=Limits(max_pixels=150_000_000)).header.width == 10_000
    with pytest.raises(LimitExceeded):
        _ = Upload(data).header
