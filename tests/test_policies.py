"""Policy packs: every rule has a case that it decides, and nothing hard or public comes from pixels alone."""

from __future__ import annotations

import datetime as dt
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import noise
from PIL import Image

import countermark as cm
from countermark.cli import main
from countermark.policies import engine
from countermark.policies.draw import atproto_values, contrast, draw_label, html_snippet, svg_label
from countermark.policies.engine import combine, compile_pack, context_of, decide, load_file, load_packs, select
from countermark.policies.lint import lint
from countermark.policies.model import ACTIONS, GROUPS, TRAITS, Context, Pack
from countermark.policies.notice import statement
from countermark.policies.simulate import read_scans
from countermark.provenance.errors import UsageError
from countermark.provenance.status import Status

PACKS = list(load_packs().values())
RULES = [(p, r) for p in PACKS for r in p.pack.rules]
EXPECTED = {
    "youtube",
    "meta",
    "tiktok",
    "x",
    "linkedin",
    "pinterest",
    "snapchat",
    "adobe-stock",
    "shutterstock",
    "istock",
    "kdp",
    "etsy",
    "commons",
    "bluesky",
    "eu-art50-provider",
    "eu-art50-deployer",
    "us-ca-provider",
    "us-ca-platform",
    "cn-platform",
    "in-ssmi",
    "kr-operator",
    "house",
}


def test_all_packs_are_there_and_clean():
    assert {p.pack.id for p in PACKS} == EXPECTED
    assert lint(PACKS, dt.date(2026, 11, 21)) == []


@pytest.mark.parametrize(("pack", "rule"), RULES, ids=[f"{p.pack.name}:{r.id}" for p, r in RULES])
def test_every_rule_decides_its_own_example(pack, rule):
    (decision,) = decide([pack], rule.example)
    assert decision.rule == rule.id
    assert decision.sha256 == pack.sha256
    assert decision.source
    if decision.action == "label":
        assert decision.text
        assert decision.placement


def contexts():
    """Every status with every set of up to two traits, in every region."""
    sets = [frozenset(c) for n in range(3) for c in itertools.combinations(TRAITS, n)]
    for status in Status:
        for traits in sets:
            for region in ("world", "cn"):
                yield Context(status=status, traits=traits, region=region, date=dt.date(2027, 2, 1))


def test_pixels_alone_never_give_a_public_label_or_a_hard_duty():
    for context in contexts():
        if context.status is not Status.LIKELY_AI:
            continue
        for decision in decide(PACKS, context):
            if decision.pack.startswith("cn-") and decision.action == "label":
                assert "suspected" in decision.text.lower()
                assert decision.review
                continue
            own = "own_tool" in context.traits
            assert decision.action in ("none", "info", "ask_uploader", "tell_platform", "review") or own


def test_conflict_and_invalid_always_go_to_review_and_never_to_a_label():
    house = select(["house"])
    for status in (Status.CONFLICT, Status.PROVENANCE_INVALID):
        for context in contexts():
            if context.status is status:
                assert decide(house, context)[0].review
                assert all(d.action != "label" for d in decide(PACKS, context))


def test_deciding_is_total_and_can_be_replayed():
    for context in itertools.islice(contexts(), 0, None, 7):
        for decision in decide(PACKS, context):
            assert decision.action in ACTIONS
            assert decision.rule != "none"
            assert engine.replay(decision.to_dict(), context, PACKS)
    changed = {**decide(PACKS, Context(status="likely_ai"))[0].to_dict(), "sha256": "0" * 64}
    assert not engine.replay(changed, Context(status="likely_ai"), PACKS)


def test_a_platforms_none_never_cancels_a_laws_label():
    context = context_of(Status.AI_GENERATED_CONFIRMED, ["realistic"], role="deployer", region="eu")
    decisions = decide(select(["snapchat", "eu-art50-deployer"]), context)
    assert [d.action for d in decisions] == ["none", "label"]
    assert [d.pack for d in combine(decisions)] == ["eu-art50-deployer@2026-08-02"]
    both = combine(decide(select(["meta", "eu-art50-deployer"]), context))
    assert [d.strength for d in both] == ["law", "platform"]
    forbidden = context_of(Status.AI_DECLARED, ["endorsement", "realistic"])
    assert combine(decide(select(["meta", "tiktok"]), forbidden))[0].action == "refuse"


