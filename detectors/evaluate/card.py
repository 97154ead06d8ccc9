"""The model card: written from the evaluation and the training report, never by hand, so that it cannot drift."""

from __future__ import annotations

from typing import Any

from countermark.datasets.card import markdown_table
from countermark.detectors.classifier.settings import Settings
from countermark.detectors.evaluate.run import LEAST_GENERATOR, LEAST_SOURCE, STORED


def model_card(report: dict[str, Any], training: dict[str, Any], settings: Settings, sha256: str) -> str:
    """Markdown of the card.

    Args:
        report: `Evaluation.to_dict()`; its first detector is the model.
        training: what `countermark train` wrote to `training.json`.
        settings: of the model file.
        sha256: of the model file.
    """
    own = report["detectors"][0]
    return (
        "\n\n".join(
            [
                f"# Model card: {settings.name} {settings.version}",
                "Written by `countermark evaluate --model-card`; do not edit.",
                _what(settings, training, sha256),
                _use(settings),
                _numbers(report),
                _groups(own),
                _data(training),
                _limits(own, settings),
            ]
        )
        + "\n"
    )


def _what(settings: Settings, training: dict[str, Any], sha256: str) -> str:
    config = training["config"]
    encoder = config["encoder"]
    rows = [
        ("file", f"`detectors/weights/classifier.onnx`, sha256 `{sha256}`"),
        ("trained", f"{settings.trained}, config sha256 `{settings.config[:16]}`, seed {config['seed']}"),
        (
            "network",
            f"{config['backbone']} (ImageNet weights: {config['weights']}, Apache-2.0), "
            f"{config['samples']:,} training samples",
        ),
        ("frame encoder", _encoder(encoder)),
        (
            "input",
            f"RGB: the whole picture at {settings.frame_size} px, windows of {settings.size} px at its own resolution",
        ),
        ("output", "probability that the picture is AI-generated, or an abstention with its reason; a map of cells"),
        ("licence", "Apache-2.0; licences of the training pictures below"),
    ]
    return "## The model\n\n" + markdown_table(("", ""), rows)


def _encoder(encoder: dict[str, Any] | None) -> str:
    if encoder is None:
        return "none: the CNN reads frames too"
    return (
        f"the first {encoder['layers']} blocks of CLIP ViT-B/16 (OpenAI, MIT, as packed in {encoder['package']}), "
        f"frozen, {encoder['levels']} values a weight, with a head of {encoder['hidden']} units fitted on "
        f"{encoder['samples']:,} laundered frames"
    )


def _use(settings: Settings) -> str:
    thresholds = ", ".join(f"{domain} {value:.3f}" for domain, value in settings.high.items())
    return (
        "## What it is for\n\n"
        "One piece of statistical evidence beside manifests, metadata and watermarks, for a person who reviews a "
        "picture. It never confirms anything: alone it gives `likely_ai` at most, always with review. It is not for "
        "automatic sanctions, and a low score is never proof that a picture is authentic.\n\n"
        f"A picture is called likely AI from these scores on (chosen for {settings.fpr:.0%} of real calibration "
        f"pictures): {thresholds}. Up to {settings.low:.3f} nothing in the pixels speaks for AI; between, it is "
        f"undecided. It abstains below {settings.least_side} px, on pictures without content, on pictures unlike "
        "any it was trained on, and where a high answer turns around under a light re-encoding."
    )


_COLUMNS = ("detector", "laundering", "AUROC", "TPR at 1 % FPR", "ECE", "FPR at threshold", "TPR there", "abstained")


def _numbers(report: dict[str, Any]) -> str:
    rows = [
        _row(detector["name"], chain, row)
        for detector in report["detectors"]
        for chain, row in detector["launderings"].items()
    ]
    pictures = report["pictures"]
    shortcuts = ", ".join(f"{name} {_rate(value)}" for name, value in report["shortcut_baseline"].items())
    return (
        f"## Measured ({report['made'][:10]})\n\n"
        f"On {pictures['real']} real and {pictures['generated']} generated pictures of sources and generators "
        "that were not trained on, as stored and after laundering, with 95 % bootstrap intervals.\n\n"
        + markdown_table(_COLUMNS, rows)
        + f"\n\nShortcut baseline on the same pictures (AUROC without any pixel): {shortcuts}."
    )


def _row(name: str, chain: str, row: dict[str, Any]) -> tuple[object, ...]:
    low, high = (_rate(value) for value in row["auroc"]["interval"])
    at = row["at_threshold"]
    return (
        name,
        chain,
        f"{_rate(row['auroc']['value'])} [{low}, {high}]",
        _rate(row["tpr_at_fpr_1"]["value"]),
        _rate(row["ece"]["value"]),
        _rate(at["fpr"]),
        _rate(at["tpr"]),
        row["abstained"],
    )


def _groups(own: dict[str, Any]) -> str:
    parts = ["## By generator and by real source (as stored)"]
    for key, head in (("generators", "generator"), ("real_sources", "real source")):
        rows = [
            (name, row["pictures"], f"{row['auroc']:.3f}", _rate(row["called_generated"]),
             f"{row['interval'][0]:.2f} to {row['interval'][1]:.2f}", row["abstained"])
            for name, row in own[key].items()
        ]  # fmt: skip
        parts.append(
            markdown_table((head, "pictures", "AUROC", "called generated", "95 % interval", "abstained"), rows)
        )
    return "\n\n".join(parts)


def _data(training: dict[str, Any]) -> str:
    def line(part: dict[str, dict[str, int]], label: str) -> str:
        counts = part[label]
        return f"{sum(counts.values()):,} {label}: " + ", ".join(f"{name} ({n})" for name, n in sorted(counts.items()))

    learned, calibrated = training["learned_from"], training["calibrated_on"]
    return (
        "## Training data\n\nPictures of public repositories, under the licences these state (public domain, Creative "
        "Commons, MIT, GPL, research-only, or none); none is redistributed with the model. Names are the "
        "sources' names.\n\n"
        f"Learned from: {line(learned, 'real')}.\n\n{line(learned, 'generated').capitalize()}.\n\n"
        f"Calibrated on: {line(calibrated, 'real')}; {line(calibrated, 'generated')}."
    )


def _limits(own: dict[str, Any], settings: Settings) -> str:
    generators = {k: v for k, v in own["generators"].items() if v["pictures"] >= LEAST_GENERATOR}
    sources = {
        k: v
        for k, v in own["real_sources"].items()
        if v["pictures"] >= LEAST_SOURCE and v["called_generated"] is not None
    }
    weak = sorted(generators.items(), key=lambda item: item[1]["auroc"])[:3]
    false = sorted(sources.items(), key=lambda item: -item[1]["called_generated"])[:3]
    stored = own["launderings"][STORED]["at_threshold"]
    return (
        "## Where it fails\n\n"
        f"- At its threshold it misses {1 - (stored['tpr'] or 0):.0%} of the generated pictures of the measurement.\n"
        f"- Weakest generators of {LEAST_GENERATOR} and more pictures: "
        + ", ".join(f"{name} (AUROC {row['auroc']:.2f})" for name, row in weak)
        + f".\n- Most false positives among real sources of {LEAST_SOURCE} and more pictures: "
        + ", ".join(f"{name} ({row['called_generated']:.1%})" for name, row in false)
        + ".\n- Expect near-chance results on some generators it never saw, and after strong recompression.\n"
        "- Digital art, renders, retouched and studio pictures are where real work is most often mistaken.\n"
        "- The worst single mistakes are shown in the HTML report of `countermark evaluate`; the pictures are "
        "not ours to redistribute and so are not in this card."
    )


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
