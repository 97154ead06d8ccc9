"""The command line as its users meet it: output, exit codes, messages."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from countermark.cli import main

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def folder(tmp_path: Path, encode) -> Path:
    """A plain photo, a marked one, a broken one, and something that is no picture."""
    place = tmp_path / "uploads"
    place.mkdir()
    (place / "plain.jpg").write_bytes(encode())
    (place / "notes.txt").write_text("not an image")
    return place


@pytest.fixture
def marked(keys, folder, tmp_path, encode) -> Path:
    from skimage import data

    source, target = tmp_path / "source.jpg", folder / "marked.jpg"
    source.write_bytes(encode("JPEG", Image.fromarray(data.coffee())))
    assert main(["stamp", str(source), "-o", str(target), "--model", "SDXL"]) == 0
    return target


def test_exit_codes(folder, marked, tmp_path, capsys):
    assert main(["scan", str(folder / "plain.jpg")]) == 0
    assert main(["scan", str(marked)]) == 1
    assert main(["scan", str(tmp_path / "missing.jpg")]) == 3
    assert main(["scan", str(folder / "notes.txt")]) == 3
    assert main(["scan"]) == 2
    assert main(["scan", "--format", "pdf", str(folder)]) == 2
    assert main(["no-such-command"]) == 2
    assert main(["scan", str(tmp_path / "*.nothing")]) == 2


@pytest.mark.parametrize("form", ["json", "jsonl", "csv", "html", "sarif", "text"])
def test_every_format_reports_both_files(folder, marked, form, capsys):
    capsys.readouterr()
    assert main(["scan", "--format", form, str(folder)]) == 1
    out = capsys.readouterr().out
    assert "marked.jpg" in out
    assert "plain.jpg" in out
    if form == "json":
        assert [r["status"] for r in json.loads(out)] == ["ai_generated_confirmed", "no_ai_evidence"]
    elif form == "jsonl":
        assert all(json.loads(line)["schema"] == "countermark.scan/1" for line in out.splitlines())
    elif form == "csv":
        assert [r["status"] for r in csv.DictReader(io.StringIO(out))] == ["ai_generated_confirmed", "no_ai_evidence"]
    elif form == "sarif":
        (run,) = json.loads(out)["runs"]
        assert [r["level"] for r in run["results"]] == ["warning", "none"]
    elif form == "html":
        assert "<script" not in out
        assert out.count("data:image/jpeg;base64,") == 2


def test_scan_object_has_the_fields_of_the_contract(folder, capsys):
    main(["scan", "--format", "jsonl", str(folder / "plain.jpg")])
    table = json.loads(capsys.readouterr().out)
    assert set(table) >= {
        "schema",
        "path",
        "sha256",
        "media_type",
        "width",
        "height",
        "status",
        "summary",
        "review",
        "reasons",
        "classifier_score",
        "evidence",
        "decisions",
        "timings_ms",
        "versions",
    }
    assert set(table["evidence"][0]) >= {"kind", "name", "found", "claim", "strength", "detail", "error", "ms"}
    assert (table["width"], table["height"], table["classifier_score"]) == (512, 512, None)


def test_every_file_gets_its_object_even_when_it_cannot_be_read(folder, encode, capsys):
    (folder / "cut.jpg").write_bytes(encode()[:4000])
    (folder / "empty.png").write_bytes(b"")
    assert main(["scan", "--format", "jsonl", str(folder)]) == 3
    rows = {Path(r["path"]).name: r for r in map(json.loads, capsys.readouterr().out.splitlines())}
    assert rows["cut.jpg"]["status"] == rows["empty.png"]["status"] == "error"
    assert "empty" in rows["empty.png"]["error"]


def test_a_list_on_standard_input(folder, marked, capsys, monkeypatch):
    for separator in ("\n", "\0"):
        names = separator.join([str(folder / "plain.jpg"), str(marked)]).encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(names)))
        assert main(["scan", "--format", "jsonl", "-"]) == 1
        assert len(capsys.readouterr().out.splitlines()) == 2


def test_patterns_and_repeated_names_count_once(folder, marked, capsys):
    main(["scan", "--format", "jsonl", str(folder / "*.jpg"), str(folder), str(marked)])
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_resume_skips_what_is_done_and_drops_a_torn_line(folder, marked, tmp_path, capsys):
    out = tmp_path / "out.jsonl"
    main(["scan", "--format", "jsonl", "-o", str(out), str(marked)])
    with out.open("a") as stream:
        stream.write('{"path": "torn')
    assert main(["scan", "--format", "jsonl", "-o", str(out), "--resume", str(folder)]) == 0
    names = [Path(json.loads(line)["path"]).name for line in out.read_text().splitlines()]
    assert names == ["marked.jpg", "plain.jpg"]
    assert main(["scan", "--resume", str(folder)]) == 2


def test_two_jobs_give_the_same_report_in_the_same_order(folder, marked, encode, capsys):
    for i in range(20):
        (folder / f"p{i:02}.jpg").write_bytes(encode(quality=50 + i))
    reports = []
    for jobs in ("1", "2"):
        main(["scan", "--format", "json", "--jobs", jobs, str(folder)])
        reports.append([(r["path"], r["status"], r["sha256"]) for r in json.loads(capsys.readouterr().out)])
    assert reports[0] == reports[1]
    assert len(reports[0]) == 22


def test_stamp_messages(folder, keys, tmp_path, capsys):
    source = str(folder / "plain.jpg")
    for arguments, words in (
        ([source], "Name an output"),
        ([source, "-o", source], "is the input itself"),
        ([source, "-o", str(tmp_path / "x.jpg"), "--source-type", "digitalCaptur"], "Did you mean digitalCapture"),
        ([source, "-o", str(tmp_path / "x.jpg"), "--marks", "glitter"], "allowed are watermark, metadata, manifest"),
        ([source, "-o", str(tmp_path / "x.jpg"), "--set", "seed"], "takes name=value"),
        ([source, "-o", str(tmp_path / "x.jpg"), "--cert", "a.pem"], "go together"),
        ([source, "-o", str(tmp_path / "x.jpg"), "--tsa-required"], "needs --tsa"),
    ):
        assert main(["stamp", *arguments]) == 2
        assert words in capsys.readouterr().err
    assert main(["stamp", source, "-o", str(tmp_path / "x.jpg"), "--json", "--set", "seed=7"]) == 0
    assert json.loads(capsys.readouterr().out)["marks"] == ["watermark", "metadata", "manifest"]


def test_inspect_shows_the_tree_and_the_signatures(marked, capsys):
    assert main(["inspect", str(marked)]) == 1
    out = capsys.readouterr().out
    for words in (
        "c2pa.created trainedAlgorithmicMedia",
        "trusted on this machine",
        "sdxl:",
        "hypotheses",
        "soft binding",
    ):
        assert words in out
    assert main(["inspect", "--json", str(marked)]) == 1
    assert json.loads(capsys.readouterr().out)["status"] == "ai_generated_confirmed"


def test_keys_trust_and_doctor(home, capsys, tmp_path):
    assert main(["keys", "show"]) == 3
    assert "keys init" in capsys.readouterr().err
    assert main(["keys", "init"]) == 0
    assert main(["keys", "init"]) == 0
    assert "nothing was changed" in capsys.readouterr().out
    assert main(["keys", "show", "--json"]) == 0
    assert "PRIVATE" not in capsys.readouterr().out
    assert main(["trust", "list"]) == 0
    assert "Google" in capsys.readouterr().out
    assert main(["trust", "add", str(home / "keys" / "ca.pem")]) == 0
    assert main(["trust", "add", str(tmp_path / "missing.pem")]) == 2
    assert main(["trust", "update"]) == 2
    assert main(["trust", "update", "--signers", str(home / "keys" / "ca.pem")]) == 0
    capsys.readouterr()
    assert main(["trust", "list", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["official"]) == 1
    assert main(["doctor"]) == 0
    assert "problem" not in capsys.readouterr().out


def test_hostile_names_and_metadata_cannot_drive_the_terminal_or_the_page(folder, encode, capsys, tmp_path):
    name = "a\x1b[31m[bold]x\u202egpj.<b>.jpg"
    (folder / name).write_bytes(encode("JPEG", comment=b"fooocus \x1b]0;owned\x07 <img src=x onerror=alert(1)>"))
    for form in ("text", "html"):
        main(["scan", "--format", form, str(folder)])
        out = capsys.readouterr().out
        assert "\x1b" not in out
        assert "\u202e" not in out
        assert "<b>.jpg" not in out or form == "text"
        assert "<img src=x" not in out


def test_csv_cells_cannot_be_formulas(tmp_path, encode, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("=cmd.jpg").write_bytes(encode())
    main(["scan", "--format", "csv", "=cmd.jpg"])
    assert "'=cmd.jpg" in capsys.readouterr().out


def test_an_internal_error_is_one_line(folder, capsys, monkeypatch):
    monkeypatch.setattr("countermark.batch.scan", lambda *a, **k: 1 / 0)
    assert main(["scan", str(folder)]) == 3
    err = capsys.readouterr().err
    assert "This is a bug" in err
    assert "Traceback" not in err


def test_every_command_has_help_and_json(capsys):
    commands = [["scan"], ["stamp"], ["inspect"], ["recover"], ["doctor"], ["keys", "init"], ["keys", "show"]]
    commands += [["registry", "list"], ["registry", "show"], ["registry", "remove"]]
    commands += [["trust", "list"], ["trust", "add"], ["trust", "update"]]
    for command in commands:
        assert main([*command, "--help"]) == 0
        assert "--json" in capsys.readouterr().out


def run_python(code: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd="/")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_is_light():
    out = run_python("import sys, countermark; print([m for m in sys.modules])")
    for heavy in ("torch", "onnxruntime", "fastapi", "c2pa", "PIL", "numpy", "typer"):
        assert f"'{heavy}'" not in out


def test_scan_never_imports_torch():
    code = (
        "import sys, io, countermark as cm; from PIL import Image; b = io.BytesIO();"
        "Image.new('RGB', (64, 64)).save(b, 'PNG'); cm.scan(b.getvalue()); print('torch' in sys.modules)"
    )
    assert run_python(code).strip() == "False"


def test_everything_exported_exists():
    import countermark

    for name in countermark.__all__:
        assert getattr(countermark, name) is not None
    with pytest.raises(AttributeError):
        _ = countermark.nonsense


def test_interrupt_exits_130(folder):
    code = "import sys; from countermark.cli import main; sys.exit(main(['scan', '-']))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, cwd="/"
    )
    time.sleep(1.0)
    process.send_signal(2)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert b"Traceback" not in err
