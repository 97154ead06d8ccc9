"""``countermark trust``: whose signatures are believed."""

from __future__ import annotations

from pathlib import Path

import typer

from countermark.cli.common import JSON_OPTION, emit_json, sized
from countermark.provenance.errors import MissingPart, UsageError

__all__ = ["app"]

app = typer.Typer(help="See and change whose signatures are believed.", no_args_is_help=True)
_OFFICIAL = "https://raw.githubusercontent.com/c2pa-org/conformance-public/main/"
_ADDRESSES = {
    "signers": _OFFICIAL + "trust-list/C2PA-TRUST-LIST.pem",
    "tsa": _OFFICIAL + "trust-list/C2PA-TSA-TRUST-LIST.pem",
    "products": _OFFICIAL + "conforming-products/conforming-products-list.json",
}
_MAX_BYTES = 16 * 1024 * 1024


@app.command("list")
def list_command(as_json: bool = JSON_OPTION) -> int:
    """List the official signers, pinned providers, your own anchors and the deny list."""
    from countermark.provenance.manifest.trust import default_trust, fingerprint, parse_pem

    store = default_trust()
    own = parse_pem(store.user.encode(), "own anchors") if store.user.strip() else []
    table = {
        "version": store.version,
        "official": [c.subject.rfc4514_string() for c in parse_pem(store.official.encode(), "official list")],
        "time_stamping": [c.subject.rfc4514_string() for c in parse_pem(store.tsa.encode(), "TSA list")],
        "providers": [{"id": p.id, "name": p.name, "ca_sha256": p.ca_sha256} for p in store.providers],
        "user": [{"subject": c.subject.rfc4514_string(), "sha256": fingerprint(c)} for c in own],
        "denied": [{"id": d.id, "until": d.until, "reason": d.reason} for d in store.denied],
        "products": len(store.products),
    }
    if as_json:
        emit_json(table)
        return 0
    typer.echo(f"Official C2PA list of {store.date}: {len(table['official'])} signers, ", nl=False)  # type: ignore[arg-type]
    typer.echo(f"{len(table['time_stamping'])} time-stamping authorities")  # type: ignore[arg-type]
    for line in table["official"]:  # type: ignore[attr-defined]
        typer.echo(f"  {line}")
    typer.echo("Pinned providers (not on the official list):")
    for provider in store.providers:
        typer.echo(f"  {provider.id:<18} {provider.name}, CA {provider.ca_sha256[:16]}")
    typer.echo("Your own:" if own else "Your own: none (`countermark trust add FILE.pem`)")
    for certificate in own:
        typer.echo(f"  {certificate.subject.rfc4514_string()}, {fingerprint(certificate)[:16]}")
    typer.echo("Denied:")
    for entry in store.denied:
        typer.echo(f"  {entry.id}: {entry.reason}")
    return 0


@app.command("add")
def add_command(
    path: Path = typer.Argument(..., metavar="FILE", help="PEM file with a root or intermediate certificate."),
    as_json: bool = JSON_OPTION,
) -> int:
    """Believe signatures that chain to these certificates, on this machine."""
    from countermark.provenance.manifest.trust import add_anchor

    prints = add_anchor(sized(path), str(path))
    if as_json:
        emit_json({"added": prints})
    else:
        for fingerprint in prints:
            typer.echo(f"Now trusted on this machine: {fingerprint}")
    return 0


@app.command("update")
def update_command(
    signers: Path | None = typer.Option(None, "--signers", help="Official signer list, PEM."),
    tsa: Path | None = typer.Option(None, "--tsa", help="Official time-stamping list, PEM."),
    products: Path | None = typer.Option(None, "--products", help="Conforming products list, JSON."),
    online: bool = typer.Option(False, "--online", help="Fetch all three from the official address."),
    as_json: bool = JSON_OPTION,
) -> int:
    """Replace the lists, from files or, only when asked, from the official address."""
    from countermark.provenance.manifest.trust import update_list

    given = {k: p for k, p in (("signers", signers), ("tsa", tsa), ("products", products)) if p}
    if not given and not online:
        raise UsageError("Name files with --signers, --tsa or --products, or use --online.")
    counts = {}
    for kind in _ADDRESSES if online else given:
        source = str(given.get(kind) or _ADDRESSES[kind])
        data = sized(given[kind]) if kind in given else _fetch(source)
        counts[kind] = update_list(kind, data, source)
    if as_json:
        emit_json({"updated": counts})
    else:
        for kind, count in counts.items():
            typer.echo(f"{kind}: {count} entries")
    return 0


def _fetch(url: str) -> bytes:
    """Fetch one official list. The address is fixed, https only, size bounded."""
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(url, timeout=20) as response:  # noqa: S310 - fixed https address
            data: bytes = response.read(_MAX_BYTES + 1)
    except (urllib.error.URLError, OSError) as exc:
        raise MissingPart(
            f"{url} cannot be fetched ({exc}). Download it elsewhere and use `countermark trust update --signers FILE`."
        ) from exc
    if len(data) > _MAX_BYTES:
        raise UsageError(f"{url}: more than {_MAX_BYTES:,} bytes; refused.")
    return data
