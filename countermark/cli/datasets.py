"""``countermark datasets``: look into, divide and launder data sets."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import typer

from countermark.cli.common import JSON_OPTION, emit_fields, emit_json
from countermark.provenance.errors import UsageError

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Look into, divide and launder data sets of labelled pictures.")
_DATASET = typer.Argument(..., metavar="DATASET", help="Folder or csv file of labelled pictures.")
_LAYOUT = typer.Option("auto", "--layout", help="How the folders are read; see docs/classifier.md.")


@app.command("audit")
def audit_command(dataset: Path = _DATASET, layout: str = _LAYOUT, as_json: bool = JSON_OPTION) -> None:
    """How well size, format, compression and metadata alone tell real from generated (AUROC; 0.5 is clean)."""
    from countermark.datasets.audit import shortcut_scores
    from countermark.datasets.layouts import read

    emit_fields(dict(shortcut_scores(read(dataset, layout))), as_json)


@app.command("card")
def card_command(
    dataset: Path = _DATASET,
    title: str = typer.Option("", "--title", help="Default: the folder's name."),
    output: Path | None = typer.Option(None, "--output", "-o", help="Write the card to a file."),
    layout: str = _LAYOUT,
) -> None:
    """A dataset card in Markdown: counts, sources, file facts, bias audit."""
    from countermark.datasets.card import card
    from countermark.datasets.layouts import read

    text = card(read(dataset, layout), title or dataset.name)
    if output is None:
        typer.echo(text, nl=False)
    else:
        output.write_text(text, "utf-8")


@app.command("split")
def split_command(
    dataset: Path = _DATASET,
    output: Path = typer.Option(..., "--output", "-o", help="csv file to write."),
    val: float = typer.Option(0.15, "--val", min=0, max=0.9, help="Share of the validation split."),
    test: float = typer.Option(0.0, "--test", min=0, max=0.9, help="Share of the test split."),
    seed: int = typer.Option(0, "--seed", help="Another seed, another split."),
    layout: str = _LAYOUT,
    as_json: bool = JSON_OPTION,
) -> None:
    """Divide a dataset so that sources, generators and near-duplicates stay on one side."""
    from countermark.datasets.layouts import read
    from countermark.datasets.records import write_csv
    from countermark.datasets.splits import assign

    shares = {name: share for name, share in (("train", 1 - val - test), ("val", val), ("test", test)) if share > 0}
    records = assign(read(dataset, layout), shares, seed)
    write_csv(records, output)
    counts = Counter(f"{record.split} {record.label}" for record in records)
    emit_fields({key: counts[key] for key in sorted(counts)}, as_json)


@app.command("launder")
def launder_command(
    source: Path = typer.Argument(..., metavar="FILE", help="Picture to launder."),
    chain: str = typer.Argument(..., help="Steps, for example 'resize:0.5|jpeg:80' or 'platform:instagram'."),
    output: Path = typer.Option(..., "--output", "-o", help="PNG file to write."),
    seed: int = typer.Option(0, "--seed", help="Of the random steps."),
) -> None:
    """Put one picture through what happens to pictures on the way, and write it as PNG."""
    from PIL import Image

    from countermark.datasets.laundering import parse
    from countermark.datasets.pixels import load_rgb

    if output.suffix.lower() != ".png":
        raise UsageError(f"{output}: the laundered picture is written as PNG, so that writing changes nothing more.")
    Image.fromarray(parse(chain)(load_rgb(source), seed)).save(output)


@app.command("platforms")
def platforms_command(as_json: bool = JSON_OPTION) -> None:
    """The platforms whose re-encoding can be simulated, with source and date of the figures."""
    from dataclasses import asdict

    from countermark.datasets.laundering import platforms

    if as_json:
        emit_json([asdict(platform) for platform in platforms().values()])
        return
    for p in platforms().values():
        kind = "measured" if p.measured else "estimate"
        typer.echo(
            f"{p.name:<11} {p.long_side:>5} px {p.format} {p.quality:>3}  metadata {p.metadata:<9} "
            f"{kind}, {p.date}: {p.source}"
        )


@app.command("collect")
def collect_command(
    index: Path = typer.Argument(..., help="index.csv of the sample that names repositories and sources."),
    mirrors: Path = typer.Argument(..., help="Folder with git directories OWNER+NAME/repo."),
    out: Path = typer.Option(..., "--out", "-o", help="Folder for the pictures and their index.csv."),
    seed: int = typer.Option(0, "--seed", help="Of the crops' places."),
    as_json: bool = JSON_OPTION,
) -> None:
    """Cut training pictures from the public repositories behind a sample (rules: datasets/originals.yaml)."""
    from countermark.datasets.originals import collect

    counts = Counter(record.label for record in collect(index, mirrors, out, seed=seed))
    emit_fields({key: counts[key] for key in sorted(counts)}, as_json)
