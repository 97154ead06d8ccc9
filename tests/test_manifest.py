"""C2PA reading and writing: one test for each trap of the library."""

from __future__ import annotations

import datetime as dt
import io
import json
import os
import socket
import stat
import subprocess
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import c2pa
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from countermark.provenance.errors import MarkError, MissingPart, UsageError
from countermark.provenance.evidence import Claim, Strength
from countermark.provenance.keys import (
    init_keys,
    local_signing,
    signing_from_callback,
    signing_from_pem,
)
from countermark.provenance.manifest import ManifestExaminer, TrustStore, default_trust, read_manifest, sdk
from countermark.provenance.manifest.jumbf import manifest_stores, signature_certificates
from countermark.provenance.manifest.trust import add_anchor, fingerprint, parse_pem, to_pem, update_list
from countermark.provenance.manifest.vocabulary import EKU_OIDS, IPTC, check_source_type
from countermark.provenance.manifest.write import Parent, definition, sign_manifest
from countermark.provenance.origin import Origin, SoftBinding
from countermark.provenance.upload import Upload

NOW = dt.datetime.now(dt.UTC)
GENERATED = Origin(model="Test model", model_version="1")


def signed(data: bytes, origin: Origin = GENERATED, media_type: str = "image/jpeg", **options) -> bytes:
    return sign_manifest(data, media_type, origin, options.pop("signing", None) or local_signing(), **options).data


def tree(data: bytes, media_type: str = "image/jpeg") -> dict:
    """The active manifest as the library itself prints it."""
    with c2pa.Reader(media_type, io.BytesIO(data), context=sdk.context((), EKU_OIDS)) as reader:
        return json.loads(reader.crjson())["manifests"][0]


def authority(usages=(EKU_OIDS[0],), days=(-1, 30), org="Test", key=None, ca=None, aki=True, cn="leaf"):
    """A root (or the given one) and a leaf certificate with its key."""
    ca_key, root = ca or (ec.generate_private_key(ec.SECP256R1()), None)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test root")])
    if root is None:
        root = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(ca_key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - dt.timedelta(days=900))
            .not_valid_after(NOW + dt.timedelta(days=900))
            .add_extension(x509.BasicConstraints(True, 0), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), False)
            .sign(ca_key, hashes.SHA256())
        )
    key = key or ec.generate_private_key(ec.SECP256R1())
    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    builder = (
        x509.CertificateBuilder()
        .subject_name(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, cn), x509.NameAttribute(NameOID.ORGANIZATION_NAME, org)])
        )
        .issuer_name(root.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + dt.timedelta(days=days[0]))
        .not_valid_after(NOW + dt.timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(False, None), True)
        .add_extension(usage, True)
    )
    if usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ObjectIdentifier(u) for u in usages]), False)
    if aki:
        builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), False)
    return root, builder.sign(ca_key, hashes.SHA256()), key, ca_key


def pem_files(folder: Path, leaf, root, key) -> tuple[Path, Path]:
    chain, secret = folder / "chain.pem", folder / "key.pem"
    chain.write_text(to_pem([leaf, root]))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return chain, secret


# --- writing -----------------------------------------------------------------------------------------