def test_packs_outside_their_time_ask_for_nothing_and_are_not_chosen():
    (decision,) = decide(
        [load_packs()["us-ca-platform@2027-01-01"]], Context(status="ai_generated_confirmed", date=dt.date(2026, 6, 1))
    )
    assert (decision.rule, decision.action) == ("none", "none")
    assert "not in force" in decision.duty
    with pytest.raises(UsageError, match="No version of us-ca-platform is in force"):
        select(["us-ca-platform"], dt.date(2026, 6, 1))
    with pytest.raises(UsageError, match="Did you mean tiktok"):
        select(["tiktk"])


def table(**changes) -> dict:
    rule = {
        "id": "only",
        "then": {"action": "none"},
        "source": ["x"],
        "strength": "house",
        "confidence": "inferred",
        "reviewed_on": dt.date(2026, 11, 1),
        "example": {"status": "no_ai_evidence"},
    }
    base = {
        "id": "mine",
        "version": "1",
        "title": "Mine",
        "kind": "house",
        "valid_from": dt.date(2026, 1, 1),
        "note": "Not legal advice.",
        "rules": [rule],
    }
    return {**base, **changes}


def rule(name: str, **changes) -> dict:
    return {**table()["rules"][0], "id": name, **changes}


SOFT = {"status": "likely_ai"}
CHINA = {"status": "ai_generated_confirmed", "region": "cn"}
LABEL = {"action": "label", "label": {"text": {"en": "AI"}, "placement": "top"}}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"rules": [rule("a", when={"status": ["clean"]})]}, "no-catch-all"),
        ({"rules": [rule("a"), rule("a")]}, "duplicate-id"),
        ({"rules": [rule("a"), rule("b")]}, "unreachable"),
        (
            {
                "rules": [
                    rule("s", when={"status": ["soft"]}, then={"action": "refuse"}, example={"status": "likely_ai"}),
                    rule("z"),
                ]
            },
            "hard-from-soft",
        ),
        (
            {"rules": [rule("s", when={"status": ["soft"]}, then=LABEL, example={"status": "likely_ai"}), rule("z")]},
            "label-from-soft",
        ),
        ({"rules": [rule("s", when={"status": ["soft"]}), rule("z")]}, "not-hit"),
        ({"rules": [rule("z", reviewed_on=dt.date(2026, 1, 1))]}, "stale-review"),
        ({"note": "Trust me."}, "no-disclaimer"),
        (
            {
                "rules": [
                    rule(
                        "c",
                        when={"status": ["signed"]},
                        then=LABEL,
                        example={"status": "ai_generated_confirmed", "region": "cn"},
                    ),
                    rule("z"),
                ]
            },
            "no-chinese",
        ),
    ],
)
def test_lint_finds(changes, code):
    pack = compile_pack(Pack.model_validate(table(**changes)), "0")
    assert code in [p.code for p in lint([pack], dt.date(2026, 11, 21))]


def test_lint_finds_overlapping_versions():
    packs = [
        compile_pack(Pack.model_validate(table(version=v, valid_from=d)), "0")
        for v, d in (("1", dt.date(2026, 1, 1)), ("2", dt.date(2026, 6, 1)))
    ]
    assert "overlap" in [p.code for p in lint(packs, dt.date(2026, 11, 21))]
    closed = Pack.model_validate(table(valid_to=dt.date(2026, 5, 31)))
    assert not [p for p in lint([compile_pack(closed, "0"), packs[1]], dt.date(2026, 11, 21)) if p.code == "overlap"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rules": [rule("a", when={"all": ["shiny"]})]}, "when"),
        ({"rules": [rule("a", when={"status": ["fake"]})]}, "unknown status 'fake'"),
        ({"rules": [rule("a", source=[])]}, "source"),
        ({"rules": [rule("a", when={"expr": "1"})]}, "expr"),
        ({"rules": [rule("a", then={"action": "label"})]}, "go together"),
        ({"rules": []}, "rules"),
    ],
)
def test_words_outside_the_vocabulary_do_not_load(tmp_path: Path, changes, words):
    path = tmp_path / "pack.yaml"
    path.write_text(yaml.safe_dump(table(**changes)))
    with pytest.raises(UsageError, match=words):
        load_file(path)
    path.write_text("{: not yaml")
    with pytest.raises(UsageError, match="not readable as YAML"):
        load_file(path)


def test_groups_cover_every_status_once_more_than_never():
    covered = {s for members in GROUPS.values() for s in members}
    assert covered == set(Status)


