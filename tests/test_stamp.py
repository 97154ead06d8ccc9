"""Stamping: all marks or none, never the input, never a partial file."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pytest

import countermark as cm
from countermark.provenance import stamp as stamp_module
from countermark.provenance.manifest.write import Parent
from countermark.provenance.registry import default_registry


@pytest.fixture
def picture(tmp_path: Path, encode) -> Path:
    path = tmp_path / "in.jpg"
    path.write_bytes(encode())
    return path


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "GIF"])
def test_a_stamped_image_is_confirmed_and_only_the_watermark_touches_pixels(keys, tmp_path, encode, form):
    source = encode(form)
    stamped = cm.stamp(source, None, cm.Origin(model="m"))
    result = cm.scan(stamped.data)
    assert result.status is cm.Status.AI_GENERATED_CONFIRMED
    assert "manifest" in stamped.marks
    assert ("watermark" in stamped.marks) == (form not in ("TIFF", "GIF"))
    assert bool(stamped.skipped) == (form in ("AVIF", "TIFF", "GIF"))
    bare = cm.stamp(source, None, cm.Origin(model="m"), marks=["manifest"])
    assert np.array_equal(cm.Upload(source).pixels, cm.Upload(bare.data).pixels)


def test_edited_and_captured_origins_scan_as_what_they_say(keys, encode):
    edited = cm.stamp(encode(), None, cm.Origin(source_type="compositeWithTrainedAlgorithmicMedia"))
    assert cm.scan(edited.data).status is cm.Status.AI_EDITED_CONFIRMED
    captured = cm.stamp(encode(), None, cm.Origin(source_type="digitalCapture"))
    assert cm.scan(captured.data).status is cm.Status.CAPTURE_CONFIRMED


def test_stripped_of_everything_it_is_no_evidence_and_never_authentic(keys, encode):
    result = cm.scan(encode(quality=70))
    assert result.status is cm.Status.NO_AI_EVIDENCE
    assert "not proof" in result.summary


def test_metadata_alone_is_unsigned(keys, encode):
    stamped = cm.stamp(encode(), None, cm.Origin(), marks=["metadata"])
    assert cm.scan(stamped.data).status is cm.Status.AI_GENERATED_WATERMARKED  # the registry knows these bytes
    (keys.parent / "registry.sqlite").unlink()
    default_registry().close()
    assert cm.scan(stamped.data).status is cm.Status.AI_MARKED_UNSIGNED


def test_a_tampered_stamp_is_invalid_and_its_claim_ignored(keys, encode):
    data = bytearray(cm.stamp(encode(), None, cm.Origin(), marks=["manifest"]).data)
    data[-2000] ^= 0x55
    result = cm.scan(bytes(data))
    assert result.status is cm.Status.PROVENANCE_INVALID
    assert result.review


def test_an_existing_manifest_becomes_the_parent(keys, encode):
    first = cm.stamp(encode(), None, cm.Origin(model="first"))
    second = cm.stamp(first.data, None, cm.Origin(source_type="humanEdits"))
    result = cm.scan(second.data)
    assert result.status is cm.Status.AI_GENERATED_CONFIRMED
    assert len(result.by_name("c2pa").detail["manifests"]) == 2


def test_the_input_is_never_changed_unless_asked(keys, picture):
    before = picture.read_bytes()
    with pytest.raises(cm.UsageError, match="--in-place"):
        cm.stamp(picture, picture)
    assert picture.read_bytes() == before
    os.chmod(picture, 0o640)
    cm.stamp(picture, picture, in_place=True)
    assert picture.read_bytes() != before
    assert stat.S_IMODE(picture.stat().st_mode) == 0o640


def test_a_hard_or_soft_link_to_the_input_is_the_input(keys, picture, tmp_path):
    link = tmp_path / "link.jpg"
    link.symlink_to(picture)
    with pytest.raises(cm.UsageError, match="is the input itself"):
        cm.stamp(picture, link, force=True)


def test_an_existing_output_is_kept_unless_forced(keys, picture, tmp_path):
    target = tmp_path / "out.jpg"
    target.write_bytes(b"precious")
    with pytest.raises(cm.UsageError, match="--force"):
        cm.stamp(picture, target)
    assert target.read_bytes() == b"precious"
    cm.stamp(picture, target, force=True)
    assert cm.scan(target).status is cm.Status.AI_GENERATED_CONFIRMED


def test_wrong_extension_and_missing_folder_are_refused_before_any_work(keys, picture, tmp_path):
    with pytest.raises(cm.UsageError, match="does not convert"):
        cm.stamp(picture, tmp_path / "out.png")
    with pytest.raises(cm.UsageError, match="no such folder"):
        cm.stamp(picture, tmp_path / "missing" / "out.jpg")


def test_a_mark_that_does_not_read_back_saves_nothing(keys, picture, tmp_path, monkeypatch):
    real = stamp_module.sign_manifest

    def broken(data, *args, **options):
        result = real(data, *args, **options)
        from dataclasses import replace

        return replace(result, data=data)  # as if the manifest had been lost

    monkeypatch.setattr(stamp_module, "sign_manifest", broken)
    with pytest.raises(cm.MarkError, match="does not read back"):
        cm.stamp(picture, tmp_path / "out.jpg")
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ["in.jpg"]


def test_a_failed_write_leaves_no_part_behind(keys, picture, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("countermark.provenance.home.os.replace", full)
    with pytest.raises(cm.MarkError, match="No space left"):
        cm.stamp(picture, tmp_path / "out.jpg")
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ["in.jpg"]


def test_without_a_key_it_says_how_to_make_one(picture, tmp_path):
    with pytest.raises(cm.MissingPart, match="countermark keys init"):
        cm.stamp(picture, tmp_path / "out.jpg")


def test_documents_are_refused(keys, tmp_path):
    path = tmp_path / "x.pdf"
    path.write_bytes(b"%PDF-1.4\n%%EOF")
    with pytest.raises(cm.UsageError, match="stamp takes images"):
        cm.stamp(path, tmp_path / "y.pdf")


def test_marks_asked_for_by_name_must_succeed(keys, encode):
    assert cm.stamp(encode("GIF"), None, cm.Origin()).skipped
    with pytest.raises(cm.MarkError, match="gif files keep their pixels"):
        cm.stamp(encode("GIF"), None, cm.Origin(), marks=["watermark", "manifest"])


def test_tc260_is_written_only_for_ai(keys, encode):
    stamped = cm.stamp(encode("PNG"), None, cm.Origin(tc260_producer="001191110102MACQD9K64010000"))
    ids = [s["id"] for s in cm.scan(stamped.data).by_name("metadata").detail["signatures"]]
    assert "tc260.aigc" in ids
    with pytest.raises(cm.UsageError, match="TC260"):
        cm.Origin(source_type="digitalCapture", tc260_producer="x")


def test_image_to_image_keeps_the_inputs_history(keys, encode):
    parent = cm.stamp(encode(), None, cm.Origin(model="first")).data
    origin = cm.Origin(model="second", source_type="compositeWithTrainedAlgorithmicMedia")
    child = cm.stamp(encode("PNG"), None, origin, parents=[Parent(parent, "image/jpeg", "parent.jpg")])
    result = cm.scan(child.data)
    assert result.status is cm.Status.AI_GENERATED_CONFIRMED
    assert result.by_name("c2pa").detail["claim_path"][1:]
