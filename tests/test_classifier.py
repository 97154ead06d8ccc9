"""The classifier at run time: views, bands, abstention, heat map, evidence. The shipped model takes part."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_datasets import save, scene

import countermark as cm
from countermark.cli import main
from countermark.detectors.classifier import model as module
from countermark.detectors.classifier import packing
from countermark.detectors.classifier.examiner import ClassifierExaminer
from countermark.detectors.classifier.explain import CAVEAT, HeatMap, heat_map
from countermark.detectors.classifier.model import Classifier, Raw, shared
from countermark.detectors.classifier.views import normalise, shrink, views, window
from countermark.provenance.errors import MissingPart, UnreadableError, UsageError

ROOT = Path(__file__).resolve().parent.parent
PHOTO = ROOT / "examples" / "photo.jpg"


@pytest.fixture(scope="module")
def classifier():
    return Classifier()


def test_views_cover_the_picture_and_keep_its_resolution():
    pixels = scene(1, 500, 900)
    shown, cut = views(pixels, 224, 160, "fast")
    assert [v.shape for v in shown + cut] == [(160, 160, 3), (224, 224, 3)]
    assert np.array_equal(cut[0], pixels[138:362, 338:562])
    shown, cut = views(pixels, 224, 160, "careful")
    assert (len(shown), len(cut)) == (3, 5)
    assert not np.array_equal(shown[0], shown[2])
    shown, cut = views(scene(1, 60, 300), 224, 160, "careful")
    assert {v.shape for v in shown} == {(160, 160, 3)}
    assert {v.shape for v in cut} == {(224, 224, 3)}


def test_normalisation_is_what_the_model_file_says(classifier):
    view = window(shrink(scene(2, 300, 300), 224), 224, 0, 0)
    settings = classifier.settings
    expected = (view.astype(np.float64) / 255 - settings.mean) / settings.deviation
    assert np.abs(normalise([view])[0].transpose(1, 2, 0) - expected).max() < 1e-5


def test_the_shipped_model_is_small_and_says_what_it_is(classifier):
    weights = module.WEIGHTS.parent
    assert sum(f.stat().st_size for f in weights.iterdir()) <= 25_000_000
    assert classifier.settings.name in classifier.version
    assert len(classifier.sha256) == 64
    assert set(classifier.settings.high) == {"photo", "face", "art", "graphics"}
    report = json.loads((weights / "training.json").read_text())
    assert report["digest"] == classifier.settings.config
    card = (ROOT / "docs" / "model-card.md").read_text()
    assert classifier.sha256 in card  # the card was written for this file


def test_the_same_picture_always_gets_the_same_score_alone_or_in_a_batch(classifier):
    pictures = [scene(n, 300 + 20 * n, 400) for n in range(4)]
    together = classifier.raw(pictures, "careful")
    for picture, raw in zip(pictures, together, strict=True):
        alone = classifier.raw([picture], "careful")[0]
        assert alone.frame == pytest.approx(raw.frame, abs=1e-3)
        assert alone.native == pytest.approx(raw.native, abs=1e-3)
        assert classifier.predict(picture) == classifier.predict(picture)


@pytest.mark.parametrize(
    ("pixels", "said"), [(scene(1, 60, 400), "60"), (np.full((400, 400, 3), 90, np.uint8), "next to no content")]
)
def test_it_abstains_with_a_reason(classifier, pixels, said):
    found = classifier.predict(pixels)
    assert found.score is None
    assert found.band == "abstained"
    assert said in found.reason


def scripted(monkeypatch, classifier, probabilities, distance=1.0):
    """The model with its probabilities given in advance."""
    values = iter(probabilities)
    raw = Raw(0.0, 0.0, np.array([1, 0, 0, 0], np.float32), distance)
    monkeypatch.setattr(Classifier, "raw", lambda self, pictures, effort="fast": [raw] * len(pictures))
    monkeypatch.setattr(Classifier, "probability", lambda self, raw, effort="fast": next(values))
    return classifier


def test_a_high_answer_that_turns_around_is_not_given(monkeypatch, classifier):
    found = scripted(monkeypatch, classifier, [0.999, 0.01]).predict(scene(1))
    assert found.band == "abstained"
    assert "re-encoded" in found.reason


def test_a_high_answer_that_holds_is_given(monkeypatch, classifier):
    found = scripted(monkeypatch, classifier, [0.999, 0.998]).predict(scene(1))
    assert (found.band, found.score) == ("high", 0.999)


def test_between_the_thresholds_it_is_undecided(monkeypatch, classifier):
    low, high = classifier.settings.low, classifier.settings.high["photo"]
    assert scripted(monkeypatch, classifier, [(low + high) / 2]).predict(scene(1)).band == "mid"


def test_what_is_unlike_the_training_pictures_gets_no_score(monkeypatch, classifier):
    far = scripted(monkeypatch, classifier, [0.9], distance=1e6).predict(scene(1))
    assert far.score is None
    assert "unlike" in far.reason


def test_the_heat_map_is_the_score_spread_over_the_picture(classifier):
    pixels = scene(3, 400, 640)
    made = heat_map(pixels, classifier)
    assert made.cells.shape == (14, 22)
    overlay = made.overlay(pixels)
    assert overlay.dtype == np.uint8
    assert overlay.shape == (400, 640, 3)
    assert np.array_equal(made.overlay(pixels, opacity=0), pixels)
    with Image.open(io.BytesIO(made.png(pixels))) as image:
        assert image.text["Comment"] == CAVEAT
    with pytest.raises(UsageError, match="Opacity"):
        made.overlay(pixels, 2)


def test_warm_is_for_and_cold_is_against(classifier):
    cells = np.zeros((2, 2), np.float32)
    cells[0, 0], cells[1, 1] = 9, -9
    grey = np.full((200, 200, 3), 128, np.uint8)
    overlay = HeatMap(cells, 200, 200).overlay(grey).astype(int)
    assert overlay[10, 10, 0] > overlay[10, 10, 2]
    assert overlay[190, 190, 2] > overlay[190, 190, 0]


def test_long_pictures_have_a_bounded_map(classifier):
    assert heat_map(scene(4, 100, 4000), classifier).cells.shape == (14, 42)


def test_evidence_carries_score_band_threshold_and_version(encode):
    found = ClassifierExaminer()(cm.Upload(encode()))
    assert found.found
    assert found.strength is not None
    assert found.strength.value == "statistical"
    assert {"score", "band", "domain", "threshold", "false_positive_rate", "effort"} <= set(found.detail)
    assert "sha256:" in found.version
    silent = ClassifierExaminer()(cm.Upload(b"%PDF-1.4\n%%EOF"))
    assert not silent.found


def test_scan_gives_the_score_and_leaves_it_out_when_told(tmp_path):
    result = cm.scan(PHOTO)
    evidence = result.by_name("classifier")
    assert evidence is not None
    assert result.classifier_score == evidence.detail["score"]
    assert result.versions["classifier"] == evidence.version
    without = cm.scan(PHOTO, classifying=cm.Classifying(run=False))
    assert without.classifier_score is None
    assert without.by_name("classifier") is None


def test_the_example_photo_is_not_called_generated():
    assert cm.scan(PHOTO).status is cm.Status.NO_AI_EVIDENCE


def test_alone_the_classifier_gives_likely_ai_with_review_at_most(monkeypatch):
    said = module.Prediction(0.999, "high", "photo", 0.9)
    monkeypatch.setattr(Classifier, "predict", lambda self, pixels, effort="fast": said)
    result = cm.scan(PHOTO)
    assert result.status is cm.Status.LIKELY_AI
    assert result.review
    assert result.classifier_score == 0.999


def test_scan_never_imports_torch():
    code = f"import sys, countermark as cm; cm.scan({str(PHOTO)!r}); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_explain_writes_a_map_for_each_scored_picture(tmp_path, capsys):
    save(tmp_path / "in" / "a.png", scene(6, 300, 300))
    Image.new("RGB", (40, 40)).save(tmp_path / "in" / "tiny.png")
    out = tmp_path / "maps"
    main(["scan", str(tmp_path / "in"), "--explain", str(out), "--json"])
    names = {p.suffixes[-2] + p.suffixes[-1] for p in out.iterdir()}
    assert names == {".heat.png", ".heat.npy"}
    assert len(list(out.glob("*.png"))) == 1
    capsys.readouterr()
    main(["inspect", str(tmp_path / "in" / "a.png"), "--explain", str(out)])
    text = capsys.readouterr().out
    assert "not proof" in text
    assert "threshold for" in text


def test_options_that_need_the_classifier_say_so(tmp_path, capsys, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("COUNTERMARK_CLASSIFIER", "off")
        assert main(["scan", str(PHOTO), "--careful"]) == 2
        assert "COUNTERMARK_CLASSIFIER=off" in capsys.readouterr().err
    assert main(["scan", str(PHOTO), "--no-classifier", "--explain", str(tmp_path)]) == 2
    assert "--no-classifier" in capsys.readouterr().err


def test_a_missing_or_foreign_model_is_explained(tmp_path):
    with pytest.raises(MissingPart, match="countermark train"):
        Classifier(tmp_path / "none.onnx")
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    with pytest.raises(UnreadableError, match="not an ONNX model"):
        Classifier(tmp_path / "junk.onnx")


def test_the_frame_encoder_must_be_the_one_the_model_was_made_with(tmp_path):
    weights = module.WEIGHTS.parent
    model = tmp_path / "classifier.onnx"
    model.write_bytes(module.WEIGHTS.read_bytes())
    with pytest.raises(MissingPart, match=r"frame\.onnx"):
        Classifier(model)
    for name in (packing.GRAPH, packing.WEIGHTS):
        (tmp_path / name).write_bytes((weights / name).read_bytes())
    assert Classifier(model).sha256 == Classifier().sha256
    packed = bytearray((weights / packing.WEIGHTS).read_bytes())
    packed[-1000] ^= 1
    (tmp_path / packing.WEIGHTS).write_bytes(bytes(packed))
    with pytest.raises(UnreadableError, match="not the frame encoder"):
        Classifier(model)


def test_packed_weights_come_back_and_damage_is_told():
    rng = np.random.default_rng(0)
    tensors = {"a": rng.integers(-11, 12, (64, 32), dtype=np.int8), "b": rng.integers(-11, 12, 100, dtype=np.int8)}
    data = packing.pack(tensors)
    back = packing.unpack(data)
    assert list(back) == ["a", "b"]
    assert all(np.array_equal(back[name], tensors[name]) for name in tensors)
    assert len(data) < 0.75 * (64 * 32 + 100)
    for broken in (data[:200], b"{}" + data, b""):
        with pytest.raises(UnreadableError, match="damaged"):
            packing.unpack(broken)


def test_the_environment_names_another_model(monkeypatch, tmp_path):
    monkeypatch.setenv(module.ENVIRONMENT, str(tmp_path / "mine.onnx"))
    shared.cache_clear()
    try:
        with pytest.raises(MissingPart, match=r"mine\.onnx"):
            shared()
    finally:
        shared.cache_clear()