def test_statement_of_reasons_is_complete_and_plain():
    context = context_of(Status.LIKELY_AI, ["sensitive_topic"])
    (decision,) = decide(select(["house"]), context)
    text = statement(
        decision,
        context.status,
        item="my.jpg",
        service="Example",
        appeal_to="https://example.org/appeal",
        decision_id="d1",
        on=dt.date(2026, 11, 21),
    )
    for words in (
        "my.jpg",
        "never proof",
        "automatically, without a person",
        "house@2026-11",
        "2027-05-23",
        "https://example.org/appeal",
        "d1",
        "Another person",
    ):
        assert words in text
    for status, pack in itertools.product(Status, PACKS):
        decision = decide([pack], Context(status=status, date=dt.date(2027, 2, 1)))[0]
        notice = statement(decision, status, item="x")
        assert "Rule:" in notice
        assert "0." not in notice.replace("2026", "").split("Rule:")[0]  # no score


def test_scan_applies_packs(keys, encode):
    data = cm.stamp(encode(), None, cm.Origin(model="m")).data
    result = cm.scan(data, policies=cm.Policies(("meta", "eu-art50-deployer", "snapchat"), ("realistic",)))
    assert [d["pack"].split("@")[0] for d in result.to_dict()["decisions"]] == ["eu-art50-deployer", "meta"]
    assert set(result.decisions[0]) >= {"pack", "action", "text", "placement", "rule", "source"}
    assert cm.scan(data).decisions == ()
    with pytest.raises(UsageError, match="No policy pack"):
        cm.scan(data, policies=cm.Policies(("nonsense",)))


def test_command_line(encode, tmp_path, capsys):
    image = tmp_path / "x.jpg"
    image.write_bytes(encode())
    assert main(["policies", "list"]) == 0
    assert "youtube@2026-05-27" in capsys.readouterr().out
    assert main(["policies", "show", "youtube"]) == 0
    assert "Altered or synthetic" in capsys.readouterr().out
    assert main(["policies", "show", "us-ca-platform"]) == 0
    assert main(["policies", "lint"]) == 0
    bad = tmp_path / "bad.yaml"
    bad.write_text(yaml.safe_dump(table(rules=[rule("a", when={"all": ["shiny"]})])))
    assert main(["policies", "lint", str(bad)]) == 1
    assert "not-loadable" in capsys.readouterr().out
    assert main(["scan", str(image), "--policy", "nonsense"]) == 2
    assert main(["scan", str(image), "--trait", "realistic"]) == 2
    assert main(["scan", str(image), "--policy", "house", "--trait", "shiny"]) == 2
    report = tmp_path / "r.jsonl"
    assert main(["scan", str(image), "-f", "jsonl", "-o", str(report), "--policy", "house"]) == 0
    assert json.loads(report.read_text())["decisions"][0]["pack"] == "house@2026-11"


def test_simulate_shows_what_would_change(tmp_path, capsys):
    report = tmp_path / "r.jsonl"
    rows = [{"path": f"{i}.jpg", "status": s} for i, s in enumerate(["ai_edited_confirmed", "no_ai_evidence"])]
    report.write_text("".join(json.dumps(r) + "\n" for r in rows))
    assert main(["policies", "simulate", str(report), "--before", "meta", "--after", "house", "--json"]) == 1
    result = json.loads(capsys.readouterr().out)
    assert (result["scans"], len(result["changes"])) == (2, 1)
    assert result["moves"] == {"info -> label": 1, "none -> none": 1}
    assert main(["policies", "simulate", str(report), "--before", "meta", "--after", "meta"]) == 0
    report.write_text("nonsense\n")
    assert main(["policies", "simulate", str(report), "--before", "meta", "--after", "house"]) == 2


# --- drawn labels ------------------------------------------------------------------------------------

FORM_TEXTS = [
    ("eu-ai", "AI"),
    ("eu-generated", "AI GENERATED"),
    ("eu-modified", "AI MODIFIED"),
    ("cn-corner", "为人工智能生成合成内容"),
    ("commons", "AI-generated"),
    ("cr-pin", "Content Credentials"),
    ("plain", "Edited with AI"),
]
BACKGROUNDS = {
    "black": np.zeros((300, 420, 3), np.uint8),
    "white": np.full((300, 420, 3), 255, np.uint8),
    "grey": np.full((300, 420, 3), 128, np.uint8),
    "busy": noise(300, 420),
}


