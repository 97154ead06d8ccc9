"""Find what is wrong with packs before they decide anything."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from countermark.policies.engine import Compiled
from countermark.policies.model import Rule
from countermark.provenance.status import Status

__all__ = ["Problem", "lint"]

REVIEW_DAYS = 180
_SOFT = frozenset({Status.LIKELY_AI.value})
_NEVER_FROM_SOFT = ("restrict", "refuse")


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding.

    Attributes:
        pack, rule: where; rule is empty for the pack as a whole.
        level: ``error`` or ``warning``.
        code: short name of the check.
        text: what is wrong and what to do.
    """

    pack: str
    rule: str
    level: str
    code: str
    text: str


def lint(packs: Sequence[Compiled], today: dt.date | None = None) -> list[Problem]:
    """All findings, errors first. What does not load at all is reported by `engine.load_file`."""
    day = today or dt.datetime.now(dt.UTC).date()
    found = [p for pack in packs for p in _pack(pack, day)]
    found += _overlaps(packs)
    return sorted(found, key=lambda p: (p.level, p.pack, p.rule, p.code))


def _pack(compiled: Compiled, day: dt.date) -> Iterable[Problem]:
    pack = compiled.pack
    ids = [r.id for r in pack.rules]
    for name in sorted({i for i in ids if ids.count(i) > 1}):
        yield Problem(
            pack.name, name, "error", "duplicate-id", "Two rules have this id; a decision could not be replayed."
        )
    last = pack.rules[-1]
    if last.when.model_dump(exclude_defaults=True) or last.then.action != "none":
        text = "The last rule must have no condition and action none, so that every case is decided."
        yield Problem(pack.name, last.id, "error", "no-catch-all", text)
    if "not legal advice" not in pack.note.lower():
        yield Problem(pack.name, "", "error", "no-disclaimer", "The note must say that this is not legal advice.")
    if pack.valid_to and pack.valid_to < pack.valid_from:
        yield Problem(pack.name, "", "error", "validity", f"valid_to {pack.valid_to} is before valid_from.")
    for index, rule in enumerate(pack.rules):
        yield from _rule(compiled, index, rule, day)


def _rule(compiled: Compiled, index: int, rule: Rule, day: dt.date) -> Iterable[Problem]:
    pack, then = compiled.pack, rule.then
    only_soft = rule.when.statuses <= _SOFT
    touches_soft = bool(rule.when.statuses & _SOFT)
    if touches_soft and then.action in _NEVER_FROM_SOFT and "own_tool" not in rule.when.all:
        text = "Pixels alone may never restrict or refuse; take 'soft' out of the statuses."
        yield Problem(pack.name, rule.id, "error", "hard-from-soft", text)
    if only_soft and then.label and not (rule.strength == "law" and "suspect" in then.label.text["en"].lower()):
        text = "Pixels alone give no public label, except the word 'suspected' where a law asks for it."
        yield Problem(pack.name, rule.id, "error", "label-from-soft", text)
    if then.label and "cn" in rule.example.region and "zh" not in then.label.text:
        yield Problem(pack.name, rule.id, "error", "no-chinese", "A label for China needs a Chinese text.")
    if rule.example.date < pack.valid_from and rule.example.date != day:
        yield Problem(pack.name, rule.id, "error", "example-date", "The example lies before the pack's first day.")
    hit = next((c.rule.id for c in compiled.cases if c.fits(rule.example)), "none")
    if hit != rule.id:
        text = f"Its example is decided by {hit!r}: the rule is unreachable or the example does not fit."
        yield Problem(pack.name, rule.id, "error", "not-hit", text)
    for earlier in pack.rules[:index]:
        if _covers(earlier, rule):
            text = f"Every case is already decided by {earlier.id!r}; move it up or remove it."
            yield Problem(pack.name, rule.id, "error", "unreachable", text)
            break
    age = (day - rule.reviewed_on).days
    if age > REVIEW_DAYS:
        text = f"Last compared with its source {age} days ago; look at {rule.source[0]} and renew reviewed_on."
        yield Problem(pack.name, rule.id, "warning", "stale-review", text)
    if age < 0:
        yield Problem(pack.name, rule.id, "error", "future-review", f"reviewed_on {rule.reviewed_on} is in the future.")


def _covers(earlier: Rule, later: Rule) -> bool:
    """Whether every case of the later rule also fits the earlier one."""
    a, b = earlier.when, later.when
    known = set(b.all)
    return (
        b.statuses <= a.statuses
        and set(a.all) <= known
        and (not a.any or bool(set(a.any) & known) or (bool(b.any) and set(b.any) <= set(a.any)))
        and set(a.none) <= set(b.none)
        and all(
            not getattr(a, field) or (getattr(b, field) and set(getattr(b, field)) <= set(getattr(a, field)))
            for field in ("media", "role", "region")
        )
    )


def _overlaps(packs: Sequence[Compiled]) -> Iterable[Problem]:
    """Two versions of a pack in force on the same day; an open end is closed by a later version's start."""
    for a, b in combinations(sorted((p.pack for p in packs), key=lambda p: (p.id, p.valid_from)), 2):
        if a.id == b.id and (a.valid_to is None or a.valid_to >= b.valid_from):
            text = f"{a.name} and {b.name} are both in force from {b.valid_from}; give the older one a valid_to."
            yield Problem(a.name, "", "error", "overlap", text)
