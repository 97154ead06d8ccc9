"""The registry leads stripped copies home, and says how sure it is."""

from __future__ import annotations

import io
import multiprocessing
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data as pictures

import countermark as cm
from countermark.cli import main
from countermark.provenance.errors import MarkError, MissingPart, UnreadableError
from countermark.provenance.fingerprint import Fingerprint, fingerprint
from countermark.provenance.recover import recover, recovered_manifest
from countermark.provenance.registry import Record, Registry, default_registry, new_id
from countermark.provenance.watermark.stamp_mark import ALGORITHM


def strip(data: bytes, scale: float = 1.0, quality: int = 70) -> bytes:
    """As a platform does: decode, resize, save as JPEG, forget everything else."""
    image = Image.fromarray(cm.Upload(data).pixels)
    if scale != 1.0:
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()


@pytest.fixture
def stamped(keys, encode) -> cm.Stamped:
    return cm.stamp(encode(), None, cm.Origin(model="SDXL"))


def test_the_soft_binding_names_the_mark_and_the_record(stamped):
    manifest = cm.scan(stamped.data).by_name("c2pa").detail
    assert manifest["soft_bindings"] == [{"alg": ALGORITHM, "value": stamped.mark_id}]
    record = default_registry().by_id(stamped.mark_id)
    assert record.binding_alg == ALGORITHM
    assert record.manifest_id == manifest["active_manifest"]
    assert default_registry().by_manifest(record.manifest_id).mark_id == stamped.mark_id
    assert record.manifest == stamped.manifest


def test_same_bytes_are_recovered_as_such(stamped):
    found = recover(cm.Upload(stamped.data))
    assert (found.state, found.by, found.proven) == ("recovered, same bytes", ("sha256",), True)


def test_a_recompressed_copy_is_led_home_by_mark_and_fingerprint(stamped):
    copy = cm.Upload(strip(stamped.data))
    found = recover(copy)
    assert found.state == "recovered, bytes differ"
    assert found.by == ("watermark", "fingerprint")
    assert found.record.mark_id == stamped.mark_id
    report = recovered_manifest(found, copy)
    assert report.signature == "ok"
    assert report.signer.trust == "user"
    assert report.claim.value == "generated"
    result = cm.scan(copy)
    assert result.status is cm.Status.AI_GENERATED_WATERMARKED
    assert "marks.stripped" in result.reasons
    assert "tamper" not in str(result.to_dict()).lower()


def test_a_halved_copy_is_a_hint_by_fingerprint_alone(stamped):
    copy = cm.Upload(strip(stamped.data, 0.5))
    found = recover(copy)
    assert (found.by, found.proven) == (("fingerprint",), False)
    assert found.record.mark_id == stamped.mark_id
    result = cm.scan(copy)
    assert (result.status, result.review) == (cm.Status.INCONCLUSIVE, True)


def test_a_mark_copied_onto_another_picture_is_not_ours(stamped, encode):
    """The public mark can be written by anybody: without the fingerprint it proves nothing."""
    from countermark.provenance.watermark.stamp_mark import embed_id

    other = np.asarray(Image.fromarray(pictures.coffee()))
    forged = embed_id(np.ascontiguousarray(other), stamped.mark_id)
    result = cm.scan(encode("PNG", Image.fromarray(forged)))
    assert result.status is cm.Status.AI_MARKED_UNSIGNED
    evidence = result.by_name("registry")
    assert evidence.strength is cm.Strength.DECLARED
    assert "belongs to another picture" in evidence.detail["note"]


def test_strangers_are_not_found(stamped, encode):
    for image in (pictures.coffee(), pictures.chelsea()):
        found = recover(cm.Upload(encode("JPEG", Image.fromarray(image))))
        assert found.state == "not found"
        assert found.record is None


def test_an_empty_or_absent_registry_is_no_error(home, encode, tmp_path):
    assert recover(cm.Upload(encode())).state == "not found"
    assert not default_registry().exists  # looking up does not make one
    assert len(Registry(tmp_path / "none.sqlite")) == 0