@pytest.mark.parametrize(("form", "text"), FORM_TEXTS)
@pytest.mark.parametrize("name", list(BACKGROUNDS))
def test_labels_are_legible_and_stay_in_their_corner(name, form, text):
    rgb = BACKGROUNDS[name]
    drawn, where = draw_label(rgb, text, form)
    left, top, right, bottom = where["box"]
    assert where["contrast"] >= 7  # WCAG AAA
    assert 0 <= left < right < rgb.shape[1]
    assert 0 <= top < bottom < rgb.shape[0]
    changed = (drawn != rgb).any(axis=2)
    assert changed[top : bottom + 1, left : right + 1].mean() > 0.2
    changed[top : bottom + 1, left : right + 1] = False
    assert not changed.any()
    plate = drawn[top : bottom + 1, left : right + 1].reshape(-1, 3).astype(int)
    assert plate.min() < 30  # both ink and plate are there: really drawn, whatever is behind
    assert plate.max() > 240


@pytest.mark.parametrize("size", [(64, 64), (250, 180), (512, 768), (4000, 3000), (1200, 150)])
@pytest.mark.parametrize(("form", "text"), FORM_TEXTS)
def test_labels_fit_every_size(size, form, text):
    width, height = size
    _, where = draw_label(np.zeros((height, width, 3), np.uint8), text, form)
    if form == "cn-corner":
        assert where["size"] >= 0.05 * min(size)
    if form == "commons" and min(size) > 300:
        assert where["size"] * 250 / max(size) >= 12  # readable in a 250 px thumbnail


def test_a_short_wording_keeps_the_doubt():
    _, where = draw_label(np.zeros((64, 64, 3), np.uint8), "疑似人工智能生成合成内容", "cn-corner")
    assert where["text"].replace(" ", "").startswith("疑似")


def test_too_small_pictures_and_unknown_forms_are_refused():
    with pytest.raises(UsageError, match="too small"):
        draw_label(np.zeros((8, 8, 3), np.uint8), "AI")
    with pytest.raises(UsageError, match="Unknown label form"):
        draw_label(np.zeros((80, 80, 3), np.uint8), "AI", "sparkles")


def test_every_character_of_every_pack_can_be_drawn():
    from fontTools.ttLib import TTFont

    font = Path(engine.__file__).parent / "fonts" / "label-sans-bold.otf"
    known = TTFont(font).getBestCmap()
    for pack, rule_ in RULES:
        for text in rule_.then.label.text.values() if rule_.then.label else ():
            assert all(ord(c) in known for c in text), (pack.pack.name, text)


def test_contrast_is_that_of_wcag():
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21.0)
    assert contrast((119, 119, 119), (255, 255, 255)) == pytest.approx(4.48, abs=0.01)


def test_svg_html_and_atproto_are_well_formed_and_escaped():
    from xml.dom.minidom import parseString

    for form, text in FORM_TEXTS:
        assert parseString(svg_label(text, form)).documentElement.getAttribute("aria-label")
    evil = '<script>"x"</script>'
    for made in (svg_label(evil), html_snippet(evil, 'x" onerror="y', evil)):
        assert "<script>" not in made
        assert 'onerror="y"' not in made
    assert "alt=" in html_snippet("AI GENERATED", "a.png", "a cup")
    assert atproto_values("AI-generated")["severity"] == "inform"


@pytest.mark.parametrize(
    ("packs", "traits", "form"),
    [
        (["eu-art50-deployer"], ["realistic"], "AI GENERATED"),
        (["cn-platform"], [], "为人工智能生成合成内容"),
        (["commons"], [], "AI-generated"),
        (["linkedin"], [], "cr"),
        (["meta", "eu-art50-deployer"], ["realistic"], "AI GENERATED"),
    ],
)
def test_a_labelled_picture_keeps_its_marks_and_scans_clean(keys, encode, packs, traits, form):
    source = encode("JPEG", comment=b"keep me")
    origin = cm.Origin(model="m")
    stamped = cm.stamp(source, None, origin, label=cm.Policies(tuple(packs), tuple(traits)))
    assert stamped.label["text"].replace(" ", "") == form.replace(" ", "")
    result = cm.scan(stamped.data)
    assert result.status is cm.Status.AI_GENERATED_CONFIRMED
    manifest = result.by_name("c2pa").detail
    assert [a["name"] for a in manifest["manifests"][0]["actions"]] == ["c2pa.opened", "c2pa.edited"]
    assert len(manifest["manifests"]) == 2
    assert b"keep me" in stamped.data
    assert result.by_name("metadata").claim.is_ai
    assert (cm.Upload(stamped.data).pixels != cm.Upload(source).pixels).any()


def test_a_stripped_labelled_copy_is_still_led_home(keys, encode):
    import io

    stamped = cm.stamp(encode(), None, cm.Origin(model="m"), label=cm.Policies(("meta",)))
    out = io.BytesIO()
    Image.fromarray(cm.Upload(stamped.data).pixels).save(out, "JPEG", quality=75)
    assert cm.scan(out.getvalue()).status is cm.Status.AI_GENERATED_WATERMARKED