def test_what_the_local_key_signs_is_trusted_on_this_machine_only(keys, encode, monkeypatch, tmp_path):
    data = signed(encode())
    report = read_manifest(Upload(data))
    assert (report.trusted, report.signer.trust, report.claim) == (True, "user", Claim.GENERATED)
    monkeypatch.setenv("COUNTERMARK_HOME", str(tmp_path / "elsewhere"))
    assert read_manifest(Upload(data)).signer.trust == "unknown"


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "AVIF", "TIFF"])
def test_every_image_format_signs_reads_and_detects_tampering(keys, encode, form):
    source = encode(form)
    media_type = Upload(source).media_type
    data = signed(source, media_type=media_type)
    assert read_manifest(Upload(data)).trusted
    position = source.index(source[len(source) // 2 : len(source) // 2 + 24])
    at = data.index(source[position : position + 24]) + 12
    report = read_manifest(Upload(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]))
    assert report.presence == "malformed" or report.integrity == "failed"
    assert not report.trusted


def test_all_assertions_are_created_complete_and_unambiguous(keys, encode):
    manifest = tree(signed(encode(), replace(GENERATED, training="notAllowed"), binding=SoftBinding("org.x.y", "42")))
    claim = manifest["claim.v2"]
    assert claim["gathered_assertions"] == []
    actions = manifest["assertions"]["c2pa.actions.v2"]
    assert actions["allActionsIncluded"] is True
    assert [a["action"] for a in actions["actions"]] == ["c2pa.created", "c2pa.watermarked.bound"]
    assert actions["actions"][0]["digitalSourceType"] == IPTC + "trainedAlgorithmicMedia"
    assert actions["actions"][0]["softwareAgent"] == {"name": "Test model", "version": "1"}
    assert claim["claim_generator_info"]["specVersion"] == "2.4"
    assert manifest["assertions"]["c2pa.ai-disclosure"]["modelName"] == "Test model"
    assert manifest["assertions"]["cawg.training-mining"]["entries"]["cawg.ai_training"]["use"] == "notAllowed"
    assert manifest["assertions"]["c2pa.soft-binding"]["alg"] == "org.x.y"
    report = read_manifest(Upload(signed(encode(), binding=SoftBinding("org.x.y", "42"))))
    assert report.active_node.signals == {"inception:signal_fullyGenAIMedia", "transformation:signal_nonEditorial"}
    assert report.active_node.soft_bindings == (("org.x.y", "42"),)


def test_no_thumbnail_is_written_and_the_overhead_is_small(keys, encode):
    source = encode()
    data = signed(source)
    assert not any("thumbnail" in label for label in tree(data)["assertions"])
    assert len(data) - len(source) < 6000


def test_the_prompt_is_private_unless_given(keys, encode):
    assert b"a secret garden" not in signed(encode(), GENERATED)
    assert b"a secret garden" in signed(encode(), replace(GENERATED, prompt="a secret garden"))


def test_edit_keeps_the_parent_manifest_and_opened_carries_no_source_type(keys, encode):
    first = signed(encode())
    origin = Origin(model="Inpainter", source_type="compositeWithTrainedAlgorithmicMedia")
    second = signed(first, origin, parents=[Parent(first, "image/jpeg", "first.jpg")])
    actions = tree(second)["assertions"]["c2pa.actions.v2"]["actions"]
    assert [a["action"] for a in actions] == ["c2pa.opened", "c2pa.edited"]
    assert "digitalSourceType" not in actions[0]
    report = read_manifest(Upload(second))
    assert report.trusted
    assert report.claim_signed
    assert len(report.nodes) == 2
    assert report.claim is Claim.GENERATED  # the parent was generated; an edit does not undo that


def test_an_ai_edit_of_an_unsigned_photo_claims_edited(keys, encode):
    photo = encode()
    origin = Origin(model="Inpainter", source_type="compositeWithTrainedAlgorithmicMedia")
    report = read_manifest(Upload(signed(photo, origin, parents=[Parent(photo, "image/jpeg", "photo.jpg")])))
    assert report.claim is Claim.EDITED


def test_a_generated_part_makes_an_edit_and_an_input_makes_nothing(keys, encode):
    part = signed(encode("PNG"), media_type="image/png")
    capture = Origin(source_type="digitalCapture")
    placed = signed(encode(), capture, parents=[Parent(part, "image/png", "part.png", "componentOf")])
    assert read_manifest(Upload(placed)).claim is Claim.EDITED
    fed = signed(encode(), capture, parents=[Parent(part, "image/png", "input.png", "inputTo")])
    assert read_manifest(Upload(fed)).claim is Claim.CAPTURED


def test_only_one_parent_is_allowed(keys, encode):
    parents = [Parent(encode(), "image/jpeg"), Parent(encode(), "image/jpeg")]
    with pytest.raises(UsageError, match="Only one parent"):
        signed(encode(), parents=parents)


def test_source_types_outside_the_vocabulary_are_refused_with_a_hint():
    with pytest.raises(UsageError, match="Did you mean trainedAlgorithmicMedia"):
        Origin(source_type="trainedAlgoritmicMedia")
    with pytest.raises(UsageError):
        Origin(source_type="http://x/y")
    assert check_source_type("DIGITALCAPTURE") == IPTC + "digitalCapture"


@pytest.mark.parametrize("kind", ["p256", "p384", "p521", "ed25519", "rsa"])
def test_own_pem_files_sign(encode, tmp_path, kind):
    make = {
        "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "p521": lambda: ec.generate_private_key(ec.SECP521R1()),
        "ed25519": ed25519.Ed25519PrivateKey.generate,
        "rsa": lambda: rsa.generate_private_key(65537, 2048),
    }[kind]
    root, leaf, key, _ = authority(key=make())
    chain, secret = pem_files(tmp_path, leaf, root, key)
    data = signed(encode(), signing=signing_from_pem(chain, secret))
    report = read_manifest(Upload(data), TrustStore(user=to_pem([root])))
    assert report.trusted
    assert report.signer.organisation == "Test"


def test_a_callback_signs_and_its_failure_is_told(encode, tmp_path):
    root, leaf, key, _ = authority()
    chain = to_pem([leaf, root])
    signing = signing_from_callback(lambda d: key.sign(d, ec.ECDSA(hashes.SHA256())), "es256", chain)
    assert read_manifest(Upload(signed(encode(), signing=signing)), TrustStore(user=to_pem([root]))).trusted

    def broken(_: bytes) -> bytes:
        raise RuntimeError("the HSM is locked")

    with pytest.raises(MarkError, match="the HSM is locked"):
        signed(encode(), signing=signing_from_callback(broken, "es256", chain))
    with pytest.raises(UsageError, match="Unknown signature algorithm"):
        signing_from_callback(broken, "md5", chain)


@pytest.mark.parametrize(
    "options",
    [{"usages": ()}, {"usages": (ExtendedKeyUsageOID.SERVER_AUTH.dotted_string,)}, {"aki": False}, {"days": (-30, -1)}],
)
def test_unfit_certificates_are_explained(encode, tmp_path, options):
    root, leaf, key, _ = authority(**options)
    chain, secret = pem_files(tmp_path, leaf, root, key)
    with pytest.raises(MarkError, match="does not fit the C2PA profile"):
        signed(encode(), signing=signing_from_pem(chain, secret))


def test_key_and_certificate_must_belong_together(tmp_path):
    root, leaf, _, _ = authority()
    chain, secret = pem_files(tmp_path, leaf, root, ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(UsageError, match="is not the key of"):
        signing_from_pem(chain, secret)
    secret.write_text("no key")
    with pytest.raises(UsageError, match="cannot be read"):
        signing_from_pem(chain, secret)
    with pytest.raises(UsageError, match="No such file"):
        signing_from_pem(tmp_path / "missing.pem", secret)


def test_keys_are_owner_only_and_a_second_call_changes_nothing(home):
    with pytest.raises(MissingPart, match="keys init"):
        local_signing()
    made, folder, first = init_keys()
    assert made
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    assert init_keys() == (False, folder, first)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    if os.name == "posix":
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / "signing.key").stat().st_mode) == 0o600
        assert stat.S_IMODE((folder / "ca.key").stat().st_mode) == 0o600
    (folder / "ca.key").unlink()
    with pytest.raises(UsageError, match="Restore the missing files"):
        init_keys()


