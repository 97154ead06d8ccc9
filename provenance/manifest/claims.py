"""From a chain of manifests to one claim about the origin.

ChatGPT and Gemini put their AI claim one and two manifests below the active one, so the whole graph is
walked. ``parentOf`` is the life of the picture itself; ``componentOf`` is a part of it; ``inputTo`` only
fed a tool and says nothing about the result.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from countermark.provenance.evidence import Claim
from countermark.provenance.manifest.model import ManifestNode
from countermark.provenance.manifest.rubric import INCEPTION_ACTIONS
from countermark.provenance.manifest.vocabulary import NON_EDITORIAL_ACTIONS, source_type_claim

__all__ = ["Derived", "derive"]

_RANK = {
    Claim.GENERATED: 0,
    Claim.EDITED: 1,
    Claim.COMPOSITE: 2,
    Claim.CAPTURED: 3,
    Claim.HUMAN_MADE: 4,
    Claim.NONE: 5,
}
_MAX_MANIFESTS = 512


@dataclass(frozen=True, slots=True)
class Derived:
    """A claim and the labels that lead from the active manifest to the one that makes it."""

    claim: Claim
    path: tuple[str, ...] = ()


def derive(nodes: Mapping[str, ManifestNode], active: str) -> Derived:
    """The strongest AI claim in the graph; a capture counts only while nothing edited it since."""
    best = Derived(Claim.NONE)
    for path, part in _walk(nodes, active):
        claim = _claim_of(nodes[path[-1]])
        if part and claim == Claim.GENERATED:
            claim = Claim.EDITED  # a generated part makes a composite, not a generated whole
        elif part and not claim.is_ai:
            continue
        if _RANK[claim] < _RANK[best.claim]:
            best = Derived(claim, path)
    if best.claim == Claim.CAPTURED and _edited_since(nodes, best.path):
        return Derived(Claim.HUMAN_MADE, best.path)
    return best


def _walk(nodes: Mapping[str, ManifestNode], active: str) -> Iterator[tuple[tuple[str, ...], bool]]:
    """Paths from the active manifest, nearest first, with whether a componentOf edge lies on the way."""
    queue: deque[tuple[tuple[str, ...], bool]] = deque([((active,), False)] if active in nodes else [])
    seen: set[tuple[str, bool]] = set()
    while queue and len(seen) < _MAX_MANIFESTS:
        path, part = queue.popleft()
        if (path[-1], part) in seen:
            continue
        seen.add((path[-1], part))
        yield path, part
        for ingredient in nodes[path[-1]].ingredients:
            label = ingredient.label
            if label is not None and label in nodes and ingredient.relationship != "inputTo":
                queue.append(((*path, label), part or ingredient.relationship != "parentOf"))


def _claim_of(node: ManifestNode) -> Claim:
    """What one manifest says about itself: how it began, and whether AI changed it since."""
    claim = Claim.NONE
    for action in node.actions:
        said = source_type_claim(action.source_type) if action.source_type else Claim.NONE
        if action.name not in INCEPTION_ACTIONS:
            if said == Claim.GENERATED:
                said = Claim.EDITED
            elif not said.is_ai or action.name in NON_EDITORIAL_ACTIONS:
                continue
        if _RANK[said] < _RANK[claim]:
            claim = said
    return claim


def _edited_since(nodes: Mapping[str, ManifestNode], path: tuple[str, ...]) -> bool:
    """Whether any manifest from the capture on records an action that changes what is seen."""
    return any(
        action.name not in INCEPTION_ACTIONS and action.name not in NON_EDITORIAL_ACTIONS
        for label in path
        for action in nodes[label].actions
    )
