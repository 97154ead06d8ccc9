"""The rules of the house: arrows point down, every examiner keeps the contract, docs do not drift."""

from __future__ import annotations

import ast
import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import noise
from PIL import Image

import countermark as cm
from countermark.provenance.evidence import Claim, Evidence, Kind, Strength, run_examiner
from countermark.scanning import default_examiners

ROOT = Path(__file__).resolve().parent.parent
# What each folder may import; the face may import all but the service, the service all but the command line.
BELOW = {
    "provenance": {"provenance"},
    "datasets": {"datasets", "provenance"},
    "policies": {"policies", "provenance"},
    "detectors": {"detectors", "datasets", "provenance"},
    "generation": {"generation", "provenance"},
}


def modules():
    for folder in BELOW:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield folder, path


@pytest.mark.parametrize(("folder", "path"), list(modules()), ids=lambda v: str(v).removeprefix(str(ROOT)))
def test_imports_only_point_down(folder, path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [a.name for a in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            if name.startswith("countermark."):
                assert name.split(".")[1] in BELOW[folder], f"{path.name} imports {name}"
            assert name != "countermark", f"{path.name} imports the face"


def library_files():
    return [p for f in (*BELOW, "countermark", "api") for p in sorted((ROOT / f).rglob("*.py"))]


def test_library_code_neither_prints_nor_asserts_and_files_are_short():
    for path in library_files():
        text = path.read_text()
        assert text.count("\n") <= 500, path
        for node in ast.walk(ast.parse(text)):
            assert not isinstance(node, ast.Assert), path
            called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
            assert called != "print", path


def test_every_public_name_is_documented_and_typed():
    for path in library_files():
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), path
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path.name}: {node.name}"
            if isinstance(node, ast.FunctionDef):
                assert node.returns is not None, f"{path.name}: {node.name}"


def strange_files() -> dict[str, bytes]:
    """What an examiner must live with."""

    def save(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
        out = io.BytesIO()
        image.save(out, form, **options)
        return out.getvalue()

    rgb = Image.fromarray(noise(300, 280))
    return {
        "one pixel": save(Image.new("RGB", (1, 1))),
        "grey": save(rgb.convert("L")),
        "alpha": save(rgb.convert("RGBA")),
        "palette": save(rgb.convert("P")),
        "16 bit": save(Image.fromarray(np.full((300, 300), 40_000, np.uint16))),
        "cmyk": save(rgb.convert("CMYK"), "JPEG"),
        "cut": save(rgb, "JPEG")[:3000],
        "flat": save(Image.new("RGB", (512, 512), (9, 9, 9))),
        "pdf": b"%PDF-1.4\n%%EOF",
        "audio": b"fLaC" + b"\0" * 60,
    }


@pytest.mark.parametrize("index", range(len(default_examiners())))
@pytest.mark.parametrize("name", list(strange_files()))
def test_every_examiner_keeps_the_contract(index, name):
    examiner = default_examiners()[index]
    upload = cm.Upload(strange_files()[name])
    first, second = run_examiner(examiner, upload), run_examiner(examiner, cm.Upload(upload.data))
    assert isinstance(first, Evidence)
    assert (first.kind, first.name) == (examiner.kind, examiner.name)
    assert isinstance(first.kind, Kind)
    assert isinstance(first.claim, Claim)
    assert first.strength is None or isinstance(first.strength, Strength)
    assert first.ms >= 0
    if not first.found:
        assert first.claim is Claim.NONE
    one, two = first.to_dict(), second.to_dict()
    one["ms"] = two["ms"] = 0
    assert json.dumps(one) == json.dumps(two)  # deterministic and JSON-serialisable


def test_examiners_are_thread_safe(encode):
    files = [encode(quality=q) for q in range(70, 82)]

    def statuses(data: bytes) -> list[bool]:
        return [run_examiner(e, cm.Upload(data)).found for e in default_examiners()]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(statuses, files)) == [statuses(f) for f in files]


def test_a_failing_examiner_is_evidence_with_an_error(encode):
    class Broken:
        kind, name = Kind.WATERMARK, "broken"

        def __call__(self, upload: cm.Upload) -> Evidence:
            raise RuntimeError("no such codec")

    result = cm.scan(encode(), examiners=[Broken()])
    assert result.evidence[0].error == "RuntimeError: no such codec"
    assert result.status is cm.Status.INCONCLUSIVE


def test_every_command_is_in_the_docs():
    from countermark.cli.app import app

    text = (ROOT / "README.md").read_text() + "".join(p.read_text() for p in (ROOT / "docs").glob("*.md"))
    for command in app.registered_commands:
        assert f"countermark {command.name}" in text or f"`{command.name}" in text, command.name
    for group in app.registered_groups:
        assert f"countermark {group.name}" in text, group.name


def test_every_status_is_in_the_docs():
    text = (ROOT / "docs" / "scan.md").read_text()
    assert all(f"`{status.value}`" in text for status in cm.Status)