def test_secrets_do_not_show_in_repr(keys):
    assert "PRIVATE" not in repr(local_signing())


# --- time stamps -------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_dead_time_stamping_service_is_optional_or_fatal(keys, encode):
    dead = replace(local_signing(), tsa_url=f"http://127.0.0.1:{free_port()}")
    result = sign_manifest(encode(), "image/jpeg", GENERATED, dead)
    assert not result.time_stamped
    assert "did not answer" in result.warning
    assert read_manifest(Upload(result.data)).trusted
    with pytest.raises(MarkError, match="was required"):
        sign_manifest(encode(), "image/jpeg", GENERATED, replace(dead, tsa_required=True))
    with pytest.raises(UsageError, match="expected an http"):
        sign_manifest(encode(), "image/jpeg", GENERATED, replace(dead, tsa_url="ftp://x"))


@pytest.fixture
def tsa(tmp_path):
    """A real RFC 3161 service on the loopback: openssl behind a tiny HTTP server."""
    ca_root, ca_leaf, ca_key = _critical_tsa()
    chain, secret = pem_files(tmp_path, ca_leaf, ca_root, ca_key)
    (tmp_path / "tsa.pem").write_text(to_pem([ca_leaf]))
    (tmp_path / "serial").write_text("01")
    (tmp_path / "ts.cnf").write_text(
        f"""[tsa]
default_tsa = t
[t]
serial = {tmp_path}/serial
crypto_device = builtin
signer_cert = {tmp_path}/tsa.pem
certs = {chain}
signer_key = {secret}
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
ess_cert_id_alg = sha256
ess_cert_id_chain = no
tsa_name = yes
ordering = no
accuracy = secs:1
"""
    )

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            (tmp_path / "q.tsq").write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
            subprocess.run(
                ["openssl", "ts", "-reply", "-config", "ts.cnf", "-queryfile", "q.tsq", "-out", "r.tsr"],
                cwd=tmp_path,
                check=True,
                capture_output=True,
            )
            body = (tmp_path / "r.tsr").read_bytes()
            self.send_response(200)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", ca_root
    server.shutdown()
    server.server_close()


