"""Public marks: the same bits as the library that writes them, and a detector that states its chance rate."""

from __future__ import annotations

import importlib.util
import io
import math
from pathlib import Path

import numpy as np
import pytest
from conftest import noise
from PIL import Image

from countermark.provenance.errors import MissingPart, UsageError
from countermark.provenance.evidence import Claim, Strength
from countermark.provenance.upload import Upload
from countermark.provenance.watermark import PublicMarksExaminer, known, rivagan
from countermark.provenance.watermark.known import find_known, known_marks
from countermark.provenance.watermark.lattice import block_grid, decode, decode_many, encode
from countermark.provenance.watermark.stats import binomial_sf, student_t_sf

METHODS = ["dwtDct", "dwtDctSvd"]


@pytest.fixture(scope="module")
def picture(photo):
    """A photograph of 768 x 768 with fresh grain."""
    base = np.asarray(photo.resize((768, 768), Image.Resampling.BICUBIC)).astype(float)
    return np.clip(base + np.random.default_rng(0).normal(0, 3, base.shape), 0, 255).astype(np.uint8)


def reference_decode(rgb, length, method):
    """The library's decoder, block by block as published, in float64."""
    import cv2

    bgr = np.ascontiguousarray(rgb[:, :, ::-1])
    u = cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV)[: rgb.shape[0] // 4 * 4, : rgb.shape[1] // 4 * 4, 1]
    half = math.sqrt(0.5)
    rows = u.astype(float)[0::2] * half + u.astype(float)[1::2] * half
    ll = rows[:, 0::2] * half + rows[:, 1::2] * half
    scores = [[] for _ in range(length)]
    count = 0
    for i in range(ll.shape[0] // 4):
        for j in range(ll.shape[1] // 4):
            block = ll[i * 4 : i * 4 + 4, j * 4 : j * 4 + 4]
            if method == "dwtDct":
                flat = block.flatten()
                value = abs(flat[np.argmax(np.abs(flat[1:])) + 1])
            else:
                value = np.linalg.svd(cv2.dct(block.copy()))[1][0]
            scores[count % length].append(int(value % 36 > 18))
            count += 1
    return np.array([np.mean(s) for s in scores]) * 255 > 127


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("length", [32, 48, 64, 136])
def test_decoding_gives_the_published_decoders_bits(picture, method, length):
    bits = np.random.default_rng(length).integers(0, 2, length)
    for image in (picture[:300, :420], encode(picture[:300, :420], bits, method), noise(264, 517)):
        assert np.array_equal(decode(image, length, method), reference_decode(image, length, method))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("in_order", [True, False])
def test_a_message_reads_back_and_the_right_band_order_is_gentler(picture, method, in_order):
    bits = np.random.default_rng(1).integers(0, 2, 64).astype(bool)
    marked = encode(picture, bits, method, in_order)
    assert marked.shape == picture.shape
    wrong = (decode(marked, 64, method) != bits).sum()
    assert wrong <= (0 if method == "dwtDctSvd" else 8)
    error = [((encode(picture, bits, method, o).astype(float) - picture) ** 2).mean() for o in (True, False)]
    assert error[0] < error[1]


def peer_module(name):
    """A module of invisible-watermark without its package, which imports torch."""
    pytest.importorskip("pywt", reason="PyWavelets is not installed (make optional)")
    spec = importlib.util.find_spec("imwatermark")
    if spec is None:
        pytest.skip("invisible-watermark is not installed (make optional)")
    path = Path(spec.submodule_search_locations[0]) / f"{name}.py"
    loaded = importlib.util.spec_from_file_location(f"peer_{name}", path)
    module = importlib.util.module_from_spec(loaded)
    loaded.loader.exec_module(module)
    return module


def test_pixels_equal_the_library_where_it_is_installed(picture):
    maximum = peer_module("maxDct")
    bits = np.random.default_rng(2).integers(0, 2, 48)
    bgr = np.ascontiguousarray(picture[:, :, ::-1])
    theirs = maximum.EmbedMaxDct(list(bits), wmLen=48).encode(bgr)[:, :, ::-1]
    assert np.array_equal(encode(picture, bits, "dwtDct"), theirs)


def test_many_lengths_cost_one_pass_and_agree_with_single_ones(picture):
    many = decode_many(picture, [32, 48, 136])
    assert all(np.array_equal(many[n], decode(picture, n)) for n in many)


def test_messages_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match="do not fit"):
        decode(noise(64, 64), 136)
    with pytest.raises(UsageError, match="at least 65,536 pixels"):
        encode(noise(64, 64), [0, 1])
    with pytest.raises(UsageError, match="0 bits"):
        encode(noise(300, 300), [])


def test_block_grid_is_the_libraries():
    assert block_grid(512, 512) == (64, 64)
    assert block_grid(523, 517) == (65, 64)


def embed(rgb, name):
    """A known mark as its generator embeds it: float32 or 8 bit, then 8 bit RGB."""
    import cv2

    mark = next(m for m in known_marks() if m.name == name)
    if mark.domain == "uint8":
        return encode(rgb, mark.bits, "dwtDct")
    yuv = cv2.cvtColor(rgb.astype(np.float32), cv2.COLOR_RGB2YUV)
    u = yuv[: rgb.shape[0] // 4 * 4, : rgb.shape[1] // 4 * 4, 1].astype(np.float64)
    rows = u[0::2] + u[1::2]
    ll = (rows[:, 0::2] + rows[:, 1::2]) / 2
    r, c = block_grid(*rgb.shape[:2])
    blocks = ll[: r * 4, : c * 4].reshape(r, 4, c, 4).transpose(0, 2, 1, 3).reshape(-1, 16).copy()
    at = np.abs(blocks[:, 1:]).argmax(1) + 1
    every = np.arange(len(blocks))
    value = blocks[every, at]
    moved = (np.abs(value) // 36 + 0.25 + 0.5 * np.resize(mark.bits, len(blocks))) * 36
    change = np.zeros_like(blocks)
    change[every, at] = np.where(value >= 0, moved, -moved) - value
    delta = change.reshape(r, c, 4, 4).transpose(0, 2, 1, 3).reshape(r * 4, c * 4) / 2
    yuv[: r * 8, : c * 8, 1] += np.repeat(np.repeat(delta, 2, 0), 2, 1).astype(np.float32)
    return np.clip(np.rint(cv2.cvtColor(yuv, cv2.COLOR_YUV2RGB)), 0, 255).astype(np.uint8)


def jpeg(rgb, quality):
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "JPEG", quality=quality)
    return np.asarray(Image.open(out))


@pytest.mark.parametrize("name", [m.name for m in known_marks()])
def test_every_known_mark_is_found_and_named(picture, name):
    best = find_known(embed(picture, name))[0]
    assert best.found
    assert best.mark == name
    assert best.channel_order == "BGR"
    assert best.bit_agreement > 0.8


@pytest.mark.parametrize("name", ["sdxl", "flux"])
def test_marks_survive_what_they_can(picture, name):
    marked = embed(picture, name)
    small = Image.fromarray(marked).resize((384, 384), Image.Resampling.BOX)
    back = np.asarray(small.resize((768, 768), Image.Resampling.BICUBIC))
    brighter = np.clip(marked.astype(float) * 1.15, 0, 255).astype(np.uint8)
    for attacked in (jpeg(marked, 95), back, brighter):
        assert find_known(attacked)[0].mark == name
        assert find_known(attacked)[0].found


@pytest.mark.parametrize("name", ["sdxl", "flux"])
def test_an_offset_crop_is_found_by_the_phase_search(picture, name):
    cropped = np.ascontiguousarray(embed(picture, name)[21:-30, 37:-26])
    best = find_known(cropped)[0]
    assert (best.mark, best.found, best.search) == (name, True, "phase")
    assert best.phase == ((8 - 21) % 8, (8 - 37) % 8)


def test_swapped_channels_of_old_diffusers_are_tried(picture):
    swapped = np.ascontiguousarray(embed(np.ascontiguousarray(picture[:, :, ::-1]), "sdxl")[:, :, ::-1])
    best = find_known(swapped)[0]
    assert best.found
    assert best.channel_order == "RGB"


def test_clean_pictures_are_clean(picture):
    candidates = [picture, picture[::-1].copy(), jpeg(picture, 80), noise(600, 600), noise(300, 900)]
    candidates += [np.full((512, 512, 3), v, np.uint8) for v in (0, 128, 255)]
    ramp = np.linspace(0, 255, 512).astype(np.uint8)
    candidates.append(np.dstack([np.tile(ramp, (512, 1))] * 3))
    candidates.append(
        np.kron(np.indices((32, 32)).sum(0) % 2, np.ones((24, 24)))[..., None].repeat(3, 2).astype(np.uint8) * 255
    )
    for rgb in candidates:
        scores = find_known(np.ascontiguousarray(rgb))
        assert not scores[0].found
        assert scores[0].p_value > 1e-3


def test_small_pictures_are_left_alone():
    assert find_known(noise(200, 200)) == []
    assert "skipped" in PublicMarksExaminer()(Upload(_png(noise(100, 100)))).detail


def _png(rgb) -> bytes:
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "PNG")
    return out.getvalue()


def test_evidence_is_declared_at_most_and_lists_what_was_looked_for(picture):
    evidence = PublicMarksExaminer()(Upload(_png(embed(picture, "sdxl"))))
    assert (evidence.claim, evidence.strength) == (Claim.GENERATED, Strength.DECLARED)
    assert {m["mark"] for m in evidence.detail["marks"]} == {m.name for m in known_marks()}
    for mark in evidence.detail["marks"]:
        assert {"statistic", "p_value", "hypotheses"} <= set(mark)
    clean = PublicMarksExaminer()(Upload(_png(picture)))
    assert not clean.found
    assert clean.detail["hypotheses"] >= 12


def test_every_search_pays_for_its_hypotheses(picture):
    """The correction is three times the hypotheses of the search that found the mark."""
    marks = known_marks()
    direct = find_known(embed(picture, "sdxl"))[0]
    assert (direct.search, direct.hypotheses) == ("none", 3 * 2 * len(marks))
    cropped = find_known(np.ascontiguousarray(embed(picture, "sdxl")[21:-30, 37:-26]))[0]
    assert cropped.hypotheses == 3 * 64 * 2 * sum(len(m.bits) ** 2 for m in marks)
    assert find_known(picture, thorough=True)[0].p_value > known.THRESHOLD


def test_tail_probabilities_match_tables():
    assert student_t_sf(0.0, 10) == pytest.approx(0.5)
    assert student_t_sf(2.228, 10) == pytest.approx(0.025, rel=1e-3)
    assert student_t_sf(6.442, 30) == pytest.approx(2.0e-7, rel=0.05)
    assert student_t_sf(-2.228, 10) == pytest.approx(0.975, rel=1e-3)
    assert 0 < student_t_sf(60.0, 46) < 1e-40
    assert binomial_sf(30, 32) == pytest.approx(529 / 2**32)
    assert binomial_sf(0, 8) == 1.0


def test_student_t_agrees_with_an_independent_integration():
    for degrees, t in ((5, 1.3), (46, 4.0), (134, 2.5)):
        x = np.linspace(t, t + 400, 2_000_001)
        log = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2) - 0.5 * math.log(degrees * math.pi)
        density = np.exp(log - (degrees + 1) / 2 * np.log1p(x * x / degrees))
        assert student_t_sf(t, degrees) == pytest.approx(np.trapezoid(density, x), rel=1e-3)


def test_rivagan_reads_its_own_mark_or_says_what_is_missing(photo):
    rgb = np.asarray(photo.resize((256, 256)))
    if not rivagan.available():
        with pytest.raises(MissingPart, match="onnxruntime"):
            rivagan.decode(rgb)
        pytest.skip("invisible-watermark's rivaGan files or onnxruntime are not installed (make optional)")
    bits = np.random.default_rng(0).integers(0, 2, 32).astype(bool)
    assert (rivagan.decode(rivagan.encode(rgb, bits)) == bits).mean() > 0.7
    with pytest.raises(UsageError, match="32 bits"):
        rivagan.encode(rgb, bits[:8])