def record(**changes) -> Record:
    values = {
        "mark_id": new_id(),
        "sha256": "0" * 64,
        "fingerprint": Fingerprint(np.random.default_rng().bytes(32), 100),
        "media_type": "image/png",
        "width": 1,
        "height": 1,
        "title": "x",
        "source_type": "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia",
    }
    return Record(**{**values, **changes})


def test_plain_pictures_are_never_matched_by_fingerprint(tmp_path):
    registry = Registry(tmp_path / "r.sqlite")
    flat = Fingerprint(bytes(32), 0)
    registry.add(record(fingerprint=flat))
    assert registry.by_fingerprint(flat) is None
    assert registry.by_fingerprint(Fingerprint(bytes(32), 100)) is None


def test_ids_are_matched_with_a_stated_chance_rate(tmp_path):
    registry = Registry(tmp_path / "r.sqlite")
    for _ in range(50):
        registry.add(record())
    mine = record()
    registry.add(mine)
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(mine.mark_id), np.uint8)).astype(bool)
    bits[[3, 40]] ^= True
    match = registry.by_mark(bits)
    assert (match.record.mark_id, match.wrong_bits) == (mine.mark_id, 2)
    assert match.p_value < 1e-12
    other = registry.by_mark(np.random.default_rng(1).integers(0, 2, 64).astype(bool))
    assert other is None or other.p_value > 1e-6


def _write(path: str, count: int) -> None:
    registry = Registry(Path(path))
    for _ in range(count):
        registry.add(record())
    registry.close()


def test_processes_write_together_and_readers_see_it(tmp_path):
    path = tmp_path / "r.sqlite"
    registry = Registry(path)
    first = record()
    registry.add(first)
    assert registry.by_fingerprint(first.fingerprint)[0].mark_id == first.mark_id
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write, args=(str(path), 20)) for _ in range(3)]
    for worker in workers:
        worker.start()
    late = record()
    registry.add(late)
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert len(registry) == 62
    last = next(registry.records())
    assert registry.by_fingerprint(last.fingerprint)[0].mark_id == last.mark_id
    assert registry.by_fingerprint(late.fingerprint)[0].mark_id == late.mark_id


def test_a_failed_stamp_leaves_no_record(keys, encode, monkeypatch):
    from countermark import stamping

    monkeypatch.setattr(stamping, "resolve", lambda *a: type("V", (), {"status": cm.Status.CONFLICT})())
    with pytest.raises(MarkError, match="scans as conflict"):
        cm.stamp(encode(), None, cm.Origin())
    assert len(default_registry()) == 0


def test_damaged_and_newer_registries_are_explained(tmp_path):
    path = tmp_path / "r.sqlite"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(UnreadableError, match="Move the file away"):
        len(Registry(path))
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(MissingPart, match="newer version"):
        len(Registry(path))


def test_a_registry_that_cannot_be_written_is_still_read(tmp_path, monkeypatch):
    mine = record()
    writer = Registry(tmp_path / "r.sqlite")
    writer.add(mine)
    writer.close()
    real = sqlite3.connect

    def read_only(address, **options):
        if not options.get("uri"):
            raise sqlite3.OperationalError("unable to open database file")
        return real(address, **options)

    monkeypatch.setattr(sqlite3, "connect", read_only)
    registry = Registry(tmp_path / "r.sqlite")
    assert registry.by_fingerprint(mine.fingerprint)[0].mark_id == mine.mark_id
    with pytest.raises(MarkError, match="cannot be stored"):
        registry.add(record())


def test_a_broken_registry_is_an_error_in_the_evidence_not_a_crash(home, encode):
    home.mkdir()
    (home / "registry.sqlite").write_bytes(b"this is no database" * 100)
    result = cm.scan(encode())
    assert result.status is cm.Status.INCONCLUSIVE
    assert "cannot be opened" in result.by_name("registry").error


