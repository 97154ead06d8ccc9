"""``countermark recover``: the manifest of a stripped copy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from countermark.cli.common import JSON_OPTION, emit_json
from countermark.provenance.errors import MarkError, UsageError

if TYPE_CHECKING:
    from countermark.provenance.manifest.model import ManifestReport
    from countermark.provenance.recover import Recovery

__all__ = ["recover_command"]


def recover_command(
    path: Path = typer.Argument(..., metavar="FILE", help="Picture to look up."),
    manifest: Path | None = typer.Option(None, "--manifest", help="Write the manifest store to this .c2pa file."),
    force: bool = typer.Option(False, "--force", help="Replace an existing .c2pa file."),
    as_json: bool = JSON_OPTION,
) -> int:
    """Find the manifest of a stripped copy in the registry, by watermark id or fingerprint.

    Exit code 0: not found. 1: found. 3: the file cannot be read.
    """
    from countermark.provenance.recover import recover, recovered_manifest
    from countermark.provenance.upload import Upload

    upload = Upload.open(path)
    found = recover(upload)
    report = recovered_manifest(found, upload)
    if manifest is not None and found.record is not None:
        _write(manifest, found.record.manifest, force)
    if as_json:
        emit_json({**found.to_dict(), "manifest": _report(report) if report else None})
    else:
        _show(path, found, report, manifest)
    return 0 if found.record is None else 1


def _report(report: ManifestReport) -> dict[str, Any]:
    table = report.to_dict()
    keep = ("claim", "generator", "claim_generator", "model", "signer", "signature", "signed_at", "source_types")
    return {key: table[key] for key in keep}


def _write(target: Path, data: bytes, force: bool) -> None:
    from countermark.provenance.home import atomic_write

    if target.exists() and not force:
        raise UsageError(f"{target} exists already. Use --force to replace it.")
    if not data:
        raise UsageError("The record holds no manifest; the picture was stamped without one.")
    try:
        atomic_write(target, data)
    except OSError as exc:
        raise MarkError(f"{target}: {exc.strerror or exc}.") from exc


def _show(path: Path, found: Recovery, report: ManifestReport | None, manifest: Path | None) -> None:
    typer.echo(f"{path}: {found.state}")
    if found.record is None:
        return
    record = found.record
    typer.echo(f"  stamped    {record.created_at}, as {record.title}, {record.width}x{record.height}")
    typer.echo(f"  found by   {' and '.join(found.by)}" + (f" ({found.note})" if found.note else ""))
    if found.mark is not None:
        typer.echo(
            f"  watermark  id {record.mark_id}, {found.mark.wrong_bits} of 64 bits wrong, p {found.mark.p_value:.1e}"
        )
    if found.distance is not None:
        typer.echo(f"  fingerprint {found.distance} of 256 bits apart")
    if report is not None and report.active_node is not None:
        node = report.active_node
        typer.echo(f"  manifest   {node.label}: {report.claim.value}, model {node.model or 'not named'}")
        typer.echo(f"  signed by  {node.signer.organisation or node.signer.name}, trust {node.signer.trust}")
    if manifest is not None:
        typer.echo(f"  written    {manifest}")