def test_labels_that_nobody_asks_for_or_that_are_refused_are_not_drawn(keys, encode, tmp_path):
    with pytest.raises(UsageError, match="asks for a label"):
        cm.stamp(encode(), None, cm.Origin(), label=cm.Policies(("snapchat",)))
    with pytest.raises(UsageError, match="refuses this picture"):
        cm.stamp(encode(), None, cm.Origin(), label=cm.Policies(("shutterstock", "meta")))
    source, target = tmp_path / "in.jpg", tmp_path / "out.jpg"
    source.write_bytes(encode())
    assert main(["stamp", str(source), "-o", str(target), "--label", "shutterstock"]) == 2
    assert not target.exists()
    assert main(["stamp", str(source), "-o", str(target), "--label", "eu-art50-deployer", "--trait", "realistic"]) == 0


def test_a_signed_generation_is_about_the_whole_picture(keys, encode):
    """The only trait that is not the caller's: it stands in the manifest."""
    data = cm.stamp(encode(), None, cm.Origin(model="m")).data
    (decision,) = cm.scan(data, policies=cm.Policies(("youtube",), ("realistic",))).decisions
    assert decision["rule"] == "signed-whole-realistic"
    assert decision["removable"] is False
    assert decision["traits"] == ["realistic", "whole"]


def test_render_and_notice(encode, keys, tmp_path, capsys):
    assert main(["policies", "render", "AI GENERATED", "--form", "eu-generated"]) == 0
    assert "<svg" in capsys.readouterr().out
    assert main(["policies", "render", "AI", "--as", "html", "--alt", "a cup"]) == 0
    assert 'alt="a cup (AI)"' in capsys.readouterr().out
    assert main(["policies", "render", "AI", "--as", "atproto"]) == 0
    assert main(["policies", "render", "AI", "--as", "gif"]) == 2
    image, report = tmp_path / "x.jpg", tmp_path / "r.jsonl"
    image.write_bytes(cm.stamp(encode(), None, cm.Origin(model="m")).data)
    main(["scan", str(image), "-f", "jsonl", "-o", str(report), "--policy", "meta"])
    capsys.readouterr()
    assert main(["policies", "notice", str(report), "--service", "Example", "--appeal", "https://example.org/a"]) == 0
    out = capsys.readouterr().out
    assert "AI info" in out
    assert "https://example.org/a" in out
    report.write_text('{"path": "x", "status": "no_ai_evidence"}\n')
    assert main(["policies", "notice", str(report)]) == 2


@pytest.mark.parametrize("text", ["[1, 2", "[1]", '{"status": "shiny"}', "nonsense", "[" * 5000])
def test_reports_that_are_none_are_explained(tmp_path, capsys, text):
    report = tmp_path / "r.json"
    report.write_text(text)
    for command in (["simulate", str(report), "--before", "meta", "--after", "house"], ["notice", str(report)]):
        assert main(["policies", *command]) == 2
        assert "scan --format jsonl" in capsys.readouterr().err
    report.write_bytes(b"\xff\xfe\x00")
    assert main(["policies", "notice", str(report)]) == 2


def test_recorded_decisions_with_other_fields_are_explained(tmp_path, capsys):
    report = tmp_path / "r.jsonl"
    for decision in ({"pack": "x"}, {"pack": "x", "rule": "y", "action": "z"}, {"shiny": 1}):
        report.write_text(json.dumps({"status": "likely_ai", "decisions": [decision]}))
        assert main(["policies", "notice", str(report)]) == 2
        assert "decision in this report" in capsys.readouterr().err


def test_simulation_knows_what_a_scan_knows(tmp_path, capsys):
    report = tmp_path / "r.jsonl"
    report.write_text(json.dumps({"path": "x", "status": "ai_generated_confirmed"}))
    arguments = ["--before", "meta", "--after", "youtube", "--trait", "realistic", "--json"]
    assert main(["policies", "simulate", str(report), *arguments]) == 1
    (change,) = json.loads(capsys.readouterr().out)["changes"]
    assert change["after"].startswith("signed-whole-realistic")


@pytest.mark.parametrize("status", ['["likely_ai"]', "{}", '"gone"', "null"])
def test_a_scan_with_no_known_status_is_named(tmp_path: Path, status: str) -> None:
    report = tmp_path / "scans.jsonl"
    report.write_text(f'{{"status": {status}}}\n')
    with pytest.raises(UsageError, match=r"line 1: no scan object"):
        list(read_scans([report]))
