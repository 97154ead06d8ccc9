"""Every row of the given fixture table: the library's state under five trust configurations, and ours."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from countermark.provenance.manifest import ManifestReport, TrustStore, default_trust, read_manifest
from countermark.provenance.manifest.vocabulary import source_type_name
from countermark.provenance.status import Status
from countermark.provenance.upload import Upload
from countermark.scanning import scan

DATA = (".pem", ".json", ".yml", ".yaml", ".cfg")
# Columns of the table that say nothing for data files and for files without a manifest.
NONE = ("", "None", None)
# What scan must say on day one, offline, with the trust that ships. Everything not named here carries
# no AI mark at all, or is signed by a test authority that nobody trusts.
EXPECTED = {
    "ChatGPT_Image_May_30_2026_10_31_08_AM.png": Status.AI_GENERATED_CONFIRMED,
    "ChatGPT_Image_May_31_2026_02_02_23_PM.png": Status.AI_GENERATED_CONFIRMED,
    "gemini_black_2048.png": Status.AI_GENERATED_CONFIRMED,
    "firefly-1.png": Status.AI_GENERATED_CONFIRMED,
    "butteryfly.jpg": Status.AI_GENERATED_CONFIRMED,
    "flux-1.png": Status.AI_GENERATED_CONFIRMED,
    "flux-1.jpg": Status.AI_GENERATED_CONFIRMED,
    "amazon-titan-g1.png": Status.AI_GENERATED_CONFIRMED,
    "ocsp.jpg": Status.AI_EDITED_CONFIRMED,
    "py_pdf-file.pdf": Status.AI_EDITED_CONFIRMED,
    "chatgpt-1.png": Status.AI_MARKED_UNSIGNED,  # signer expired, no time stamp
    "chatgpt-2.png": Status.AI_MARKED_UNSIGNED,
    "samsung_gray_1.png": Status.AI_MARKED_UNSIGNED,  # one issuing CA per device, nothing to pin
    "samsung_black_1.png": Status.AI_MARKED_UNSIGNED,
    "mj-1.png": Status.AI_MARKED_UNSIGNED,
    "grok-1.jpg": Status.AI_MARKED_UNSIGNED,
    "doubao_gray_1x1_1.png": Status.AI_MARKED_UNSIGNED,
    "jimeng_cap_A.png": Status.AI_MARKED_UNSIGNED,
    "nested_moov_1000.mp4": Status.ERROR,
    "sample3.invalid.wav": Status.ERROR,
    "tiff_poc.tiff": Status.ERROR,
    "no_alg.jpg": Status.PROVENANCE_INVALID,
    "prerelease.jpg": Status.PROVENANCE_INVALID,
    "sample3.svg": Status.PROVENANCE_INVALID,
    "adobe_remote_flower.jpg": Status.INCONCLUSIVE,
    "PirateShip_save_credentials_to_cloud.jpg": Status.INCONCLUSIVE,
    "cloud.jpg": Status.INCONCLUSIVE,
    "cloudx.jpg": Status.INCONCLUSIVE,
    "libpng-test_with_url.png": Status.INCONCLUSIVE,
}


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "fixtures.tsv").open(encoding="utf-8", newline="") as stream:
        return [r for r in csv.DictReader(stream, delimiter="\t") if not r["file"].endswith(DATA)]


def trust_configurations(folder: Path) -> dict[str, TrustStore]:
    """The five columns of the table; the first three use the library's own narrow key usages."""

    def text(name: str) -> str:
        return (folder / name).read_text()

    official = text("C2PA-TRUST-LIST.pem")
    return {
        "state_no_anchors": TrustStore(eku_oids=()),
        "state_test_anchors": TrustStore(user=text("c2pa_test_roots.pem"), eku_oids=()),
        "state_official_list": TrustStore(official=official, eku_oids=()),
        "state_official+6EKU": TrustStore(official=official),
        "state_official+6EKU+bitmind_anchors": TrustStore(
            official=official, user=text("generator_anchors_bitmind.pem")
        ),
    }


def word_of(report: ManifestReport) -> str:
    return {"absent": "no manifest", "embedded": report.state}.get(report.presence, "exception")


def test_states_under_five_trust_configurations(shared, capsys):
    """77 files x 5 configurations agree with the table; prints the count of agreement."""
    configurations = trust_configurations(shared)
    agreed: dict[str, int] = dict.fromkeys(configurations, 0)
    differences = []
    table = rows(shared)
    for row in table:
        upload = Upload.open(shared / row["file"])
        for column, trust in configurations.items():
            expected = "exception" if "C2pa" in row[column] else row[column]
            got = word_of(read_manifest(upload, trust))
            agreed[column] += got == expected
            if got != expected:
                differences.append((row["file"], column, expected, got))
    with capsys.disabled():
        print("\nagreement with fixtures.tsv:", ", ".join(f"{c} {n}/{len(table)}" for c, n in agreed.items()))
    assert len(table) == 77
    assert not differences


