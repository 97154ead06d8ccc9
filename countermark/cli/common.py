"""Small things every command needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from countermark.provenance.errors import UsageError

__all__ = ["JSON_OPTION", "emit_json", "key_values", "sized"]

JSON_OPTION = typer.Option(False, "--json", help="Print the result as one JSON object.")


def emit_json(value: Any) -> None:
    """Print one JSON value on standard output."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=1))


def emit_fields(table: dict[str, Any], as_json: bool) -> None:
    """Print one record, a line a field or as JSON."""
    if as_json:
        emit_json(table)
        return
    width = max(map(len, table))
    for key, value in table.items():
        typer.echo(f"{key.replace('_', ' '):<{width}} {value}")


def key_values(pairs: list[str], option: str) -> dict[str, str]:
    """``name=value`` pairs of a repeated option.

    Raises:
        UsageError: one has no equals sign.
    """
    table = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign or not name:
            raise UsageError(f"{option} takes name=value, got {pair!r}.")
        table[name] = value
    return table


def sized(path: Path, limit: int = 16 * 1024 * 1024) -> bytes:
    """Content of a small settings file.

    Raises:
        UsageError: missing, or larger than the limit.
    """
    try:
        if path.stat().st_size > limit:
            raise UsageError(f"{path}: {path.stat().st_size:,} bytes, allowed {limit:,}.")
        return path.read_bytes()
    except OSError as exc:
        raise UsageError(f"{path}: {exc.strerror or exc}.") from exc
