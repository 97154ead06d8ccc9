"""Data sets: layouts, splits, laundering, audit, collecting from repositories."""

from __future__ import annotations

import csv
import re
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from conftest import noise
from PIL import Image

from countermark.cli import main
from countermark.datasets import laundering
from countermark.datasets.layouts import guess, read
from countermark.datasets.originals import Rule, collect, load_rules
from countermark.datasets.pixels import load_rgb
from countermark.datasets.records import Record, write_csv
from countermark.datasets.splits import assign, groups, near_duplicates_of
from countermark.provenance.errors import UnreadableError, UsageError


def scene(seed: int, height: int = 240, width: int = 320) -> np.ndarray:
    """A picture with structure on several scales, different for each seed."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    smooth = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    return np.clip(smooth + rng.integers(-12, 13, smooth.shape), 0, 255).astype(np.uint8)


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


LAYOUTS = {
    "genimage": (["sdv5/train/ai/a.png", "sdv5/train/nature/b.png", "sdv5/val/ai/c.png"], ("sdv5", "train")),
    "community-forensics": (["ldm/fake/a.png", "ldm/real/b.png"], ("ldm", "")),
    "forensynths": (["progan/cat/1_fake/a.png", "progan/cat/0_real/b.png"], ("progan", "")),
    "cifake": (["train/FAKE/a.png", "train/REAL/b.png", "test/FAKE/c.png"], (None, "train")),
    "imagefolder": (["generated/flux/a.png", "real/camera/b.png"], ("flux", "")),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_folder_layouts_are_told_apart_and_read(tmp_path, layout):
    names, (owner, split) = LAYOUTS[layout]
    for number, name in enumerate(names):
        save(tmp_path / "set" / name, scene(number, 40, 40))
    assert guess(tmp_path / "set") == layout
    records = {r.path.name: r for r in read(tmp_path / "set")}
    assert len(records) == len(names)
    assert records["a.png"].label == "generated"
    assert records["b.png"].label == "real"
    assert records["b.png"].generator == ""
    assert records["a.png"].split == split
    if owner:
        assert records["a.png"].generator == owner


def test_tables_are_read_with_pairs_and_written_back(tmp_path):
    for name in ("a.png", "b.png"):
        save(tmp_path / name, scene(1, 40, 40))
    (tmp_path / "index.csv").write_text(
        "path,label,generator,source,split\na.png,fake,Flux,gallery,train\nb.png,0,,cam,val\n"
    )
    (tmp_path / "paired.csv").write_text(
        "path,label,source,original_sha256\na.png,reconstructed,cam,77\nb.png,real,cam,77\n"
    )
    records = read(tmp_path)
    assert [(r.label, r.group, r.split, r.pair) for r in records] == [
        ("generated", "Flux", "train", ""),
        ("real", "cam", "val", ""),
        ("generated", "paired-cam", "train", "77"),
        ("real", "paired-cam", "train", "77"),
    ]
    write_csv(records[:2], tmp_path / "copy.csv")
    again = read(tmp_path / "copy.csv")
    assert again == records[:2]


@pytest.mark.parametrize(
    ("text", "said"),
    [("path\na.png\n", "label"), ("path,label\na.png,maybe\n", "line 2"), ("path,label\n", "No labelled pictures")],
)
def test_bad_tables_say_what_is_wrong(tmp_path, text, said):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises((UnreadableError, UsageError), match=said):
        read(tmp_path / "t.csv")


def test_missing_datasets_and_unknown_layouts_are_refused(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        read(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="Unknown layout"):
        read(tmp_path, "tfrecord")


@pytest.fixture
def crowd(tmp_path):
    """Twelve sources of each class, four pictures each; the last two sources share a picture, re-encoded."""
    records = []
    for label in ("real", "generated"):
        for source in range(12):
            for number in range(4):
                seed = 1000 * (label == "real") + 10 * source + number
                if number == 0 and source == 11:
                    path = save(tmp_path / label / f"{source}-{number}.jpg", scene(seed - 10), quality=60)
                else:
                    path = save(tmp_path / label / f"{source}-{number}.png", scene(seed))
                records.append(Record(path, label, f"g{source}", f"{label}-{source}"))
    return records


def test_splits_keep_sources_and_near_duplicates_together(crowd):
    first = assign(crowd, {"train": 0.7, "val": 0.3}, seed=3)
    assert first == assign(crowd, {"train": 0.7, "val": 0.3}, seed=3)
    assert first != assign(crowd, {"train": 0.7, "val": 0.3}, seed=4)
    for label in ("real", "generated"):
        mine = [r for r in first if r.label == label]
        share = sum(r.split == "val" for r in mine) / len(mine)
        assert 0.15 <= share <= 0.45
        by_source = {}
        for record in mine:
            by_source.setdefault(record.source, set()).add(record.split)
        assert all(len(splits) == 1 for splits in by_source.values())
        assert by_source[f"{label}-10"] == by_source[f"{label}-11"]  # they share a picture
    number = groups(crowd)
    assert len(set(number)) == 22


def test_one_source_is_divided_by_picture(crowd):
    merged = [replace(r, source=r.label) for r in crowd]
    splits = assign(merged, {"train": 0.5, "val": 0.5})
    assert {r.split for r in splits if r.label == "real"} == {"train", "val"}


def test_shares_must_sum_to_one(crowd):
    with pytest.raises(UsageError, match="sum to 1"):
        assign(crowd, {"train": 0.5})


def test_near_duplicates_of_another_set_are_found(crowd):
    twins = near_duplicates_of([r for r in crowd if r.source == "real-10"], [r for r in crowd if r.source == "real-11"])
    assert [p.name for p in twins] == ["10-0.png"]


CHAINS = [
    "", "jpeg:75", "jpeg:60,444", "webp:50", "avif:50", "resize:0.5", "resize:0.7,1.2,lanczos", "fit:100,bilinear",
    "crop:0.25", "blur:1", "median:3", "sharpen:0.5", "noise:10", "brightness:1.2", "contrast:0.8", "gamma:1.4",
    "saturation:0", "rotate:7", "letterbox:0.1", "overlay:0.2", "screenshot", "platform:instagram",
    "crop:0.75|resize:0.6|jpeg:70",
]  # fmt: skip


@pytest.mark.parametrize("chain", CHAINS)
def test_every_step_is_deterministic_and_gives_a_picture(chain):
    pixels = scene(5)
    before = pixels.copy()
    one, two = laundering.parse(chain)(pixels, 7), laundering.parse(chain)(pixels, 7)
    assert np.array_equal(one, two)
    assert np.array_equal(pixels, before)
    assert one.dtype == np.uint8
    assert one.ndim == 3
    assert one.shape[2] == 3
    if chain:
        assert one.shape != pixels.shape or not np.array_equal(one, pixels)


def test_random_steps_follow_the_seed():
    pixels = scene(5)
    assert not np.array_equal(laundering.parse("noise:5")(pixels, 1), laundering.parse("noise:5")(pixels, 2))


def test_steps_do_what_they_say():
    pixels = scene(5)
    assert laundering.parse("resize:0.5")(pixels).shape == (120, 160, 3)
    assert laundering.parse("fit:100")(pixels).shape == (75, 100, 3)
    assert laundering.parse("crop:0.25")(pixels).shape == (120, 160, 3)
    grey = laundering.parse("saturation:0")(pixels)
    assert np.ptp(grey.astype(int), axis=2).max() <= 1
    assert laundering.parse("platform:instagram")(noise(1200, 2000)).shape == (648, 1080, 3)


@pytest.mark.parametrize("text", ["jpg:75", "jpeg:high", "resize", "blur:1,2", "platform:myspace"])
def test_bad_chains_name_the_step(text):
    with pytest.raises(UsageError, match=text.split(":")[-1] if "platform" in text else text.split(":")[0]):
        laundering.parse(text)(scene(1))


def test_platform_figures_have_a_source_and_a_date():
    table = laundering.platforms()
    assert {"instagram", "facebook", "x", "tiktok"} <= set(table)
    assert all(p.source and p.date and p.metadata in ("kept", "stripped", "c2pa") for p in table.values())


def test_the_audit_sees_a_shortcut_and_only_a_shortcut(tmp_path):
    audit = pytest.importorskip("countermark.datasets.audit")
    pytest.importorskip("sklearn")
    records = []
    for number in range(120):
        label = ("real", "generated")[number % 2]
        quality = 95 if label == "real" else 70
        path = save(tmp_path / f"{number}.jpg", scene(number, 96, 128), quality=quality)
        records.append(Record(path, label, source=f"{label}{number % 10}"))
    found = audit.shortcut_scores(records)
    assert found["quantisation"] > 0.95
    assert found["size"] == pytest.approx(0.5, abs=0.1)
    assert found["all"] > 0.95


def test_a_card_names_sources_and_the_audit(crowd):
    pytest.importorskip("sklearn")
    from countermark.datasets.card import card

    text = card(assign(crowd, {"train": 0.7, "val": 0.3}), "crowd")
    assert "real-3" in text
    assert "Bias audit" in text


def test_pictures_are_collected_from_repositories_without_a_checkout(tmp_path):
    git = tmp_path / "mirrors" / "someone+gallery" / "repo"
    git.mkdir(parents=True)
    for number in range(6):
        save(git / "out" / f"made {number}.png", scene(number, 700, 900))
    save(git / "out" / "small.png", scene(9, 80, 80))
    save(git / "other" / "secret.png", scene(10, 400, 400))
    (git / "out" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    run = ["git", "-c", "user.name=t", "-c", "user.email=t@t", "-C", str(git)]
    for step in (["init", "-q"], ["add", "."], ["commit", "-qm", "pictures"]):
        subprocess.run([*run, *step], check=True)
    held = (git / "out" / "made 0.png").read_bytes()
    import hashlib

    with (tmp_path / "index.csv").open("w", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(["path", "split", "label", "source", "original_sha256", "source_path"])
        rows.writerow(["v.jpg", "val", "generated", "x", hashlib.sha256(held).hexdigest(), "out/made 0.png"])
    rule = Rule("gallery", "someone/gallery", "generated", r"^out/", generator="Maker")
    records = collect(tmp_path / "index.csv", tmp_path / "mirrors", tmp_path / "out", [rule])
    assert {r.view for r in records} == {"whole", "crop"}
    assert len(records) == 10  # five pictures, two views; not the held one, the small one, the broken one
    assert {(r.label, r.generator, r.split) for r in records} == {("generated", "Maker", "train")}
    assert max(load_rgb(records[0].path).shape) == 576
    assert read(tmp_path / "out")[0].view == "whole"


def test_the_rules_for_originals_name_every_reserved_split():
    rules = load_rules()
    assert {r.label for r in rules} == {"real", "generated"}
    assert all(r.paths or r.indexed_only for r in rules)
    generated = [r for r in rules if r.repo == "dcsan/imagen"]
    assert {r.source for r in generated} == {
        f"{model}-dcsan"
        for model in ("dallemini", "latentdiffusion", "glid3xl", "simulacra", "discodiffusion", "majestydiffusion")
    }
    reserved = ("images/x/stab-01.png", "images/x/midj-02.png", "images/x/dal2-03.png", "images/x/photo.png")
    for path in reserved:
        assert not any(re.search(r.paths, path, re.I) for r in generated), path
    pages = next(r for r in rules if r.source == "templates-web")
    assert re.search(pages.leave_out, "site/images/screenshot-1.png", re.I)
    assert re.search(pages.leave_out, "site/img/logo.png", re.I)


def test_datasets_commands(tmp_path, crowd, capsys):
    root = tmp_path
    assert (
        main(["datasets", "split", str(root), "--layout", "imagefolder", "-o", str(tmp_path / "s.csv"), "--json"]) == 0
    )
    assert (tmp_path / "s.csv").is_file()
    picture = str(crowd[0].path)
    assert main(["datasets", "launder", picture, "resize:0.5|jpeg:70", "-o", str(tmp_path / "l.png")]) == 0
    assert Image.open(tmp_path / "l.png").size == (160, 120)
    assert main(["datasets", "launder", picture, "jpeg:70", "-o", str(tmp_path / "l.jpg")]) == 2
    assert main(["datasets", "platforms"]) == 0
    assert "estimate" in capsys.readouterr().out
