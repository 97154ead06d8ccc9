"""Decide: the first rule of each pack that fits; several packs at once, the strictest duty on top.

A decision names its rule, its source and the SHA-256 of its pack, so that it can be replayed.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from countermark.policies.model import ACTIONS, Context, Pack, Rule
from countermark.provenance.errors import UsageError
from countermark.provenance.status import Status

__all__ = ["Compiled", "Decision", "combine", "decide", "load_file", "load_packs", "select"]

_STRENGTHS = ("house", "platform", "code", "law")


@dataclass(frozen=True)
class _Case:
    """A rule with its conditions as sets."""

    rule: Rule
    statuses: frozenset[str]
    every: frozenset[str]
    some: frozenset[str]
    never: frozenset[str]
    media: frozenset[str]
    role: frozenset[str]
    region: frozenset[str]

    def fits(self, c: Context) -> bool:
        """Whether the rule decides this case."""
        return (
            c.status.value in self.statuses
            and self.every <= c.traits
            and (not self.some or not self.some.isdisjoint(c.traits))
            and self.never.isdisjoint(c.traits)
            and (not self.media or c.media in self.media)
            and (not self.role or c.role in self.role)
            and (not self.region or c.region in self.region)
        )


@dataclass(frozen=True)
class Compiled:
    """A pack ready to decide.

    Attributes:
        pack: the data.
        sha256: of the file it came from.
        cases: its rules with resolved conditions.
    """

    pack: Pack
    sha256: str
    cases: tuple[_Case, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """What one pack asks for.

    Attributes:
        pack: ``id@version``.
        rule: id of the rule that decided, or ``none`` outside the pack's validity.
        action: see `countermark.policies.model`.
        text: label wording in English, empty without a label.
        texts: label wording by language.
        placement: where the label goes.
        removable: whether the uploader may take it off.
        form: drawn form of the label, or None.
        review, ask_uploader: further duties.
        duty: a duty in words.
        strength, confidence, source: how far it can be relied on.
        sha256: of the pack.
        traits: what was known of the picture when it was decided.
    """

    pack: str
    rule: str
    action: str
    text: str = ""
    texts: Mapping[str, str] | None = None
    placement: str = ""
    removable: bool = True
    form: str | None = None
    review: bool = False
    ask_uploader: bool = False
    duty: str = ""
    strength: str = "house"
    confidence: str = "inferred"
    source: tuple[str, ...] = ()
    sha256: str = ""
    traits: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of the scan contract's ``decisions``."""
        return {
            "pack": self.pack,
            "action": self.action,
            "text": self.text,
            "texts": dict(self.texts or {}),
            "placement": self.placement,
            "removable": self.removable,
            "form": self.form,
            "review": self.review,
            "ask_uploader": self.ask_uploader,
            "duty": self.duty,
            "rule": self.rule,
            "source": self.source[0] if self.source else "",
            "sources": list(self.source),
            "strength": self.strength,
            "confidence": self.confidence,
            "sha256": self.sha256,
            "traits": list(self.traits),
        }


def recorded(table: Mapping[str, Any]) -> Decision:
    """A decision as it stands in a scan report.

    Raises:
        UsageError: fields are missing or unknown.
    """
    fields = {k: v for k, v in table.items() if k != "sources"}
    fields |= {"source": tuple(table.get("sources") or ()), "traits": tuple(table.get("traits") or ())}
    try:
        decision = Decision(**fields)
    except TypeError as exc:
        raise UsageError(f"A decision in this report cannot be read ({exc}). Scan again with this version.") from exc
    for name, value, allowed in (("action", decision.action, ACTIONS), ("strength", decision.strength, _STRENGTHS)):
        if value not in list(allowed):
            raise UsageError(
                f"A decision in this report has {name} {value!r}; allowed: {', '.join(allowed)}. "
                "Scan again with this version."
            )
    return decision


def compile_pack(pack: Pack, sha256: str) -> Compiled:
    """Resolve a pack's conditions once."""
    return Compiled(
        pack,
        sha256,
        tuple(
            _Case(
                r,
                r.when.statuses,
                frozenset(r.when.all),
                frozenset(r.when.any),
                frozenset(r.when.none),
                frozenset(r.when.media),
                frozenset(r.when.role),
                frozenset(r.when.region),
            )
            for r in pack.rules
        ),
    )


def load_file(path: Path) -> Compiled:
    """One pack file.

    Raises:
        UsageError: unreadable, not YAML, or outside the vocabulary; names the place.
    """
    try:
        return _parse(path.read_bytes(), str(path))
    except OSError as exc:
        raise UsageError(f"{path}: {exc.strerror or exc}.") from exc


def _parse(data: bytes, what: str) -> Compiled:
    import yaml
    from pydantic import ValidationError

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        table = yaml.load(data, Loader=loader)  # noqa: S506 - both loaders are the safe ones
        return compile_pack(Pack.model_validate(table), hashlib.sha256(data).hexdigest())
    except yaml.YAMLError as exc:
        raise UsageError(f"{what}: not readable as YAML: {' '.join(str(exc).split())[:200]}") from exc
    except ValidationError as exc:
        first = exc.errors()[0]
        place = ".".join(str(p) for p in first["loc"])
        raise UsageError(f"{what}: {place}: {first['msg']} ({exc.error_count()} problems in all).") from exc


