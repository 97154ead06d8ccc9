"""Training: reproducible samples, resuming, several processes, export that matches training."""

from __future__ import annotations

import json

import numpy as np
import pytest
from test_datasets import save, scene

from countermark.cli import main
from countermark.datasets.records import Record, write_csv
from countermark.provenance.errors import MissingPart, UsageError

torch = pytest.importorskip("torch", reason="torch is not installed (make train-tools)")
pytest.importorskip("onnx", reason="onnx is not installed (make train-tools)")
pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from countermark.detectors.classifier.model import Classifier, _packed_session  # noqa: E402
from countermark.detectors.classifier.views import normalise, views  # noqa: E402
from countermark.detectors.train import config as recipes  # noqa: E402
from countermark.detectors.train import encoder, export, fit, loop  # noqa: E402
from countermark.detectors.train.head import Head, fit_head  # noqa: E402
from countermark.detectors.train.model import FrameScorer, Network, import_timm  # noqa: E402
from countermark.detectors.train.run import divide, train  # noqa: E402
from countermark.detectors.train.samples import Samples, pool  # noqa: E402

try:
    import_timm()
except Exception as error:  # torchvision built for another torch fails in its own ways
    pytest.skip(f"timm cannot be imported: {error}", allow_module_level=True)

SMALL = recipes.Config(weights="", samples=32, batch=8, sizes=((0.0, 64), (0.5, 96)), held_out=("r0", "g0"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Eight sources of each class, generated ones posterised, and two pairs."""
    root = tmp_path_factory.mktemp("set")
    records = []
    for number in range(64):
        label = ("real", "generated")[number % 2]
        pixels = scene(number, 130, 150)
        pixels = pixels // 48 * 48 if label == "generated" else pixels
        source = f"{label[0]}{number // 2 % 8}"
        path = save(root / f"{number}.png", pixels)
        pair = f"p{number // 2}" if number < 4 else ""
        view = "crop" if number % 8 < 2 else "whole"
        records.append(Record(path, label, f"m{source}", source, "train", "photo", pair, view=view))
    write_csv(records, root / "index.csv")
    return root, records


def test_samples_are_a_function_of_seed_and_number(folder):
    _, records = folder
    one, two = Samples(records, SMALL), Samples(records, SMALL)
    for number in (0, 1, 7):
        a, b = one.sample(number, 64), two.sample(number, 64)
        assert np.array_equal(a.pixels, b.pixels)
        assert (a.target, a.picture, a.frame) == (b.target, b.picture, b.frame)
        assert a.target == number % 2
    other = Samples(records, SMALL.model_copy(update={"seed": 1}))
    assert not np.array_equal(one.sample(0, 64).pixels, other.sample(0, 64).pixels)


def test_every_process_sees_both_classes_and_together_the_whole_batch(folder):
    """A process with one class alone would let batch norm tell the classes."""
    _, records = folder
    whole = Samples(records, SMALL)[1]
    parts = [Samples(records, SMALL, rank, 2)[1] for rank in (0, 1)]
    for pixels, targets in parts:
        assert pixels.shape == (4, 3, 64, 64)
        assert targets.tolist() == [0, 1, 0, 1]
    together = sorted(float(p.sum()) for pixels, _ in parts for p in pixels)
    assert together == pytest.approx(sorted(float(p.sum()) for p in whole[0]), rel=1e-5)


def test_the_side_follows_the_schedule(folder):
    _, records = folder
    samples = Samples(records, SMALL)
    assert len(samples) == 4
    assert [samples[b][0].shape[-1] for b in range(4)] == [64, 64, 96, 96]


def test_groups_are_balanced_and_crops_have_their_share(folder):
    _, records = folder
    many = [r for r in records if r.label == "real"] + [r for r in records if r.source == "r1"] * 9
    even = pool(many, 0.0)
    by_source = {}
    for record, chance in zip(even.records, even.chances, strict=True):
        key = (record.source, record.view)
        by_source[key] = by_source.get(key, 0) + chance
    assert max(by_source.values()) == pytest.approx(min(by_source.values()))
    cut = pool(many, 0.5, crops=0.3)
    share = sum(c for r, c in zip(cut.records, cut.chances, strict=True) if r.view == "crop")
    assert share == pytest.approx(0.3)


def test_both_halves_of_a_pair_are_changed_alike(folder):
    _, records = folder
    only = SMALL.model_copy(update={"pairs": 1.0})
    samples = Samples(records, only)
    a, b = samples.sample(0, 64), samples.sample(1, 64)
    assert records[a.picture].pair == records[b.picture].pair != ""
    assert (a.target, b.target) == (0, 1)
    assert not a.frame


def test_calibration_pictures_are_kept_out_of_training(folder):
    root, _ = folder
    learn, hold = divide([root], SMALL)
    assert {r.source for r in hold} == {"r0", "g0"}
    assert not {r.source for r in learn} & {"r0", "g0"}
    with pytest.raises(UsageError, match="calibrate"):
        divide([root], SMALL.model_copy(update={"held_out": ("r0",)}))


def test_a_dataset_without_splits_is_divided_by_source(folder, tmp_path):
    _, records = folder
    for record in records:
        save(tmp_path / record.label / record.source / record.path.name, scene(int(record.path.stem), 130, 150))
    learn, hold = divide([tmp_path], SMALL)
    assert hold
    assert not {(r.label, r.source) for r in learn} & {(r.label, r.source) for r in hold}


def test_a_flat_folder_with_a_broken_picture_is_divided_too(folder, tmp_path):
    """The simplest dataset: two folders, one source, nothing that the recipe's held_out names."""
    _, records = folder
    for record in records:
        save(tmp_path / record.label / record.path.name, scene(int(record.path.stem), 130, 150))
    broken = tmp_path / "real" / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n broken")
    learn, hold = divide([tmp_path], recipes.load(None))
    assert {r.label for r in learn} == {r.label for r in hold} == {"real", "generated"}
    assert len(learn) + len(hold) <= len(records)
    assert broken not in {r.path for r in (*learn, *hold)}


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    root, _ = folder
    return train([root], tmp_path_factory.mktemp("run"), SMALL, every=2)


def test_a_run_writes_models_that_scan_can_use(trained):
    report = json.loads(trained.report.read_text())
    assert report["config"]["seed"] == 0
    assert report["calibrated_on"]["real"] == {"r0": 4}
    for file in (trained.model, trained.model_int8):
        model = Classifier(file)
        assert model.settings.config == SMALL.digest
        said = model.predict(scene(3, 300, 400), "careful")
        assert said.score is None or 0 <= said.score <= 1
    assert trained.model_int8.stat().st_size < trained.model.stat().st_size / 2


def test_the_exported_network_matches_training(trained, folder):
    """The same pixels through torch as trained and through the file as shipped."""
    _, records = folder
    out = trained.model.parent
    network = Network(SMALL)
    network.load_state_dict(torch.load(out / loop.CHECKPOINT, weights_only=True)["average"])
    network.eval()
    model = Classifier(trained.model)
    _, cut = views(scene(40, 210, 170), SMALL.size, SMALL.size, "careful")
    batch = normalise(cut)
    with torch.inference_mode():
        expected = network(torch.from_numpy(batch)).numpy()
    found = model.windows(batch)
    assert np.abs(found["logit"] - expected).max() < 1e-4
    assert np.abs(found["cells"].mean(axis=(1, 2)) - found["logit"]).max() < 1e-4
    assert batch.min() >= -1
    assert batch.max() <= 1
    settings = model.settings
    again = (np.stack(cut).astype(np.float32) / 255 - settings.mean) / settings.deviation
    assert np.abs(again.transpose(0, 3, 1, 2) - batch).max() < 1e-4
    assert records


def test_the_encoder_is_read_packed_and_run_as_trained(tmp_path):
    settings = recipes.EncoderConfig(layers=1, side=64, levels=23)
    try:
        encoder.locate(settings)
    except MissingPart as error:
        pytest.skip(str(error))
    module = encoder.Encoder(settings).eval()
    matrix = module.blocks[0].f1
    values = [
        len(np.unique(np.round((matrix[:, c] / matrix[:, c].abs().max() * 1e4).numpy()))) for c in range(0, 3072, 500)
    ]
    assert max(values) <= 23
    outer = fit.fit_outer(np.random.default_rng(0).normal(size=(8, encoder.FEATURES)).astype(np.float32), [])
    head = Head(torch.zeros(encoder.FEATURES), torch.ones(encoder.FEATURES), 4).eval()
    whole = FrameScorer(module, head, outer).eval()
    digest = export.frame_files(whole, tmp_path, 64)
    session = _packed_session(tmp_path / "classifier.onnx", digest, 1)
    batch = normalise([scene(1, 64, 64), scene(2, 64, 64)])
    with torch.inference_mode():
        expected = whole(torch.from_numpy(batch))[0].numpy()
    found = session.run(["logit"], {"pixels": batch})[0]
    assert np.abs(found - expected).max() < 0.1 * np.abs(expected).max() + 0.05  # int8 activations


def test_a_head_learns_what_the_features_tell():
    rng = np.random.default_rng(0)
    target = rng.integers(0, 2, 2048)
    table = rng.normal(size=(2048, 32)).astype(np.float16)
    table[:, 0] += 2 * target
    settings = recipes.EncoderConfig(hidden=16, epochs=40)
    one, two = (fit_head(table, target, settings, 0) for _ in range(2))
    with torch.inference_mode():
        logits = one(torch.from_numpy(table.astype(np.float32))).numpy()
        again = two(torch.from_numpy(table.astype(np.float32))).numpy()
    assert np.array_equal(logits, again)
    assert np.mean((logits > 0) == target) > 0.8


def test_a_stopped_run_goes_on_where_it_was(folder, tmp_path):
    root, _ = folder
    learn, _ = divide([root], SMALL)
    for name in "ab":
        (tmp_path / name).mkdir()
    whole = loop.run(loop.Job(tuple(learn), SMALL, tmp_path / "a", 0, 1), 1)
    job = loop.Job(tuple(learn), SMALL, tmp_path / "b", 0, 1)

    class Stopped(Exception):
        pass

    def stop(*args):
        report(*args)
        if args[1] == 2:
            raise Stopped

    report = loop._save
    loop._save = lambda *args: stop(*args)
    try:
        with pytest.raises(Stopped):
            loop.run(job, 1)
    finally:
        loop._save = report
    assert torch.load(tmp_path / "b" / loop.CHECKPOINT, weights_only=True)["batch"] == 2
    resumed = loop.run(job, 1)
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.allclose(a.float(), b.float(), atol=1e-4)


def test_a_folder_belongs_to_one_run(trained, folder, tmp_path):
    root, records = folder
    with pytest.raises(UsageError, match="another config"):
        train([root], trained.model.parent, SMALL.model_copy(update={"seed": 5}))
    write_csv([record for record in records if record.source != "r7"], tmp_path / "index.csv")
    with pytest.raises(UsageError, match="other pictures"):
        train([tmp_path / "index.csv"], trained.model.parent, SMALL)


@pytest.mark.slow
def test_two_processes_train_together(folder, tmp_path):
    root, _ = folder
    learn, _ = divide([root], SMALL)
    network = loop.run(loop.Job(tuple(learn), SMALL, tmp_path, 0, 2), 2)
    assert torch.load(tmp_path / loop.CHECKPOINT, weights_only=True)["batch"] == 4
    assert all(torch.isfinite(p).all() for p in network.parameters())


def test_thresholds_hold_the_false_positive_rate_they_are_chosen_for():
    rng = np.random.default_rng(0)
    kinds = ["photo", "art", "screenshot", "portrait"]
    seen = [
        fit.Seen(Record(None, "real" if i % 2 else "generated", source=f"s{i % 7}", kind=kinds[i // 2 % 4]), "", None)
        for i in range(8000)
    ]
    scores = rng.random(8000) * 0.9
    limits = fit.thresholds(scores, seen, 0.02)
    assert set(limits) == {"photo", "face", "art", "graphics"}
    real = np.array([not s.record.target for s in seen])
    assert (scores[real] >= limits["photo"]).mean() <= 0.022
    assert min(limits.values()) >= fit.LOW


def test_calibration_activations_come_from_every_group(folder):
    _, records = folder
    chosen = export.balanced(records, 16)
    assert len({(r.source, r.generator) for r in chosen}) == 16


def test_the_default_recipe_is_valid_and_a_bad_one_is_explained(tmp_path):
    assert recipes.load(None).backbone == "tf_efficientnet_lite0"
    (tmp_path / "bad.yaml").write_text("sampels: 3\n")
    with pytest.raises(UsageError, match="sampels"):
        recipes.load(tmp_path / "bad.yaml")
    with pytest.raises(UsageError, match="cannot be read"):
        recipes.load(tmp_path / "none.yaml")


def test_the_command_trains_on_a_users_folder(folder, tmp_path, capsys):
    root, _ = folder
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("weights: ''\nbatch: 8\nsizes: [[0.0, 64]]\nheld_out: [r0, g0]\n")
    command = ["train", str(root), "-o", str(tmp_path / "out"), "-c", str(recipe), "--samples", "16", "--json"]
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["model"].endswith("classifier.onnx")
    picture = str(next(root.glob("*.png")))
    model = str(tmp_path / "out" / "classifier.onnx")
    assert main(["scan", "--classifier-model", model, "--json", picture]) in (0, 1)
    assert main(["scan", "--classifier-model", str(tmp_path / "no.onnx"), picture]) == 3
