"""``countermark keys``: the signing key of this machine."""

from __future__ import annotations

import typer

from countermark.cli.common import JSON_OPTION, emit_fields, emit_json

__all__ = ["app"]

app = typer.Typer(help="Make and show the signing key of this machine.", no_args_is_help=True)


@app.command("init")
def init_command(
    name: str = typer.Option(
        "Countermark local signer", "--name", help="Name on the certificate; visible in every stamped file."
    ),
    as_json: bool = JSON_OPTION,
) -> int:
    """Make a local certificate authority and a signing key. A second call changes nothing."""
    from countermark.provenance.keys import init_keys

    made, folder, fingerprint = init_keys(name)
    if as_json:
        emit_json({"made": made, "folder": str(folder), "authority_sha256": fingerprint})
    elif made:
        typer.echo(f"Made a signing key in {folder} (owner only).")
        typer.echo(f"Authority SHA-256 {fingerprint}")
        typer.echo("What it signs is trusted on this machine. Others can trust it with:")
        typer.echo(f"  countermark trust add {folder / 'ca.pem'}")
    else:
        typer.echo(f"A signing key is already in {folder}; nothing was changed.")
    return 0


@app.command("show")
def show_command(as_json: bool = JSON_OPTION) -> int:
    """Show the signing certificate. The private key is never printed."""
    from countermark.provenance.keys import key_folder, local_signing
    from countermark.provenance.manifest.trust import fingerprint

    leaf = local_signing().leaf
    table = {
        "folder": str(key_folder()),
        "subject": leaf.subject.rfc4514_string(),
        "issuer": leaf.issuer.rfc4514_string(),
        "not_after": leaf.not_valid_after_utc.date().isoformat(),
        "sha256": fingerprint(leaf),
    }
    emit_fields(table, as_json)
    return 0