@lru_cache(maxsize=1)
def load_packs() -> dict[str, Compiled]:
    """The packs that ship, by ``id@version``."""
    folder = resources.files("countermark.policies").joinpath("packs")
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".yaml")), key=lambda f: f.name)
    packs = [_parse(f.read_bytes(), f.name) for f in files]
    return {p.pack.name: p for p in packs}


def select(names: Iterable[str], on: dt.date | None = None) -> list[Compiled]:
    """Packs by id (the version in force), by ``id@version``, or by file name.

    Raises:
        UsageError: there is no such pack, or none in force.
    """
    day = on or dt.datetime.now(dt.UTC).date()
    chosen = []
    for name in names:
        if re.search(r"\.ya?ml$", name):
            chosen.append(load_file(Path(name)))
        elif name == "all":
            chosen += [p for p in load_packs().values() if p.pack.in_force(day)]
        else:
            chosen.append(_by_name(name, day))
    return chosen


def _by_name(name: str, day: dt.date) -> Compiled:
    from difflib import get_close_matches

    packs = load_packs()
    if name in packs:
        return packs[name]
    versions = [p for p in packs.values() if p.pack.id == name]
    current = [p for p in versions if p.pack.in_force(day)]
    if current:
        return max(current, key=lambda p: p.pack.valid_from)
    if versions:
        later = ", ".join(f"{p.pack.name} from {p.pack.valid_from}" for p in versions)
        raise UsageError(f"No version of {name} is in force on {day}. There is {later}; name it in full to use it.")
    near = get_close_matches(name, [*packs, *{p.pack.id for p in packs.values()}], n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise UsageError(f"No policy pack {name!r}.{hint} `countermark policies list` shows all.")


def decide(packs: Sequence[Compiled], context: Context) -> list[Decision]:
    """One decision a pack, in the order of the packs; total: there is always one."""
    return [_decide(p, context) for p in packs]


def _decide(compiled: Compiled, context: Context) -> Decision:
    pack = compiled.pack
    if not pack.in_force(context.date):
        return Decision(pack.name, "none", "none", duty=f"not in force on {context.date}", sha256=compiled.sha256)
    for case in compiled.cases:
        if case.fits(context):
            return _decision(compiled, case.rule, context)
    return Decision(pack.name, "none", "none", sha256=compiled.sha256)


def _decision(compiled: Compiled, rule: Rule, context: Context) -> Decision:
    then, label = rule.then, rule.then.label
    return Decision(
        compiled.pack.name,
        rule.id,
        then.action,
        text=label.text["en"] if label else "",
        texts=label.text if label else None,
        placement=label.placement if label else "",
        removable=label.removable if label else True,
        form=label.form if label else None,
        review=then.review,
        ask_uploader=then.ask_uploader,
        duty=then.duty,
        strength=rule.strength,
        confidence=rule.confidence,
        source=rule.source,
        sha256=compiled.sha256,
        traits=tuple(sorted(context.traits)),
    )


def combine(decisions: Iterable[Decision]) -> list[Decision]:
    """All duties, strictest first; "none" only when nobody asks for anything.

    Strictness: refuse, restrict, review, label, and so on down; of equals a law comes before a platform.
    A platform's "none" never cancels a law's label.
    """
    ordered = sorted(decisions, key=lambda d: (ACTIONS.index(d.action), _STRENGTHS.index(d.strength)), reverse=True)
    asking = [d for d in ordered if d.action != "none" or d.review or d.ask_uploader]
    return asking or ordered[:1]


def replay(decision: Mapping[str, Any], context: Context, packs: Sequence[Compiled]) -> bool:
    """Whether a recorded decision comes out again: same pack bytes, same rule, same action."""
    for compiled in packs:
        if compiled.pack.name == decision.get("pack") and compiled.sha256 == decision.get("sha256"):
            again = _decide(compiled, context)
            return (again.rule, again.action) == (decision.get("rule"), decision.get("action"))
    return False


def context_of(status: Status, traits: Iterable[str] = (), **where: Any) -> Context:
    """A context from plain words.

    One trait stands in the manifest and need not be said: a signed claim that the picture was generated is
    about the whole of it.

    Raises:
        UsageError: an unknown trait, media, role or region; names what is allowed.
    """
    from pydantic import ValidationError

    known = {*traits, *(("whole",) if status == Status.AI_GENERATED_CONFIRMED else ())}
    try:
        return Context.model_validate({"status": status, "traits": frozenset(known), **where})
    except ValidationError as exc:
        first = exc.errors()[0]
        raise UsageError(f"{'.'.join(str(p) for p in first['loc'])}: {first['msg']}, got {first['input']!r}.") from exc
