"""The evaluation as one self-contained HTML page: tables, curves and the worst mistakes, no script, no request."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from countermark.datasets.pixels import load_rgb
from countermark.datasets.records import Record
from countermark.detectors.classifier.views import shrink
from countermark.detectors.evaluate import metrics
from countermark.detectors.evaluate.run import STORED, Evaluation, Scores
from countermark.provenance.errors import CountermarkError, MissingPart

_SHOWN = ("auroc", "average_precision", "tpr_at_fpr_1", "fpr_at_tpr_95", "balanced_accuracy", "ece", "brier")
_INK = ("#7a1f6d", "#33546f", "#7a5300", "#1c6b3c", "#a3201d", "#566074")


def html(evaluation: Evaluation, title: str = "Evaluation") -> str:
    """The page.

    Raises:
        MissingPart: matplotlib is not installed.
    """
    from jinja2 import Environment, FileSystemLoader

    folder = Path(__file__).parent
    environment = Environment(loader=FileSystemLoader(folder), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["num"] = lambda value, digits=3: "–" if value is None else f"{value:.{digits}f}"
    first = evaluation.of(evaluation.detectors[0])
    return environment.get_template("report.html").render(
        title=title,
        report=evaluation.to_dict(),
        metrics=_SHOWN,
        plots=plots(evaluation),
        mistakes=mistakes(evaluation, first),
    )


def plots(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Captions and PNG data URIs: ROC, calibration, laundering."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingPart("The report's plots need matplotlib: pip install 'countermark[evaluate]'.") from None
    made: list[tuple[str, str]] = []
    for caption, draw in (
        ("ROC, pictures as stored (false-positive rate on a log scale)", _roc),
        ("Calibration: share of generated pictures by score", _calibration),
        ("AUROC by laundering, with 95 % intervals", _curves),
    ):
        figure = Figure(figsize=(5.6, 4.2), dpi=110, layout="constrained")
        draw(figure.add_subplot(), evaluation)
        out = io.BytesIO()
        figure.savefig(out, format="png")
        made.append((caption, _uri(out.getvalue(), "png")))
    return made


def _roc(axes: Any, evaluation: Evaluation) -> None:
    for name, ink in zip(evaluation.detectors, _INK * 3, strict=False):
        truth, score = _scored(evaluation, evaluation.of(name))
        false, true, _ = metrics.roc(truth, score)
        axes.plot(np.maximum(false, 1e-3), true, color=ink, label=f"{name} {metrics.auroc(truth, score):.3f}")
    axes.set(xscale="log", xlim=(1e-3, 1), ylim=(0, 1), xlabel="false-positive rate", ylabel="true-positive rate")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def _calibration(axes: Any, evaluation: Evaluation) -> None:
    axes.plot([0, 1], [0, 1], color="#999", linewidth=1)
    for name, ink in zip(evaluation.detectors, _INK * 3, strict=False):
        truth, score = _scored(evaluation, evaluation.of(name))
        _, mean, share, weight = metrics.reliability(truth, score)
        axes.plot(mean, share, color=ink, label=f"{name} ECE {metrics.calibration_error(truth, score):.3f}")
        axes.scatter(mean, share, s=8 + 300 * weight, color=ink, alpha=0.6)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="mean score", ylabel="share generated")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def _curves(axes: Any, evaluation: Evaluation) -> None:
    names = list(dict.fromkeys(s.laundering for s in evaluation.scores))
    width = 0.8 / len(evaluation.detectors)
    for number, (name, ink) in enumerate(zip(evaluation.detectors, _INK * 3, strict=False)):
        values, lows, highs = [], [], []
        for chain in names:
            truth, score = _scored(evaluation, evaluation.of(name, chain))
            values.append(metrics.auroc(truth, score))
            low, high = metrics.interval(metrics.auroc, truth, score, rounds=100)
            lows.append(values[-1] - low)
            highs.append(high - values[-1])
        places = np.arange(len(names)) + (number - (len(evaluation.detectors) - 1) / 2) * width
        errors = np.maximum(0, [lows, highs])
        axes.bar(places, values, width, yerr=errors, color=ink, label=name, error_kw={"elinewidth": 0.8})
    axes.set_xticks(np.arange(len(names)), names, rotation=20, fontsize=8)
    axes.set(ylim=(0.4, 1), ylabel="AUROC")
    axes.grid(alpha=0.3, axis="y")
    axes.legend(fontsize=8, loc="lower left")


def _scored(evaluation: Evaluation, scores: Scores) -> tuple[metrics.Ints, metrics.Floats]:
    has = ~np.isnan(scores.score)
    return evaluation.target[has], scores.score[has]


def mistakes(evaluation: Evaluation, scores: Scores, count: int = 12) -> dict[str, list[dict[str, Any]]]:
    """The real pictures with the highest and the generated ones with the lowest scores, with thumbnails."""
    target = evaluation.target
    table: dict[str, list[dict[str, Any]]] = {}
    for title, label, sign in (("Real pictures scored highest", 0, -1), ("Generated pictures scored lowest", 1, 1)):
        rows = np.flatnonzero((target == label) & ~np.isnan(scores.score))
        worst = rows[np.argsort(sign * scores.score[rows], kind="stable")[:count]]
        table[title] = [_mistake(evaluation.records[i], float(scores.score[i])) for i in worst]
    return table


def _mistake(record: Record, score: float) -> dict[str, Any]:
    return {"name": record.path.name, "of": record.group, "score": score, "uri": _thumbnail(record)}


def _thumbnail(record: Record) -> str:
    try:
        pixels = shrink(load_rgb(record.path), 150)
    except CountermarkError:
        return ""
    out = io.BytesIO()
    Image.fromarray(pixels[:, : 3 * 150]).save(out, "JPEG", quality=75)
    return _uri(out.getvalue(), "jpeg")


def _uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def text(report: dict[str, Any]) -> str:
    """The report's main table for a terminal: a line a detector and laundering."""
    columns = ("AUROC", 7), ("95 % interval", 17), ("TPR@1%", 8), ("ECE", 7), ("FPR", 7), ("TPR", 7), ("ms", 7)
    head = f"{'detector':<28}{'laundering':<22}" + "".join(f"{name:>{width}}" for name, width in columns)
    lines = [head]
    for detector in report["detectors"]:
        for chain, row in detector["launderings"].items():
            low, high = (_cell(v) for v in row["auroc"]["interval"])
            rates = [row["at_threshold"][key] for key in ("fpr", "tpr")]
            cells = [_cell(row[key]["value"]) for key in ("tpr_at_fpr_1", "ece")] + [_cell(rate) for rate in rates]
            ms = f"{detector['ms_median']:.1f}" if chain == STORED else ""
            lines.append(
                f"{detector['name']:<28}{chain:<22}{_cell(row['auroc']['value']):>7}{f'[{low}, {high}]':>17}"
                f"{cells[0]:>8}{cells[1]:>7}{cells[2]:>7}{cells[3]:>7}{ms:>7}"
            )
    values = [v for v in report["shortcut_baseline"].values() if v is not None]
    lines.append(
        f"{'shortcut baseline (no pixels)':<50}{max(values):>7.3f}" if values else "shortcut baseline: too few sources"
    )
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
