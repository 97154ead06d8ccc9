"""The own mark: what it survives, what it says, and that nothing else says it."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from skimage import data as pictures

from countermark.datasets.laundering import parse
from countermark.provenance.errors import UsageError
from countermark.provenance.watermark.tile import (
    PUBLIC,
    MarkKey,
    detect,
    detect_frames,
    ecc,
    embed,
    new_payload,
    verify,
)
from countermark.provenance.watermark.tile.layout import chips, layout
from countermark.provenance.watermark.tile.payload import from_mark_id, payload_of
from countermark.provenance.watermark.tile.sketch import AGREES, Sketch, agreement, sketch_of

KEY = MarkKey(bytes(range(32)))
PAYLOAD = payload_of(0x123456789A, KEY)


def large() -> np.ndarray:
    """A photograph at one megapixel."""
    return parse("resize:2")(np.ascontiguousarray(pictures.astronaut()))


@pytest.fixture(scope="module")
def marked():
    return embed(large(), PAYLOAD, KEY)


def test_the_code_corrects_noise():
    rng = np.random.default_rng(0)
    for _ in range(20):
        bits = rng.integers(0, 2, 64).astype(np.uint8)
        noisy = ecc.encode(bits) * 15 / np.sqrt(384) + rng.standard_normal(384)
        assert (ecc.decode(noisy.astype(np.float32)) == bits).all()


def test_the_format_is_what_version_1_says():
    """Vectors for other implementations; a change here is a new version of the format."""
    made, dealt = layout(), chips(KEY.secret)
    assert made.bins.shape == (384, 2)
    assert sorted(np.bincount(dealt.bit)) == [2] * 384
    assert PAYLOAD.mark_id[:11] == "1123456789a"
    assert from_mark_id(PAYLOAD.mark_id, KEY) == PAYLOAD
    assert from_mark_id(PAYLOAD.mark_id, PUBLIC) is None
    assert hashlib.sha256(made.bins.astype("<i8").tobytes()).hexdigest()[:16] == "d4d0362e3679a3af"
    assert (
        hashlib.sha256(dealt.bit.astype("<i8").tobytes() + dealt.sign.tobytes()).hexdigest()[:16] == "4dcb171e3d2be94a"
    )


@pytest.mark.parametrize(
    "chain",
    [
        "", "jpeg:60", "crop:0.5", "resize:0.6", "resize:1.1,0.92", "rotate:7", "turn:90", "flip:h", "flip:v|turn:90",
        "brightness:1.2", "noise:8", "blur:1", "resize:0.75|jpeg:80", "resize:2",
    ],
)  # fmt: skip
def test_it_survives(marked, chain):
    found = detect(parse(chain)(marked, np.random.default_rng(1)), [PUBLIC, KEY])
    assert found.payload == PAYLOAD
    assert found.key == KEY
    assert found.p_value <= 1e-6


def test_it_is_weak_and_deterministic(marked):
    clean = large()
    error = np.mean((marked.astype(float) - clean) ** 2)
    assert 10 * np.log10(255**2 / error) >= 41.9
    assert np.array_equal(marked, embed(clean, PAYLOAD, KEY))


def test_a_wrong_key_and_a_clean_picture_give_nothing(marked):
    for pixels, keys in ((marked, [PUBLIC]), (pictures.astronaut(), [KEY]), (pictures.coffee(), [PUBLIC, KEY])):
        found = detect(np.ascontiguousarray(pixels), keys)
        assert not found.found
        assert found.payload is None
        assert found.p_value > 1e-6


def test_a_known_payload_is_verified(marked):
    assert verify(marked, PAYLOAD, KEY) < 1e-12
    assert verify(marked, new_payload(KEY), KEY) > 1e-6


def test_frames_are_pooled(marked):
    rng = np.random.default_rng(3)
    noisy = [parse("jpeg:25|noise:30")(marked, rng) for _ in range(12)]
    assert detect_frames(noisy, [KEY]).statistic > max(detect(frame, [KEY]).statistic for frame in noisy[:3])
    with pytest.raises(UsageError, match="one size"):
        detect_frames([marked, marked[:300]])


def test_a_copied_mark_does_not_agree_with_the_sketch(marked):
    sketch = Sketch.from_bytes(sketch_of(marked).to_bytes())
    assert sketch is not None
    for chain in ("jpeg:70", "crop:0.5|turn:90", "flip:h|rotate:5"):
        copy = parse(chain)(marked, np.random.default_rng(2))
        assert agreement(copy, detect(copy, [KEY]).geometry, sketch) > AGREES
    lifted = marked.astype(int) - large()
    other = np.clip(parse("resize:2.6")(pictures.coffee())[:1024, :1024] + lifted, 0, 255).astype(np.uint8)
    found = detect(other, [KEY])
    assert found.payload == PAYLOAD
    assert agreement(other, found.geometry, sketch) < AGREES


def test_bad_input_is_explained():
    with pytest.raises(UsageError, match="256 x 256"):
        embed(np.zeros((200, 400, 3), np.uint8), PAYLOAD, KEY)
    with pytest.raises(UsageError, match="strength"):
        embed(np.zeros((300, 400, 3), np.uint8), PAYLOAD, KEY, "loud")
    with pytest.raises(UsageError, match="32 bytes"):
        MarkKey(b"short")
    assert not detect(np.zeros((20, 20, 3), np.uint8)).found