def _critical_tsa():
    root, _, _, ca_key = authority()
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test TSA")]))
        .issuer_name(root.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - dt.timedelta(days=1))
        .not_valid_after(NOW + dt.timedelta(days=400))
        .add_extension(x509.BasicConstraints(False, None), True)
        .add_extension(x509.KeyUsage(True, False, False, False, False, False, False, False, False), True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .sign(ca_key, hashes.SHA256())
    )
    return root, leaf, key


def test_a_time_stamp_outlives_the_certificate(encode, tmp_path, tsa):
    """Expired signer: proof with a trusted stamp, none with an untrusted one."""
    url, tsa_root = tsa
    root, leaf, key, _ = authority(days=(-1, 5))
    folder = tmp_path / "signer"
    folder.mkdir()
    chain, secret = pem_files(folder, leaf, root, key)
    result = sign_manifest(encode(), "image/jpeg", GENERATED, signing_from_pem(chain, secret, None, url))
    assert result.time_stamped
    upload = Upload(result.data)
    later = NOW + dt.timedelta(days=30)
    trusting = TrustStore(user=to_pem([root]), tsa=to_pem([tsa_root]))
    assert read_manifest(upload, trusting).active_node.time == "trusted"
    assert read_manifest(upload, trusting, now=later).trusted
    doubting = TrustStore(user=to_pem([root]))
    report = read_manifest(upload, doubting, now=later)
    assert report.active_node.time == "untrusted"
    assert report.signer.expired
    assert not report.trusted


def test_a_trusted_stamp_after_the_end_of_the_certificate_proves_nothing():
    """A stolen, expired key can be stamped by anybody today; the stamp then says: too late."""
    from countermark.provenance.manifest.model import ManifestNode, Signer
    from countermark.provenance.manifest.parse import Codes
    from countermark.provenance.manifest.read import _Reading
    from countermark.provenance.manifest.trust import Provider

    root, leaf, _, _ = authority(days=(-60, -30), org="Maker Inc.")
    subject = {"CN": "leaf", "O": "Maker Inc."}
    signer = Signer(serial=f"{leaf.serial_number:x}", not_after=leaf.not_valid_after_utc.isoformat())
    pin = Provider("maker", "Maker", fingerprint(root), {"O": ("Maker Inc.",)})
    manifest = {"signature": {"certificateInfo": {"subject": subject}}}
    for days, expired in ((-40, False), (-10, True)):
        stamp = (NOW + dt.timedelta(days=days)).isoformat()
        node = ManifestNode("x", "", 2, signer, "trusted", stamp, (), (), frozenset(), "", (), (), False)
        reading = _Reading(Upload(b"%PDF-1.4"), TrustStore(providers=(pin,)), None, NOW)
        settled = reading.settle(node, manifest, Codes(), (leaf, root))
        assert settled.expired is expired
        assert not settled.believed  # no list vouched for it; a name alone is no proof


# --- reading -----------------------------------------------------------------------------------------


def test_a_time_stamping_root_is_no_signer_root(keys, encode):
    """The library itself takes any anchor for a signer, whatever kind it was declared as."""
    data = signed(encode())
    root = (keys / "ca.pem").read_text()
    ctx = c2pa.Context.from_dict(
        {"trust": {"anchors": [{"trust_anchors": root, "trust_uri": "urn:x", "trust_kind": "tsa"}]}}
    )
    with c2pa.Reader("image/jpeg", io.BytesIO(data), context=ctx) as reader:
        assert reader.get_validation_state() == "Trusted"  # the trap
    report = read_manifest(Upload(data), TrustStore(tsa=root))
    assert report.signer.trust == "unknown"
    assert not report.trusted


@pytest.mark.parametrize("usage", EKU_OIDS[:2] + EKU_OIDS[-2:])
def test_the_six_key_usages_are_accepted(encode, tmp_path, usage):
    root, leaf, key, _ = authority(usages=(usage, EKU_OIDS[0]) if usage != EKU_OIDS[0] else (usage,))
    chain, secret = pem_files(tmp_path, leaf, root, key)
    data = signed(encode(), signing=signing_from_pem(chain, secret))
    assert read_manifest(Upload(data), TrustStore(user=to_pem([root]))).trusted