def test_fingerprints_survive_recompression_and_tell_pictures_apart(encode):
    def of(data: bytes) -> np.ndarray:
        return np.unpackbits(np.frombuffer(fingerprint(cm.Upload(data).view).bits, np.uint8))

    base = of(encode(quality=95))
    assert (base != of(strip(encode(), 0.5))).sum() <= 16
    assert (base != of(encode("JPEG", Image.fromarray(pictures.coffee())))).sum() > 90


def test_command_line(stamped, tmp_path, capsys):
    copy = tmp_path / "copy.jpg"
    copy.write_bytes(strip(stamped.data))
    target = tmp_path / "m.c2pa"
    assert main(["recover", str(copy), "--manifest", str(target)]) == 1
    out = capsys.readouterr().out
    assert "recovered, bytes differ" in out
    assert target.read_bytes() == stamped.manifest
    assert main(["recover", str(copy), "--manifest", str(target)]) == 2
    assert main(["registry", "list"]) == 0
    assert stamped.mark_id in capsys.readouterr().out
    assert main(["registry", "show", stamped.mark_id, "--json"]) == 0
    assert main(["registry", "show", "nonsense"]) == 2
    assert main(["registry", "remove", stamped.mark_id]) == 0
    assert main(["recover", str(copy)]) == 0
    assert main(["registry", "remove", stamped.mark_id]) == 2


def test_pixels_are_replaced_and_everything_else_stays(keys):
    from PIL import PngImagePlugin

    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    rgb = Image.fromarray(pictures.coffee())
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "kept")
    for form, options in (("JPEG", {"quality": 83, "subsampling": 1}), ("PNG", {"pnginfo": info}), ("WEBP", {})):
        out = io.BytesIO()
        rgb.save(out, form, exif=exif, **options)
        after = cm.stamp(out.getvalue(), None, cm.Origin())
        assert "watermark" in after.marks
        old, new = Image.open(io.BytesIO(out.getvalue())), Image.open(io.BytesIO(after.data))
        assert new.getexif()[0x0112] == 6
        assert new.getexif()[0x010F] == "Maker"
        assert new.size == old.size
        if form == "JPEG":
            assert new.quantization == old.quantization
        if form == "PNG":
            assert new.text["Comment"] == "kept"
        difference = np.asarray(new.convert("RGB")).astype(int) - np.asarray(old.convert("RGB"))
        assert 0 < (difference**2).mean() < 12


@pytest.mark.parametrize("mode", ["L", "P", "RGBA"])
def test_pictures_that_cannot_take_the_mark_say_so(keys, encode, photo, mode):
    image = photo.convert(mode)
    if mode == "RGBA":
        image.putalpha(100)
    result = cm.stamp(encode("PNG", image), None, cm.Origin())
    assert "watermark" not in result.marks
    assert any(s.startswith("watermark:") for s in result.skipped)
    assert cm.scan(result.data).status is cm.Status.AI_GENERATED_CONFIRMED


def test_an_empty_registry_is_the_one_that_was_named(keys, encode, tmp_path):
    """An empty one has length zero; it must not be taken for none."""
    cm.stamp(encode(), None, cm.Origin())  # into the registry of this machine
    empty = Registry(tmp_path / "empty.sqlite")
    empty.add(record(mark_id="0" * 16))
    empty.remove("0" * 16)
    assert len(empty) == 0
    assert recover(cm.Upload(encode()), empty).state == "not found"
    assert recover(cm.Upload(encode())).record is not None


def test_what_was_not_saved_leaves_no_record(keys, encode, tmp_path, monkeypatch):
    source, target = tmp_path / "in.jpg", tmp_path / "out.jpg"
    source.write_bytes(encode())
    target.write_bytes(b"precious")
    with pytest.raises(cm.UsageError, match="--force"):
        cm.stamp(source, target)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("countermark.provenance.home.os.replace", full)
    with pytest.raises(MarkError, match="No space left"):
        cm.stamp(source, tmp_path / "new.jpg", label=cm.Policies(("meta",)))
    assert len(default_registry()) == 0
    assert cm.scan(source).status is cm.Status.NO_AI_EVIDENCE
