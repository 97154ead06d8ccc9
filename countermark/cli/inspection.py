"""``countermark inspect``: everything in one file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from countermark.cli.common import JSON_OPTION, emit_json

if TYPE_CHECKING:
    from rich.tree import Tree

    from countermark.scanning import ScanResult

__all__ = ["inspect_command"]


def inspect_command(
    path: Path = typer.Argument(..., metavar="FILE", help="File to look into."),
    explain: Path | None = typer.Option(None, "--explain", help="Folder for the classifier's heat map."),
    as_json: bool = JSON_OPTION,
) -> int:
    """Show everything in one file: manifest tree, validation codes, metadata, container, classifier."""
    from countermark.scanning import default_examiners, scan

    result = scan(path, examiners=default_examiners(thorough=True))
    if as_json:
        emit_json(result.to_dict())
    else:
        _show(result)
    if explain is not None and result.classifier_score is not None:
        from countermark.report.heat import write_heat_map

        written = write_heat_map(path, result.sha256, explain)
        typer.echo(f"heat map: {written} (a hint where to look, not proof)", err=as_json)
    return 3 if result.status.value == "error" else 1 if result.status.is_finding else 0


def _show(result: ScanResult) -> None:
    from rich.console import Console

    from countermark.report.text import write_text

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200  # a pipe has no width; nothing should be cut
    write_text([result], sys.stdout)
    manifest = result.by_name("c2pa")
    if manifest is not None and manifest.found:
        console.print(_manifest_tree(manifest.detail))
    metadata = result.by_name("metadata")
    if metadata is not None and metadata.detail.get("signatures"):
        console.print(_metadata_tree(metadata.detail))
    console.print(_marks_tree(result))
    score = result.by_name("classifier")
    if score is not None and score.found:
        console.print(_score_tree(score.detail, score.version))
    console.print(_timing_line(result), style="dim")


def _label(*parts: Any, style: str = "") -> Any:
    from rich.text import Text

    from countermark.report.words import clean

    return Text(" ".join(clean(p) for p in parts if p not in ("", None)), style=style, overflow="fold")


def _manifest_tree(detail: Any) -> Tree:
    """The active manifest at the root, its ingredients below, each with its own manifest."""
    from rich.tree import Tree

    tree = Tree(_label("C2PA:", detail.get("presence"), detail.get("validation_state"), style="bold"))
    for key in ("integrity", "signature", "time", "signed_at", "trust_list", "note"):
        if detail.get(key):
            tree.add(_label(f"{key.replace('_', ' ')}:", detail[key]))
    nodes = {n["label"]: n for n in detail.get("manifests", [])}
    if detail.get("active_manifest") in nodes:
        _add_node(tree, nodes, detail["active_manifest"], set(), detail.get("claim_path") or [])
    return tree


def _add_node(tree: Tree, nodes: dict[str, Any], label: str, seen: set[str], path: list[str]) -> None:
    node = nodes[label]
    says = " <- makes the claim" if path and path[-1] == label else ""
    branch = tree.add(_label(f"manifest {label[-12:]}", node["generator"], says, style="bold"))
    signer = node["signer"]
    who = signer["organisation"] or signer["name"] or "unknown"
    flags = " ".join(f for f in ("expired", "revoked", "denied") if signer[f])
    branch.add(_label(f"signed by {who}, trust {signer['trust']}", signer["provider"], flags))
    if signer["issuer"]:
        branch.add(_label("issued by", signer["issuer"], "until", signer["not_after"][:10]))
    for action in node["actions"]:
        source = action["source_type"].rsplit("/", 1)[-1]
        branch.add(_label(action["name"], source, action["agent"], action["description"]))
    for alg, value in node["soft_bindings"]:
        branch.add(_label("soft binding", alg, value))
    if node["signals"]:
        branch.add(_label("signals:", ", ".join(s.rpartition("_")[2] for s in node["signals"])))
    for code in node["failures"]:
        branch.add(_label("failed:", code, style="red"))
    seen.add(label)
    for ingredient in node["ingredients"]:
        child = ingredient["label"]
        twig = branch.add(_label(ingredient["relationship"], ingredient["title"]))
        if child in nodes and child not in seen:
            _add_node(twig, nodes, child, seen, path)


def _metadata_tree(detail: Any) -> Tree:
    from rich.tree import Tree

    tree = Tree(_label("Metadata (declared, not signed)", style="bold"))
    for match in detail["signatures"]:
        branch = tree.add(_label(match["id"], f"says {match['claim']}"))
        branch.add(_label("in", match["carrier"], match["key"]))
        for key in ("generator", "model", "prompt", "value"):
            if match[key]:
                branch.add(_label(f"{key}:", match[key]))
    for problem in detail.get("problems", []):
        tree.add(_label("problem:", problem, style="red"))
    return tree


def _marks_tree(result: ScanResult) -> Tree:
    """Each mark looked for, with its statistic, its p-value and the number of hypotheses searched."""
    from rich.tree import Tree

    tree = Tree(_label("Watermarks looked for", style="bold"))
    public, registry = result.by_name("public-marks"), result.by_name("registry")
    detail = public.detail if public else {}
    if "skipped" in detail:
        tree.add(_label("public marks: not looked for,", detail["skipped"]))
    for mark in detail.get("marks", []):
        found = f"FOUND ({mark['channel_order']}, search {mark['search']})" if mark["found"] else "not found"
        numbers = f"t {mark['statistic']:.1f}, p {mark['p_value']:.1e}, {mark['hypotheses']:,} hypotheses"
        tree.add(_label(f"{mark['mark']}:", found, numbers, style="bold" if mark["found"] else "dim"))
    own = registry.detail if registry else {}
    if mark := own.get("watermark"):
        found = "FOUND" if mark["found"] else "not found"
        tree.add(
            _label(
                f"registry id {mark['value']}:",
                found,
                f"{mark['wrong_bits']} of 64 bits wrong, p {mark['p_value']:.1e}",
            )
        )
    if own:
        apart = own.get("fingerprint_distance")
        tree.add(
            _label("registry:", own["state"], f"fingerprint {apart} of 256 bits apart" if apart is not None else "")
        )
    return tree


def _score_tree(detail: Any, version: str) -> Tree:
    """The classifier's answer with the figures it was decided by."""
    from rich.tree import Tree

    tree = Tree(_label("Classifier (statistical: a hint, not proof)", style="bold"))
    score = "none, it abstains" if detail.get("score") is None else f"{detail['score']:.3f}"
    tree.add(_label("score:", score, f"band {detail['band']}", f"effort {detail['effort']}"))
    tree.add(
        _label(f"threshold for {detail['domain']}: {detail['threshold']:.3f}",
               f"(chosen for {detail['false_positive_rate']:.0%} of real pictures)")
    )  # fmt: skip
    if detail.get("reason"):
        tree.add(_label("reason:", detail["reason"]))
    tree.add(_label("model:", version))
    return tree


def _timing_line(result: ScanResult) -> str:
    parts = [f"{e.name} {e.ms:.1f} ms" for e in result.evidence]
    return f"sha256 {result.sha256}\n{', '.join(parts)}, total {result.timings_ms.get('total', 0.0):.1f} ms"
