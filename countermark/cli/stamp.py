"""``countermark stamp``"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from countermark.cli.common import JSON_OPTION, emit_json, key_values
from countermark.provenance.errors import UsageError

if TYPE_CHECKING:
    from countermark.provenance.keys import Signing

__all__ = ["stamp_command"]


def stamp_command(
    source: Path = typer.Argument(..., metavar="IN", help="Image to mark. It is not changed unless --in-place."),
    output: Path | None = typer.Option(None, "--output", "-o", help="Where to save the marked image."),
    in_place: bool = typer.Option(False, "--in-place", help="Replace the input, atomically."),
    force: bool = typer.Option(False, "--force", help="Replace an existing output."),
    generator: str = typer.Option("", "--generator", help="Program that made it, for example ComfyUI."),
    model: str = typer.Option("", "--model", help="Model that made it, for example 'SDXL 1.0'."),
    model_version: str = typer.Option("", "--model-version", help="Version of the model."),
    prompt: str = typer.Option("", "--prompt", help="Prompt. Private unless you name it here."),
    source_type: str = typer.Option(
        "trainedAlgorithmicMedia", "--source-type", help="IPTC digital source type, word or URI."
    ),
    parameter: list[str] = typer.Option([], "--set", help="Further fact for the manifest, name=value; repeatable."),
    training: str = typer.Option("", "--training", help="May others train on it: notAllowed, allowed, constrained."),
    tc260: str = typer.Option("", "--tc260", help="Content producer code: also write the Chinese implicit label."),
    marks: str | None = typer.Option(
        None, "--marks", help="Of watermark,metadata,manifest: those that must be written. Default: all that fit."
    ),
    cert: Path | None = typer.Option(None, "--cert", help="PEM certificate chain, leaf first; default: local key."),
    key: Path | None = typer.Option(None, "--key", help="PEM private key that goes with --cert."),
    tsa: str | None = typer.Option(None, "--tsa", help="Time-stamping service (http address). The only network use."),
    tsa_required: bool = typer.Option(False, "--tsa-required", help="Fail when the service does not answer."),
    label: list[str] = typer.Option([], "--label", help="Also draw the label this policy pack asks for; repeatable."),
    trait: list[str] = typer.Option([], "--trait", help="What you know of the picture, for --label; repeatable."),
    role: str = typer.Option("deployer", "--role", help="For --label: platform, deployer, provider, uploader."),
    region: str = typer.Option("", "--region", help="For --label: world, eu, us, us-ca, cn, in, kr."),
    as_json: bool = JSON_OPTION,
) -> int:
    """Write all marks into an image that was made elsewhere, and check that they read back."""
    from countermark.provenance.origin import Origin
    from countermark.scanning import Policies
    from countermark.stamping import stamp

    if (output is None) == (not in_place):
        raise UsageError("Name an output with -o FILE, or use --in-place.")
    origin = Origin(
        generator=generator,
        model=model,
        model_version=model_version,
        prompt=prompt,
        source_type=source_type,
        parameters=key_values(parameter, "--set"),
        training=training,
        tc260_producer=tc260,
    )
    target = source if in_place else output
    policies = Policies(tuple(label), tuple(trait), role=role, region=region) if label else None
    result = stamp(
        source,
        target,
        origin,
        signing=_signing(cert, key, tsa, tsa_required),
        label=policies,
        marks=None if marks is None else [m.strip() for m in marks.split(",") if m.strip()],
        in_place=in_place,
        force=force,
    )
    for warning in result.warnings:
        typer.echo(f"warning: {warning}", err=True)
    if as_json:
        emit_json(
            {
                "input": str(source),
                "output": str(target),
                "marks": list(result.marks),
                "skipped": list(result.skipped),
                "registry_id": result.mark_id,
                "source_type": origin.source_type,
                "bytes": len(result.data),
                "warnings": list(result.warnings),
                "label": result.label,
            }
        )
        return 0
    typer.echo(f"{target}: wrote {', '.join(result.marks)}; all read back. Registry id {result.mark_id}.")
    if result.label:
        typer.echo(f'  label "{result.label["text"]}" drawn for {result.label["pack"]}, rule {result.label["rule"]}')
    for reason in result.skipped:
        typer.echo(f"  not written: {reason}")
    return 0


def _signing(cert: Path | None, key: Path | None, tsa: str | None, required: bool) -> Signing:
    from dataclasses import replace

    from countermark.provenance.keys import local_signing, signing_from_pem

    if (cert is None) != (key is None):
        raise UsageError("--cert and --key go together: name both PEM files, or neither.")
    if required and not tsa:
        raise UsageError("--tsa-required needs --tsa ADDRESS.")
    if cert is not None and key is not None:
        return signing_from_pem(cert, key, None, tsa, required)
    return replace(local_signing(), tsa_url=tsa, tsa_required=required)
