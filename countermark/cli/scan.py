"""``countermark scan``"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import typer

from countermark.provenance.errors import UsageError

if TYPE_CHECKING:
    from countermark.scanning import Classifying, Policies, ScanResult

__all__ = ["scan_command"]


class Format(StrEnum):
    """Report formats."""

    TEXT = "text"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    HTML = "html"
    SARIF = "sarif"


def scan_command(
    paths: list[str] = typer.Argument(..., help="Files, folders, patterns, or - for a list on standard input."),
    form: Format = typer.Option(Format.TEXT, "--format", "-f", help="Format of the report."),
    as_json: bool = typer.Option(False, "--json", help="Same as --format json."),
    output: Path | None = typer.Option(None, "--output", "-o", help="Write the report to a file."),
    jobs: int = typer.Option(1, "--jobs", "-j", min=1, max=256, help="Number of worker processes."),
    policy: list[str] = typer.Option([], "--policy", "-p", help="Policy pack to apply; repeatable; 'all' for all."),
    trait: list[str] = typer.Option([], "--trait", help="What you know of the pictures, for the packs; repeatable."),
    role: str = typer.Option("", "--role", help="For the packs: platform, deployer, provider, uploader."),
    region: str = typer.Option("", "--region", help="For the packs: world, eu, us, us-ca, cn, in, kr."),
    classifier: bool = typer.Option(True, "--classifier/--no-classifier", help="Whether the pixels are scored."),
    careful: bool = typer.Option(False, "--careful", help="Score more views of each picture: slower, a little surer."),
    classifier_model: str = typer.Option("", "--classifier-model", help="Another model, made by `countermark train`."),
    explain: Path | None = typer.Option(None, "--explain", help="Folder for a heat map of each picture scored."),
    resume: bool = typer.Option(False, "--resume", help="Skip files that the JSON Lines output already holds."),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="No progress on standard error."),
) -> int:
    """Say what images are: gather evidence, judge once, report.

    Exit code 0: nothing to label. 1: something found. 3: a file could not be read.
    """
    from countermark.batch import scan_many
    from countermark.inputs import expand
    from countermark.report import write_report

    chosen = "json" if as_json else form.value
    done = _already(output, chosen) if resume else set()
    files = [p for p in expand(paths, sys.stdin.buffer) if str(p) not in done]
    if not files and not done:
        raise UsageError(f"Nothing to scan in {', '.join(paths)}. Name images, or a folder that holds some.")
    policies = _policies(policy, trait, role, region)
    classifying = _classifying(classifier, careful, classifier_model, explain)
    seen = _Seen()
    results = scan_many(files, jobs, policies=policies, classifying=classifying)
    results = seen.watch(_progress(results, len(files), quiet))
    if explain is not None:
        results = _explained(results, explain, classifier_model)
    with _open(output, append=bool(done)) as stream:
        write_report(results, chosen, stream)
    return seen.exit_code


def _policies(packs: list[str], traits: list[str], role: str, region: str) -> Policies | None:
    """Packs and words are checked before any file is scanned."""
    if not packs:
        if traits or role or region:
            raise UsageError("--trait, --role and --region are for policy packs; name one with --policy.")
        return None
    from countermark.policies.engine import context_of, select
    from countermark.provenance.status import Status
    from countermark.scanning import Policies

    select(packs)
    context_of(Status.NO_AI_EVIDENCE, traits, **{k: v for k, v in (("role", role), ("region", region)) if v})
    return Policies(tuple(packs), tuple(traits), role=role, region=region)


def _classifying(run: bool, careful: bool, model: str, explain: Path | None) -> Classifying:
    """The model is loaded before any file is scanned, so that a wrong one is said at once."""
    from countermark.scanning import Classifying

    if not run:
        if careful or model or explain:
            raise UsageError("--careful, --classifier-model and --explain need the classifier; drop --no-classifier.")
        return Classifying(run=False)
    from countermark.detectors.classifier.model import ENVIRONMENT, shared

    if model or os.environ.get(ENVIRONMENT) != "off":
        shared(Path(model) if model else None)
    elif careful or explain:
        raise UsageError(f"--careful and --explain need the classifier, which {ENVIRONMENT}=off turns off; unset it.")
    return Classifying(effort="careful" if careful else "fast", model=model)


def _explained(results: Iterable[ScanResult], folder: Path, model: str) -> Iterator[ScanResult]:
    """Write a heat map beside each result that has a score."""
    from countermark.report.heat import write_heat_map

    for result in results:
        if result.classifier_score is not None and result.path is not None:
            write_heat_map(Path(result.path), result.sha256, folder, model)
        yield result


class _Seen:
    """Remembers what went by, for the exit code."""

    def __init__(self) -> None:
        self.found = self.errors = False

    def watch(self, results: Iterable[ScanResult]) -> Iterator[ScanResult]:
        for result in results:
            self.errors |= result.status.value == "error"
            self.found |= result.status.is_finding and result.status.value != "error"
            yield result

    @property
    def exit_code(self) -> int:
        return 3 if self.errors else 1 if self.found else 0


def _open(output: Path | None, append: bool) -> nullcontext[TextIO] | TextIO:
    if output is None:
        return nullcontext(sys.stdout)
    if not output.parent.is_dir():
        raise UsageError(f"{output.parent}: no such folder for the report. Make it first.")
    return output.open("a" if append else "w", encoding="utf-8", newline="")


def _already(output: Path | None, form: str) -> set[str]:
    """Paths that a JSON Lines report holds; a line cut off by a crash is dropped from the file."""
    if output is None or form != "jsonl":
        raise UsageError("--resume needs --format jsonl and --output FILE, to know what is done.")
    if not output.is_file():
        return set()
    whole, done = [], set()
    for line in output.read_text("utf-8", "replace").splitlines(keepends=True):
        try:
            done.add(str(json.loads(line)["path"]))
        except (ValueError, KeyError, TypeError):
            continue
        whole.append(line)
    output.write_text("".join(whole), "utf-8")
    return done


def _progress(results: Iterable[ScanResult], total: int, quiet: bool) -> Iterator[ScanResult]:
    """Pass results on with a bar on standard error, where a person is looking and it is worth it."""
    if quiet or total < 2 or not sys.stderr.isatty():
        yield from results
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("scan", total=total)
        for result in results:
            yield result
            progress.advance(task)
