"""The judgement over every combination of facts, and the named cases of the specification."""

from __future__ import annotations

import dataclasses
import itertools
from typing import get_args

import pytest

from countermark.detectors import resolve as module
from countermark.detectors.resolve import Facts, facts_of, judge, resolve
from countermark.provenance.evidence import Claim, Evidence, Kind, Strength
from countermark.provenance.status import SENTENCES, Status

CONFIRMED = (Status.AI_GENERATED_CONFIRMED, Status.AI_EDITED_CONFIRMED, Status.CAPTURE_CONFIRMED)
WEAK = (Status.LIKELY_AI, Status.INCONCLUSIVE, Status.NO_AI_EVIDENCE, Status.ERROR)


def all_facts():
    """Every combination of facts the type allows."""
    values = {
        "manifest": get_args(module.Manifest),
        "origin": get_args(module.Origin),
        "mark": get_args(module.Mark),
        "declared": get_args(module.Said),
        "reviewed": get_args(module.Said),
        "classifier": get_args(module.Band),
    }
    options = [values.get(f.name, (False, True)) for f in dataclasses.fields(Facts)]
    for combination in itertools.product(*options):
        yield Facts(*combination)


def test_invariants_hold_for_every_combination():
    count = 0
    for f in all_facts():
        count += 1
        verdict = judge(f)
        status = verdict.status
        assert verdict.reasons
        assert verdict.summary == SENTENCES[status]
        if status in CONFIRMED:
            assert f.manifest == "trusted"
            assert not f.denied
            assert f.origin_signed
        if status is Status.CAPTURE_CONFIRMED:
            assert not f.marked
            assert not f.metadata_ai
            assert f.declared != "ai"
        if status in (Status.CONFLICT, Status.PROVENANCE_INVALID):
            assert verdict.review
        if status is Status.LIKELY_AI and f.reviewed == "none":
            assert verdict.review
        if status is Status.AI_GENERATED_WATERMARKED:
            assert f.keyed
    assert count == 5 * 5 * 2 * 2 * 2 * 3 * 2 * 2 * 3 * 3 * 2 * 5 * 2 * 2


def test_the_classifier_never_moves_a_strong_status():
    for f in all_facts():
        if f.classifier != "not_run":
            with_score, without = judge(f).status, judge(dataclasses.replace(f, classifier="not_run")).status
            assert with_score == without or (with_score in WEAK and without in WEAK)


def test_low_score_is_no_evidence_and_high_score_asks_for_a_person():
    assert judge(Facts(classifier="low")).status is Status.NO_AI_EVIDENCE
    high = judge(Facts(classifier="high"))
    assert (high.status, high.review) == (Status.LIKELY_AI, True)
    assert judge(Facts(classifier="abstained")).status is Status.INCONCLUSIVE


@pytest.mark.parametrize(
    ("facts", "status", "review"),
    [
        (Facts("trusted", "generated", True, classifier="low"), Status.AI_GENERATED_CONFIRMED, False),
        (Facts("trusted", "edited", True), Status.AI_EDITED_CONFIRMED, False),
        (Facts("trusted", "captured", True, classifier="high"), Status.CAPTURE_CONFIRMED, True),
        (Facts("trusted", "captured", True, mark="keyed"), Status.CONFLICT, True),
        (Facts("trusted", "captured", True, mark="public"), Status.CONFLICT, True),
        (Facts("trusted", "captured", True, metadata_ai=True), Status.CONFLICT, True),
        (Facts("trusted", "captured", True, declared="ai"), Status.CONFLICT, True),
        (Facts("trusted", "human_made", True, mark="public"), Status.CONFLICT, True),
        (Facts(mark="keyed"), Status.AI_GENERATED_WATERMARKED, False),
        (Facts(registry=True), Status.AI_GENERATED_WATERMARKED, False),
        (Facts(mark="public"), Status.AI_MARKED_UNSIGNED, False),
        (Facts("invalid"), Status.PROVENANCE_INVALID, True),
        (Facts("invalid", metadata_ai=True), Status.AI_MARKED_UNSIGNED, True),
        (Facts("trusted", "captured", True, denied=True), Status.PROVENANCE_INVALID, True),
        (Facts("trusted", "generated", True, denied=True), Status.PROVENANCE_INVALID, True),
        (Facts("untrusted", "generated"), Status.AI_MARKED_UNSIGNED, False),
        (Facts("untrusted", "captured"), Status.NO_AI_EVIDENCE, False),
        (Facts("trusted", "generated", False), Status.AI_MARKED_UNSIGNED, False),
        (Facts(declared="not_ai", classifier="high"), Status.LIKELY_AI, True),
        (Facts(declared="ai"), Status.AI_DECLARED, False),
        (Facts(metadata_ai=True), Status.AI_MARKED_UNSIGNED, False),
        (Facts(seen=True), Status.INCONCLUSIVE, True),
        (Facts(seen=True, classifier="low"), Status.INCONCLUSIVE, True),
        (Facts("remote"), Status.INCONCLUSIVE, False),
        (Facts(failed=True), Status.INCONCLUSIVE, False),
        (Facts(unread=True), Status.ERROR, False),
        (Facts(), Status.NO_AI_EVIDENCE, False),
    ],
)
def test_named_cases(facts, status, review):
    verdict = judge(facts)
    assert (verdict.status, verdict.review) == (status, review)


def test_a_stripped_manifest_is_never_called_tampering():
    verdict = judge(Facts(mark="keyed"))
    assert "marks.stripped" in verdict.reasons
    assert not any("tamper" in r or "invalid" in r for r in verdict.reasons)


def watermark(strength: Strength, p_value: float) -> Evidence:
    return Evidence(Kind.WATERMARK, "x", True, Claim.GENERATED, strength, {"p_value": p_value})


def test_a_keyed_mark_needs_a_tiny_chance_rate():
    assert facts_of([watermark(Strength.KEYED, 1e-9)]).mark == "keyed"
    assert facts_of([watermark(Strength.KEYED, 1e-3)]).mark == "public"
    assert facts_of([watermark(Strength.DECLARED, 1e-9)]).mark == "public"
    assert facts_of([Evidence(Kind.WATERMARK, "x", True, Claim.GENERATED, Strength.KEYED)]).mark == "public"


def test_a_failed_examiner_is_not_silence():
    broken = Evidence(Kind.WATERMARK, "x", error="crashed")
    verdict = resolve([broken])
    assert verdict.status is Status.INCONCLUSIVE
    assert "examiner.failed" in verdict.reasons


def test_order_of_evidence_does_not_matter():
    items = [
        watermark(Strength.KEYED, 1e-9),
        watermark(Strength.DECLARED, 1e-9),
        Evidence(Kind.METADATA, "metadata", True, Claim.GENERATED, Strength.DECLARED),
        Evidence(Kind.DECLARATION, "uploader", True, Claim.HUMAN_MADE, Strength.DECLARED),
        Evidence(Kind.CLASSIFIER, "cnn", True, Claim.NONE, Strength.STATISTICAL, {"band": "high"}),
    ]
    verdicts = {resolve(order).status for order in itertools.permutations(items)}
    assert len(verdicts) == 1
