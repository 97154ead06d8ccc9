"""Match the fields of a file against the signature table; nothing about a generator is in code."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

from countermark.provenance.evidence import Claim
from countermark.provenance.manifest.vocabulary import source_type_claim, source_type_name
from countermark.provenance.metadata.carriers import Field

__all__ = ["Match", "Signature", "load_signatures", "match_fields"]

_MAX_VALUE = 256 * 1024
_MAX_SHOWN = 4000
_TC260 = re.compile(r"\"?label\"?\s*:\s*\"?([123])", re.IGNORECASE)
_TC260_PRODUCER = re.compile(r"\"?(?:ContentProducer|ServiceProvider)\"?\s*:\s*\"([^\"]{1,200})\"", re.IGNORECASE)
# GB 45438-2025: the third wording is the platform's suspicion, the second a user's declaration.
_TC260_CERTAINTY = {"1": "generated", "2": "possibly generated", "3": "suspected generated"}


@dataclass(frozen=True, slots=True)
class Rule:
    """Where to look and what must be there."""

    carriers: frozenset[str]
    key: re.Pattern[str]
    value: re.Pattern[str] | None
    json_keys: tuple[str, ...] | None

    def hits(self, item: Field) -> bool:
        """Whether one field satisfies the rule."""
        if item.carrier not in self.carriers or not self.key.fullmatch(item.key):
            return False
        text = item.value[:_MAX_VALUE]
        if self.value is not None and not self.value.search(text):
            return False
        if self.json_keys is None:
            return True
        table = _json(text)
        return isinstance(table, dict) and all(k in table for k in self.json_keys)


@dataclass(frozen=True, slots=True)
class Signature:
    """One row of the table."""

    id: str
    generator: str
    rule: Rule
    others: tuple[Rule, ...]
    claim: str
    readers: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Match:
    """One signature found in one field.

    Attributes:
        id: row of the table.
        generator, model, prompt: as declared; empty where not given.
        claim: what it declares.
        carrier, key: where it was found.
        value: the declared value itself for vocabularies and labels, else empty.
    """

    id: str
    generator: str
    claim: Claim
    carrier: str
    key: str
    model: str = ""
    prompt: str = ""
    value: str = ""


def _rule(row: Mapping[str, Any]) -> Rule:
    return Rule(
        frozenset(row["carrier"]),
        re.compile(row["key"]),
        re.compile(row["value"]) if "value" in row else None,
        tuple(row["json"]) if "json" in row else None,
    )


@lru_cache(maxsize=1)
def load_signatures() -> tuple[str, tuple[Signature, ...]]:
    """Version and rows of the bundled table."""
    source = resources.files("countermark.provenance.metadata").joinpath("signatures.toml")
    table = tomllib.loads(source.read_text("utf-8"))
    rows = tuple(
        Signature(
            row["id"],
            row["generator"],
            _rule(row),
            tuple(_rule(other) for other in row.get("with", [])),
            row["claim"],
            {name: row[name] for name in ("model", "prompt", "generator_from") if name in row},
        )
        for row in table["signature"]
    )
    return table["version"], rows


def match_fields(fields: Iterable[Field]) -> list[Match]:
    """All signatures found, in the order of the table; each at most once per carrier and value."""
    items = list(fields)
    found: dict[tuple[str, str, str], Match] = {}
    for signature in load_signatures()[1]:
        if not all(any(other.hits(item) for item in items) for other in signature.others):
            continue
        for item in items:
            if signature.rule.hits(item) and (match := _match(signature, item)):
                found.setdefault((match.id, match.carrier, match.value), match)
    return list(found.values())


def _match(signature: Signature, item: Field) -> Match | None:
    claim, value, generator = _claim(signature.claim, item.value)
    if claim is None:
        return None
    text = item.value[:_MAX_VALUE]
    read = {name: _extract(rule, text) for name, rule in signature.readers.items()}
    name = signature.generator or read.get("generator_from", "") or generator
    return Match(
        signature.id,
        name,
        claim,
        item.carrier,
        item.key,
        model=read.get("model", ""),
        prompt=read.get("prompt", ""),
        value=value,
    )


def _claim(word: str, value: str) -> tuple[Claim | None, str, str]:
    """Claim, declared value, generator; claim None where the vocabulary says nothing of interest."""
    if word == "source_type":
        claim = source_type_claim(value)
        return (claim if claim != Claim.NONE else None), source_type_name(value.strip())[:200], ""
    if word == "tc260":
        label = _TC260.search(value)
        producer = _TC260_PRODUCER.search(value)
        if label is None:
            return None, "", ""
        return Claim.GENERATED, f"label {label[1]}: {_TC260_CERTAINTY[label[1]]}", producer[1] if producer else ""
    return Claim(word), "", ""


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _extract(rule: Mapping[str, str], text: str) -> str:
    if "regex" in rule:
        match = re.search(rule["regex"], text)
        return match[1].strip()[:_MAX_SHOWN] if match else ""
    table = _json(text)
    if "path" in rule:
        for part in rule["path"].split("."):
            table = table.get(part) if isinstance(table, dict) else None
        return table[:_MAX_SHOWN] if isinstance(table, str) else ""
    return _find(table, re.compile(rule["find"]), 0)[:_MAX_SHOWN]


def _find(value: Any, key: re.Pattern[str], depth: int) -> str:
    """First string under a key that matches, depth first, bounded."""
    if depth > 12:
        return ""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in children:
        if isinstance(child, str) and child and key.fullmatch(str(name)):
            return child
        if found := _find(child, key, depth + 1):
            return found
    return ""
