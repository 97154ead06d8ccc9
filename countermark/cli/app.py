"""Assembly of the commands, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer

from countermark.cli import (
    datasets,
    doctor,
    inspection,
    keys,
    learning,
    policies,
    recover,
    registry,
    scan,
    stamp,
    trust,
)
from countermark.provenance.errors import CountermarkError

__all__ = ["app", "run"]

app = typer.Typer(
    name="countermark",
    help="Mark AI-generated images when they are made and, later, tell honestly what any image is.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("scan")(scan.scan_command)
app.command("stamp")(stamp.stamp_command)
app.command("inspect")(inspection.inspect_command)
app.command("recover")(recover.recover_command)
app.command("train")(learning.train_command)
app.command("evaluate")(learning.evaluate_command)
app.add_typer(datasets.app, name="datasets")
app.add_typer(policies.app, name="policies")
app.add_typer(registry.app, name="registry")
app.add_typer(keys.app, name="keys")
app.add_typer(trust.app, name="trust")
app.command("doctor")(doctor.doctor_command)


def _version(value: bool) -> None:
    if value:
        from countermark.provenance.version import VERSION

        typer.echo(f"countermark {VERSION}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    """Mark AI-generated images when they are made and, later, tell honestly what any image is."""


def run(argv: Sequence[str]) -> int:
    """Run one command line; no traceback reaches the user unless COUNTERMARK_DEBUG is set."""
    try:
        result = app(args=list(argv), prog_name="countermark", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except CountermarkError as exc:
        sys.stderr.write(f"countermark: {exc}\n")
        return exc.exit_code
    except (KeyboardInterrupt, BrokenPipeError):
        raise
    except Exception as exc:
        return _other(exc)


def _other(exc: Exception) -> int:
    """Errors of the option parser say what was wrong with the call; anything else is our fault."""
    if type(exc).__name__ == "NoArgsIsHelpError":
        typer.echo(str(exc))
        return 2
    if hasattr(exc, "format_message") and hasattr(exc, "exit_code"):
        sys.stderr.write(f"countermark: {exc.format_message()} See `countermark --help`.\n")
        return 2
    if type(exc).__name__ == "Abort":
        raise KeyboardInterrupt from exc
    if os.environ.get("COUNTERMARK_DEBUG"):
        raise exc
    if isinstance(exc, OSError):
        sys.stderr.write(f"countermark: {exc.filename or 'system'}: {exc.strerror or exc}\n")
        return 3
    sys.stderr.write(
        f"countermark: internal error ({type(exc).__name__}: {exc}). This is a bug; please report it, with "
        "the output of the same command run with COUNTERMARK_DEBUG=1.\n"
    )
    return 3