def test_unknown_settings_are_refused_because_the_library_ignores_them():
    c2pa.Context.from_dict({"trust": {"bogus": 1}}).close()  # the trap: no error
    with pytest.raises(UsageError, match=r"trust\.bogus"):
        sdk.check_settings({"trust": {"bogus": 1}})
    with pytest.raises(UsageError, match="Unknown C2PA setting"):
        sdk.check_settings({"trusts": {}})


def test_a_remote_pointer_is_reported_and_never_fetched(keys, encode):
    hits = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            hits.append(self.path)
            self.send_error(404)

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/m.c2pa"
        builder = c2pa.Builder(definition(GENERATED, "x", (), None), context=sdk.context((), (), True, False))
        builder.set_no_embed()
        builder.set_remote_url(url)
        out = io.BytesIO()
        local = local_signing()
        info = c2pa.C2paSignerInfo(b"es256", local.chain.encode(), local.key_pem, None)
        builder.sign(c2pa.Signer.from_info(info), "image/jpeg", io.BytesIO(encode()), out)
        report = read_manifest(Upload(out.getvalue()))
    finally:
        server.shutdown()
        server.server_close()
    assert (report.presence, report.note) == ("remote", url)
    assert hits == []
    evidence = ManifestExaminer()(Upload(out.getvalue()))
    assert evidence.found
    assert evidence.claim is Claim.NONE


def test_a_detached_manifest_fits_its_file_and_no_other(keys, encode, photo):
    source = encode()
    builder = c2pa.Builder(definition(GENERATED, "x", (), None), context=sdk.context((), (), True, False))
    builder.set_no_embed()
    local = local_signing()
    info = c2pa.C2paSignerInfo(b"es256", local.chain.encode(), local.key_pem, None)
    out = io.BytesIO()
    store = bytes(builder.sign(c2pa.Signer.from_info(info), "image/jpeg", io.BytesIO(source), out))
    assert out.getvalue() == source
    report = read_manifest(Upload(source), store=store)
    assert report.presence == "detached"
    assert report.trusted
    assert read_manifest(Upload(encode(quality=50)), store=store).integrity == "failed"


def test_damaged_credentials_are_a_value_not_an_exception(keys, encode):
    data = signed(encode("PNG"), media_type="image/png")
    at = data.index(b"jumb") + 30
    report = read_manifest(Upload(data[:at] + b"\xff" * 40 + data[at + 40 :]))
    assert report.presence in ("malformed", "embedded")
    assert not report.trusted
    assert ManifestExaminer()(Upload(b"\xff\xd8\xff\xe0" + b"\0" * 50)).error is not None


def test_the_wrong_media_type_does_not_matter(keys, encode):
    """The library sniffs for itself; so do we."""
    presence, table, _ = sdk.read_store(signed(encode()), "image/png", sdk.context((), EKU_OIDS))
    assert presence == "embedded"
    assert table["state"] in ("Valid", "Trusted")


def test_stripping_is_absence(keys, encode, photo):
    assert read_manifest(Upload(signed(encode()))).presence == "embedded"
    assert read_manifest(Upload(encode(quality=80))).presence == "absent"


def test_a_denied_signer_is_not_believed(encode, tmp_path):
    root, leaf, key, _ = authority(org="NIKON CORPORATION", cn="NIKON")
    chain, secret = pem_files(tmp_path, leaf, root, key)
    origin = Origin(source_type="digitalCapture")
    manifest = definition(origin, "x", (), None)
    manifest["claim_generator_info"][0]["name"] = "NIKON Z6_3"
    builder = c2pa.Builder(manifest, context=sdk.context((), (), True, False))
    info = c2pa.C2paSignerInfo(b"es256", chain.read_bytes(), secret.read_bytes(), None)
    out = io.BytesIO()
    builder.sign(c2pa.Signer.from_info(info), "image/jpeg", io.BytesIO(encode()), out)
    trust = replace(default_trust(), user=to_pem([root]))
    report = read_manifest(Upload(out.getvalue()), trust)
    assert report.signer.denied
    assert not report.trusted
    from countermark.detectors.resolve import resolve

    verdict = resolve([ManifestExaminer(trust)(Upload(out.getvalue()))])
    assert (verdict.status.value, verdict.review) == ("provenance_invalid", True)


