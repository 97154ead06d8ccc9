"""``countermark registry``: what was stamped on this machine."""

from __future__ import annotations

import typer

from countermark.cli.common import JSON_OPTION, emit_fields, emit_json
from countermark.provenance.errors import UsageError

__all__ = ["app"]

app = typer.Typer(help="See and prune the records of what was stamped on this machine.", no_args_is_help=True)


@app.command("list")
def list_command(
    limit: int = typer.Option(20, "--limit", "-n", min=1, help="How many of the newest records."),
    as_json: bool = JSON_OPTION,
) -> int:
    """List the newest records."""
    from countermark.provenance.registry import default_registry
    from countermark.report.words import clean

    registry = default_registry()
    records = list(registry.records(limit))
    if as_json:
        emit_json({"path": str(registry.path), "total": len(registry), "records": [r.to_dict() for r in records]})
        return 0
    for record in records:
        kind = record.source_type.rsplit("/", 1)[-1]
        typer.echo(f"{record.mark_id}  {record.created_at}  {kind}  {clean(record.title, 60)}")
    typer.echo(f"{len(registry)} records in {registry.path}")
    return 0


@app.command("show")
def show_command(
    mark_id: str = typer.Argument(..., metavar="ID", help="Record id, 16 hex digits."), as_json: bool = JSON_OPTION
) -> int:
    """Show one record."""
    from countermark.provenance.registry import default_registry

    record = default_registry().by_id(mark_id)
    if record is None:
        raise UsageError(f"No record {mark_id!r}. `countermark registry list` shows what there is.")
    table = record.to_dict()
    emit_fields(table, as_json)
    return 0


@app.command("remove")
def remove_command(
    mark_id: str = typer.Argument(..., metavar="ID", help="Record id, 16 hex digits."), as_json: bool = JSON_OPTION
) -> int:
    """Forget one record; copies of that picture are no longer led back."""
    from countermark.provenance.registry import default_registry

    registry = default_registry()
    if not registry.exists or not registry.remove(mark_id.lower()):
        raise UsageError(f"No record {mark_id!r}. `countermark registry list` shows what there is.")
    if as_json:
        emit_json({"removed": mark_id.lower()})
    else:
        typer.echo(f"Removed {mark_id.lower()}.")
    return 0