def test_generator_and_source_types_reproduce(shared):
    checked = 0
    for row in rows(shared):
        expected = row["digitalSourceTypes(all manifests)"]
        report = read_manifest(Upload.open(shared / row["file"]), TrustStore())
        if report.nodes is None:
            assert expected in NONE
            continue
        found = {source_type_name(t) for n in report.nodes.values() for t in n.source_types}
        assert found == set(filter(None, (expected or "").split(","))), row["file"]
        assert report.active_node.generator == row["claim_generator"].rstrip("/"), row["file"]
        assert len(report.nodes) == int(row["manifests"]), row["file"]
        checked += 1
    assert checked == 44


def test_integrity_is_apart_from_identity(shared):
    """A tampered file fails integrity or signature; an expired or unknown signer does not."""
    tampered = [
        "E-sig-CA.jpg",
        "XCA.jpg",
        "adobe-20220124-E-clm-CAICAI.jpg",
        "adobe-20220124-E-dat-CA.jpg",
        "adobe-20220124-E-sig-CA.jpg",
        "adobe-20220124-E-uri-CA.jpg",
        "adobe-20220124-XCI.jpg",
        "dashinit.mp4",
        "py_CIE-sig-CA.jpg",
        "truepic-20230212-camera.jpg",
    ]
    for row in rows(shared):
        report = read_manifest(Upload.open(shared / row["file"]))
        if report.presence != "embedded":
            continue
        intact = report.integrity == report.signature == "ok"
        assert intact == (row["file"] not in tampered), row["file"]
    for name in tampered:
        result = scan(shared / name)
        assert result.status is Status.PROVENANCE_INVALID
        assert result.review


@pytest.mark.parametrize(("name", "identity"), [("chatgpt-1.png", "openai"), ("flux-1.png", "black-forest-labs")])
def test_provider_is_recognised_by_pin(shared, name, identity):
    report = read_manifest(Upload.open(shared / name))
    assert report.signer.trust == "provider"
    assert report.signer.provider == identity


def test_expired_without_trusted_time_is_never_believed(shared):
    report = read_manifest(Upload.open(shared / "chatgpt-1.png"))
    assert (report.integrity, report.signature, report.active_node.time) == ("ok", "ok", "none")
    assert report.signer.expired
    assert not report.trusted


def test_claims_one_and_two_levels_down_are_found(shared):
    chatgpt = read_manifest(Upload.open(shared / "chatgpt-1.png"))
    gemini = read_manifest(Upload.open(shared / "gemini_black_2048.png"))
    assert (chatgpt.claim.value, len(chatgpt.claim_path)) == ("generated", 2)
    assert (gemini.claim.value, len(gemini.claim_path)) == ("generated", 3)
    assert chatgpt.claim_node.model == "GPT-4o"


def test_status_of_every_file(shared):
    """Nothing untrusted is confirmed, every real generator is found, no file raises."""
    for row in rows(shared):
        result = scan(shared / row["file"])
        expected = EXPECTED.get(row["file"])
        if expected is None:
            allowed = (Status.NO_AI_EVIDENCE, Status.PROVENANCE_INVALID)
            assert result.status in allowed, (row["file"], result.status)
        else:
            assert result.status is expected, row["file"]


def test_products_that_may_not_claim_capture_are_flagged(shared):
    """With the conforming products list loaded, its disallowed signals are looked up by signer."""
    import json
    from dataclasses import replace

    records = json.loads((shared / "conforming-products-list.json").read_bytes())
    trust = replace(default_trust(), products=tuple(records))
    report = read_manifest(Upload.open(shared / "gemini_black_2048.png"), trust)
    assert report.disallowed == ()
    subject = {"CN": "OpenAI Media Service", "O": "OpenAI OpCo, LLC"}
    assert trust.disallowed_signals(subject) == frozenset()
    strict = next(r for r in records if (r["product"].get("disallowedSignals") or {}).get("inception"))
    name = strict["product"]["DN"]
    assert "capturedMedia" in trust.disallowed_signals({"CN": name["CN"], "O": name["O"]})


def test_rubric_ids_and_vocabulary_match_the_official_file(shared):
    """Rule ids, action names and source types are those of the rubric's YAML, read as text."""
    import re

    from countermark.provenance.manifest import rubric
    from countermark.provenance.manifest.vocabulary import NON_EDITORIAL_ACTIONS

    text = (shared / "asset-rubric-signals-local.yml").read_text()
    ids = set(re.findall(r"^- id: (\S+)", text, re.M))
    ours = set(rubric._INCEPTION) | {"inception:signal_mediaUnknownProvenance"}
    ours |= {i for i in ids if i.startswith("transformation:")}
    source = Path(rubric.__file__).read_text()
    assert ids == ours
    assert all(i in source for i in ids)
    non_editorial = re.search(r"\$non_editorial_actions:\n((?:  - .*\n)+)", text)[1]
    assert set(re.findall(r"- (\S+)", non_editorial)) == set(NON_EDITORIAL_ACTIONS)
    types = set(re.findall(r"https?://\S+digitalsourcetype/[A-Za-z]+", text))
    known = rubric.GENAI | rubric.POSSIBLY_GENAI | {t for v in rubric._INCEPTION.values() for t in v}
    assert types == known