def test_a_pin_needs_the_validated_organisation_too(encode, tmp_path):
    """A shared public CA signs for anybody; only the pinned organisation counts."""
    from countermark.provenance.manifest.trust import Provider

    root, leaf, key, ca_key = authority(org="Somebody Ltd")
    pin = Provider("maker", "Maker", fingerprint(root), {"O": ("Maker Inc.",)})
    trust = TrustStore(providers=(pin,))
    chain, secret = pem_files(tmp_path, leaf, root, key)
    assert read_manifest(Upload(signed(encode(), signing=signing_from_pem(chain, secret))), trust).signer.trust == (
        "unknown"
    )
    _, leaf, key, _ = authority(org="Maker Inc.", ca=(ca_key, root))
    chain, secret = pem_files(tmp_path, leaf, root, key)
    report = read_manifest(Upload(signed(encode(), signing=signing_from_pem(chain, secret))), trust)
    assert (report.signer.trust, report.signer.provider, report.trusted) == ("provider", "maker", True)


def test_a_pinned_certificate_glued_into_a_foreign_chain_earns_nothing(encode, tmp_path):
    """The library verifies the chain; carrying a pinned CA along is not being issued by it."""
    from countermark.provenance.manifest.trust import Provider

    pinned, _, _, _ = authority(org="Maker Inc.")
    root, leaf, key, _ = authority(org="Maker Inc.")
    chain, secret = pem_files(tmp_path, leaf, root, key)
    chain.write_text(chain.read_text() + to_pem([pinned]))
    pin = Provider("maker", "Maker", fingerprint(pinned), {"O": ("Maker Inc.",)})
    try:
        data = signed(encode(), signing=signing_from_pem(chain, secret))
    except MarkError:
        return  # the library already refuses such a chain
    assert read_manifest(Upload(data), TrustStore(providers=(pin,))).signer.trust == "unknown"


def test_the_claim_of_an_untrusted_parent_is_not_signed_by_a_trusted_child(keys, encode, tmp_path):
    """Else anybody could have a real photo "confirmed" as AI by opening it in a trusted editor."""
    root, leaf, key, _ = authority(org="Stranger")
    chain, secret = pem_files(tmp_path, leaf, root, key)
    parent = signed(encode(), signing=signing_from_pem(chain, secret))
    child = signed(parent, Origin(source_type="humanEdits"), parents=[Parent(parent, "image/jpeg", "p.jpg")])
    report = read_manifest(Upload(child))
    assert report.trusted
    assert report.claim is Claim.GENERATED
    assert not report.claim_signed
    assert ManifestExaminer()(Upload(child)).strength is Strength.DECLARED


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_chains_are_found_inside_the_store(keys, encode, form):
    source = encode(form)
    data = signed(source, media_type=Upload(source).media_type)
    assert len(manifest_stores(data)) == 1
    (found,) = signature_certificates(data).values()
    assert [fingerprint(c) for c in found.chain] == [
        fingerprint(c) for c in parse_pem((keys / "chain.pem").read_bytes(), "chain")
    ][: len(found.chain)]


# --- trust settings ----------------------------------------------------------------------------------


def test_the_bundled_lists_are_complete_and_current():
    store = default_trust()
    assert len(parse_pem(store.official.encode(), "official")) == 28
    assert len(parse_pem(store.tsa.encode(), "tsa")) == 21
    assert {p.id for p in store.providers} >= {
        "adobe",
        "microsoft",
        "openai",
        "black-forest-labs",
        "stability",
        "runway",
        "bytedance",
        "amazon",
    }


def test_trust_add_takes_authorities_only(home):
    root, leaf, _, _ = authority()
    with pytest.raises(UsageError, match="not a certificate authority"):
        add_anchor(to_pem([leaf]).encode(), "leaf.pem")
    assert add_anchor(to_pem([root]).encode(), "root.pem") == [fingerprint(root)]
    assert to_pem([root]).strip() in default_trust().user
    with pytest.raises(UsageError, match="no readable PEM"):
        add_anchor(b"garbage", "x.pem")


def test_trust_update_replaces_a_list_and_keeps_the_old_one_on_error(home):
    root, _, _, _ = authority()
    before = default_trust().version
    with pytest.raises(UsageError):
        update_list("signers", b"garbage", "x")
    assert default_trust().version == before
    assert update_list("signers", to_pem([root]).encode(), "x", dt.date(2026, 12, 1)) == 1
    assert default_trust().date == "2026-12-01"
    with pytest.raises(UsageError, match="list of records"):
        update_list("products", b"{}", "x")
    assert update_list("products", json.dumps([{"product": {}}]).encode(), "x") == 1
    assert len(default_trust().products) == 1
