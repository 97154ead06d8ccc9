"""``countermark policies``: packs of platforms and laws."""

from __future__ import annotations

from pathlib import Path

import typer

from countermark.cli.common import JSON_OPTION, emit_json

__all__ = ["app"]

app = typer.Typer(help="List, show, check and try policy packs. Not legal advice.", no_args_is_help=True)


@app.command("list")
def list_command(as_json: bool = JSON_OPTION) -> int:
    """List the packs that ship."""
    from countermark.policies.engine import load_packs

    packs = [p.pack for p in load_packs().values()]
    if as_json:
        table = [
            {
                "name": p.name,
                "title": p.title,
                "kind": p.kind,
                "valid_from": p.valid_from.isoformat(),
                "rules": len(p.rules),
            }
            for p in packs
        ]
        emit_json(table)
        return 0
    for pack in packs:
        typer.echo(f"{pack.name:<32} {pack.kind:<9} {len(pack.rules)} rules  {pack.title}")
    typer.echo(
        "Not legal advice. Each rule names its source and how far it was checked: `countermark policies show NAME`."
    )
    return 0


@app.command("show")
def show_command(
    name: str = typer.Argument(..., help="Pack id, id@version, or a .yaml file."), as_json: bool = JSON_OPTION
) -> int:
    """Show the rules of a pack with their sources."""
    import datetime as dt

    from countermark.policies.engine import load_packs, select

    packs = load_packs()
    versions = [p for p in packs.values() if name in (p.pack.id, p.pack.name)]
    chosen = max(versions, key=lambda p: p.pack.valid_from) if versions else select([name], dt.date.max)[0]
    pack = chosen.pack
    if as_json:
        emit_json(
            {**pack.model_dump(mode="json", exclude={"rules": {"__all__": {"example"}}}), "sha256": chosen.sha256}
        )
        return 0
    until = f" to {pack.valid_to}" if pack.valid_to else ""
    typer.echo(
        f"{pack.name}: {pack.title}\n  in force from {pack.valid_from}{until}; {pack.note}\n  sha256 {chosen.sha256}"
    )
    for rule in pack.rules:
        when = {k: list(v) for k, v in rule.when.model_dump(exclude_defaults=True).items()}
        typer.echo(
            f"\n{rule.id}: {rule.then.action}  [{rule.strength}, {rule.confidence}, reviewed {rule.reviewed_on}]"
        )
        typer.echo("  when " + (", ".join(f"{k} {' '.join(v)}" for k, v in when.items()) or "nothing above fits"))
        if rule.then.label:
            texts = "; ".join(f"{k}: {v}" for k, v in rule.then.label.text.items())
            typer.echo(f"  label {texts}\n  where {rule.then.label.placement}")
        if rule.then.duty:
            typer.echo(f"  duty {rule.then.duty}")
        typer.echo("  source " + "; ".join(rule.source))
    return 0


@app.command("lint")
def lint_command(
    paths: list[Path] = typer.Argument(None, help="Pack files; default: the packs that ship."),
    as_json: bool = JSON_OPTION,
) -> int:
    """Find unknown traits, missing sources, unreachable rules, overlaps, hard duties from pixels alone, old reviews."""
    from dataclasses import asdict

    from countermark.policies.engine import load_file, load_packs
    from countermark.policies.lint import Problem, lint
    from countermark.provenance.errors import UsageError

    problems, packs = [], [] if paths else list(load_packs().values())
    for path in paths or []:
        try:
            packs.append(load_file(path))
        except UsageError as exc:
            problems.append(Problem(str(path), "", "error", "not-loadable", str(exc)))
    problems += lint(packs)
    if as_json:
        emit_json([asdict(p) for p in problems])
    else:
        for p in problems:
            typer.echo(f"{p.level}: {p.pack}{' ' + p.rule if p.rule else ''}: {p.code}: {p.text}")
        rules = sum(len(p.pack.rules) for p in packs)
        typer.echo(f"{len(packs)} packs, {rules} rules, {len(problems)} findings")
    return 1 if any(p.level == "error" for p in problems) else 0


@app.command("simulate")
def simulate_command(
    scans: list[Path] = typer.Argument(..., help="Reports of `scan --format jsonl`, or folders of them."),
    before: str = typer.Option(..., "--before", help="Pack that decides today."),
    after: str = typer.Option(..., "--after", help="Pack that would decide instead."),
    trait: list[str] = typer.Option([], "--trait", help="Trait of all items; repeatable."),
    as_json: bool = JSON_OPTION,
) -> int:
    """Show what would change over recorded scans. Exit code 1 when something would."""
    from dataclasses import asdict

    from countermark.policies.engine import select
    from countermark.policies.simulate import read_scans, simulate

    old, new = select([before])[0], select([after])[0]
    total, moves, changes = simulate(read_scans(scans), old, new, trait)
    if as_json:
        emit_json({"scans": total, "moves": dict(moves), "changes": [asdict(c) for c in changes]})
    else:
        for move, count in moves.most_common():
            typer.echo(f"{count:>7}  {move}")
        for change in changes[:50]:
            typer.echo(f"{change.path}: {change.status}: {change.before} -> {change.after}")
        typer.echo(f"{total} scans, {len(changes)} would change")
    return 1 if changes else 0


@app.command("render")
def render_command(
    text: str = typer.Argument(..., help="Wording of the label, for example 'AI GENERATED'."),
    kind: str = typer.Option("svg", "--as", help="svg, html or atproto."),
    form: str = typer.Option("plain", "--form", help="Drawn form, for svg."),
    image: str = typer.Option("picture.jpg", "--image", help="Address of the picture, for html."),
    alt: str = typer.Option("", "--alt", help="What the picture shows, for html."),
) -> int:
    """Print a label as SVG, as an HTML snippet with alt text, or as an atproto label value."""
    from countermark.policies.draw import FORMS, atproto_values, html_snippet, svg_label
    from countermark.provenance.errors import UsageError

    if form not in FORMS:
        raise UsageError(f"--form: {form!r} given; allowed are {', '.join(FORMS)}.")
    if kind == "svg":
        typer.echo(svg_label(text, form))
    elif kind == "html":
        typer.echo(html_snippet(text, image, alt, FORMS[form].language))
    elif kind == "atproto":
        emit_json(atproto_values(text))
    else:
        raise UsageError(f"--as: {kind!r} given; allowed are svg, html, atproto.")
    return 0


@app.command("notice")
def notice_command(
    scans: list[Path] = typer.Argument(..., help="Reports of `scan --policy ... --format jsonl`."),
    service: str = typer.Option("this service", "--service", help="Who decides."),
    appeal: str = typer.Option("", "--appeal", help="Address of the appeal form."),
    by_person: bool = typer.Option(False, "--by-person", help="A person took the decision."),
) -> int:
    """Print a statement of reasons for each decision of recorded scans."""
    from countermark.policies.engine import recorded
    from countermark.policies.notice import statement
    from countermark.policies.simulate import read_scans
    from countermark.provenance.errors import UsageError
    from countermark.provenance.status import Status
    from countermark.report.words import clean

    count = 0
    for item in read_scans(scans):
        for table in item.get("decisions") or []:
            decision = recorded(table)
            text = statement(
                decision,
                Status(item["status"]),
                item=clean(item.get("path") or "upload"),
                service=service,
                decided_by="person" if by_person else "automated",
                appeal_to=appeal,
                decision_id=f"{str(item.get('sha256', ''))[:12]}/{decision.pack}",
            )
            typer.echo(text)
            count += 1
    if not count:
        raise UsageError("No decisions in these reports. Scan with --policy PACK --format jsonl first.")
    return 0
