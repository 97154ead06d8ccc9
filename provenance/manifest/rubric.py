"""The official Asset Signals rubric (C2PA Conformance Task Force, 1.0 of 2026-08-06), natively.

The reference evaluator needs json-formula, which is not packaged for Python; the rules are few.
Input is one manifest of the library's crJSON output.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from countermark.provenance.manifest.vocabulary import C2PA_DST, IPTC, NON_EDITORIAL_ACTIONS

__all__ = ["actions_of", "signals"]

INCEPTION_ACTIONS = ("c2pa.created", "c2pa.opened")
GENAI = frozenset(
    {
        IPTC + "trainedAlgorithmicMedia",
        IPTC + "compositeWithTrainedAlgorithmicMedia",
        IPTC + "compositeSynthetic",
        C2PA_DST + "trainedAlgorithmicData",
    }
)
POSSIBLY_GENAI = frozenset({IPTC + "digitalArt", IPTC + "composite"})
_INCEPTION: dict[str, tuple[str, ...]] = {
    "inception:signal_blankCanvas": (C2PA_DST + "empty",),
    "inception:signal_capturedMedia": (IPTC + "digitalCapture", IPTC + "computationalCapture"),
    "inception:signal_capturedMediaStitched": (IPTC + "compositeCapture",),
    "inception:signal_compositionMayContainGenAI": (IPTC + "composite",),
    "inception:signal_fullyGenAIMedia": (IPTC + "trainedAlgorithmicMedia",),
    "inception:signal_nonGenAIDigitalCreation": (IPTC + "digitalCreation",),
    "inception:signal_partlyGenAICreation": (IPTC + "compositeWithTrainedAlgorithmicMedia",),
    "inception:signal_screenCaptureMayContainGenAI": (IPTC + "screenCapture",),
}


def actions_of(manifest: Mapping[str, Any], v1: bool = True) -> list[dict[str, Any]]:
    """Actions of a manifest in order; ``v1`` also reads the deprecated ``c2pa.actions``."""
    found: list[dict[str, Any]] = []
    for label, assertion in _assertions(manifest):
        base = label.split("__")[0]
        if (base == "c2pa.actions.v2" or (v1 and base == "c2pa.actions")) and isinstance(assertion, Mapping):
            actions = assertion.get("actions")
            found += [a for a in actions if isinstance(a, dict)] if isinstance(actions, list) else []
    return found


def _assertions(manifest: Mapping[str, Any]) -> list[tuple[str, Any]]:
    table = manifest.get("assertions")
    return list(table.items()) if isinstance(table, Mapping) else []


def signals(manifest: Mapping[str, Any]) -> frozenset[str]:
    """Ids of the rubric's rules that hold for a manifest.

    Args:
        manifest: one entry of ``manifests`` in crJSON.
    """
    actions = actions_of(manifest, v1=False)
    started = {a.get("digitalSourceType") for a in actions if a.get("action") in INCEPTION_ACTIONS}
    found = {rule for rule, types in _INCEPTION.items() if started.intersection(types)}
    if _unknown_provenance(manifest):
        found.add("inception:signal_mediaUnknownProvenance")
    if _ambiguous(manifest, actions):
        found.add("transformation:signal_ambiguousActions")
    return frozenset(found | _transformations(actions))


def _transformations(actions: list[dict[str, Any]]) -> set[str]:
    found = set()
    for action in actions:
        name, source = action.get("action"), action.get("digitalSourceType")
        if name in NON_EDITORIAL_ACTIONS:
            found.add("transformation:signal_nonEditorial")
        elif name is not None and name not in INCEPTION_ACTIONS:
            if source in GENAI:
                found.add("transformation:signal_perceptibleGenAI")
            elif source is not None:
                found.add("transformation:signal_perceptibleNonGenAI")
            if source in POSSIBLY_GENAI:
                found.add("transformation:signal_perceptiblePossiblyGenAI")
    return found


def _unknown_provenance(manifest: Mapping[str, Any]) -> bool:
    ingredient = dict(_assertions(manifest)).get("c2pa.ingredient.v3")
    return isinstance(ingredient, Mapping) and ingredient.get("activeManifest") is None


def _ambiguous(manifest: Mapping[str, Any], actions: list[dict[str, Any]]) -> bool:
    assertion = dict(_assertions(manifest)).get("c2pa.actions.v2")
    complete = isinstance(assertion, Mapping) and assertion.get("allActionsIncluded") is True
    names = [str(a["action"]) for a in actions if a.get("action") is not None]
    claim = manifest.get("claim.v2")
    gathered = claim.get("gathered_assertions") if isinstance(claim, Mapping) else None
    in_gathered = any("c2pa.actions" in str(g.get("url")) for g in gathered or [] if isinstance(g, Mapping))
    custom = any(not n.startswith("c2pa.") or n == "c2pa.unknown" for n in names)
    return not actions or not complete or custom or in_gathered
