"""Every signature of the table is found where generators write it, and labels are written without loss."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zlib

import numpy as np
import pytest
from conftest import noise
from PIL import Image, PngImagePlugin

from countermark.provenance.errors import MarkError, UnreadableError
from countermark.provenance.evidence import Claim
from countermark.provenance.manifest.vocabulary import IPTC
from countermark.provenance.metadata import ContainerExaminer, MetadataExaminer
from countermark.provenance.metadata.carriers import read_carriers
from countermark.provenance.metadata.match import load_signatures
from countermark.provenance.metadata.write import Labels, write_labels
from countermark.provenance.upload import Limits, Upload

A1111 = (
    "a lighthouse, dusk\nNegative prompt: blurry\n"
    "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512, Model hash: abc, Model: dreamshaper_8"
)
COMFY = {
    "3": {"class_type": "KSampler", "inputs": {"seed": 1}},
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sdxl.safetensors"}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a red fox"}},
}
TC260 = {"Label": "1", "ContentProducer": "001191110102MACQD9K64010000", "ProduceID": "x"}
UUID = "4800156b-8880-4786-9056-7ca3da449d8c"


def png(**text: str) -> bytes:
    info = PngImagePlugin.PngInfo()
    for key, value in text.items():
        info.add_text(key.replace("__", " "), value)
    out = io.BytesIO()
    Image.fromarray(noise(32, 32)).save(out, "PNG", pnginfo=info)
    return out.getvalue()


def with_exif(form: str = "JPEG", detail: dict | None = None, **tags) -> bytes:
    names = {"software": 0x0131, "description": 0x010E, "artist": 0x013B, "make": 0x010F, "model": 0x0110}
    exif = Image.Exif()
    for name, value in tags.items():
        exif[names[name]] = value
    if detail:
        exif._ifds[0x8769] = detail
        exif[0x8769] = 0
    out = io.BytesIO()
    Image.fromarray(noise(32, 32)).save(out, form, exif=exif)
    return out.getvalue()


def xmp(body: str, form: str = "JPEG") -> bytes:
    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" '
        'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/" '
        'xmlns:TC260="http://www.tc260.org.cn/ns/AIGC/1.0/" '
        f'xmlns:iptcExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"{body}</rdf:RDF></x:xmpmeta>'
    )
    out = io.BytesIO()
    image = Image.fromarray(noise(32, 32))
    if form == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", packet)
        image.save(out, "PNG", pnginfo=info)
    else:
        image.save(out, form, xmp=packet.encode())
    return out.getvalue()


def attribute(name: str, value: str) -> str:
    return f' {name}="{value}"/>'


def element(name: str, value: str) -> str:
    return f"><{name}>{value}</{name}></rdf:Description>"


def comment(text: str) -> bytes:
    out = io.BytesIO()
    Image.fromarray(noise(32, 32)).save(out, "JPEG", comment=text.encode())
    return out.getvalue()


def iptc(dataset: int, text: str) -> bytes:
    record = b"\x1c\x02" + bytes([dataset]) + struct.pack(">H", len(text)) + text.encode()
    body = b"Photoshop 3.0\x008BIM\x04\x04\0\0" + struct.pack(">I", len(record)) + record
    data = comment("x")
    return data[:2] + b"\xff\xed" + struct.pack(">H", len(body) + 2) + body + data[2:]


def stealth(text: str, word: str) -> bytes:
    body = gzip.compress(text.encode()) if word.endswith("comp") else text.encode()
    payload = word.encode() + struct.pack(">I", len(body) * 8) + body
    bits = np.unpackbits(np.frombuffer(payload, np.uint8))
    pixels = np.dstack([noise(96, 96, 1), np.full((96, 96), 255, np.uint8)])
    channels = pixels[:, :, 3:] if "_png" in word else pixels[:, :, :3]
    columns = channels.transpose(1, 0, 2).reshape(-1).copy()
    columns[: bits.size] = (columns[: bits.size] & 0xFE) | bits
    channels[:] = columns.reshape(96, 96, -1).transpose(1, 0, 2)
    out = io.BytesIO()
    Image.fromarray(pixels if "_png" in word else pixels[:, :, :3].copy()).save(out, "PNG")
    return out.getvalue()


def riff(form: bytes, key: bytes, value: str) -> bytes:
    text = value.encode() + b"\0" * (len(value.encode()) % 2)
    info = b"INFO" + key + struct.pack("<I", len(text)) + text
    body = form + b"LIST" + struct.pack("<I", len(info)) + info
    return b"RIFF" + struct.pack("<I", len(body)) + body


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body) + 8) + kind + body


def mp4(key: str, value: str) -> bytes:
    keys = box(b"keys", b"\0" * 4 + struct.pack(">I", 1) + box(b"mdta", key.encode()))
    items = box(b"ilst", box(struct.pack(">I", 1), box(b"data", struct.pack(">II", 1, 0) + value.encode())))
    meta = box(b"meta", b"\0" * 4 + box(b"hdlr", b"\0" * 25) + keys + items)
    return box(b"ftyp", b"isom\0\0\0\0isom") + box(b"moov", box(b"udta", meta))


def user_comment(text: str, code: bytes = b"UNICODE\0", codec: str = "utf-16-be") -> dict:
    return {0x9286: code + text.encode(codec)}


CASES = {
    "iptc.digital_source_type": [
        xmp(attribute("iptcExt:DigitalSourceType", IPTC + "trainedAlgorithmicMedia")),
        xmp(element("iptcExt:DigitalSourceType", IPTC + "compositeWithTrainedAlgorithmicMedia"), "PNG"),
        xmp(element("iptcExt:DigitalSourceType", "trainedAlgorithmicMedia"), "WEBP"),
        xmp(element("iptcExt:DigitalSourceType", "trainedAlgorithmicMedia"), "AVIF"),
        xmp(' iptcExt:DigitalSourceType="trainedAlgorithmicMedia">broken'),
    ],
    "iptc.ai_system": [xmp(element("iptcExt:AISystemUsed", "Some model"))],
    "iptc.ai_prompt": [xmp(element("iptcExt:AIPromptInformation", "a cat"))],
    "iptc.google_credit_generated": [
        iptc(110, "Made with Google AI"),
        xmp(attribute("photoshop:Credit", "Made with Google AI")),
    ],
    "iptc.google_credit_edited": [iptc(110, "Edited with Google AI")],
    "tc260.aigc": [
        png(AIGC=json.dumps(TC260)),
        xmp(element("TC260:AIGC", json.dumps(TC260).replace('"', "&quot;"))),
        mp4("AIGC", json.dumps(TC260)),
        riff(b"AVI ", b"AIGC", json.dumps(TC260)),
    ],
    "tc260.aigc_exif": [with_exif(detail=user_comment(json.dumps({"AIGC": TC260}), b"ASCII\0\0\0", "ascii"))],
    "a1111": [
        png(parameters=A1111),
        with_exif(detail=user_comment(A1111)),
        with_exif("WEBP", detail=user_comment(A1111, codec="utf-16-le")),
        stealth(A1111, "stealth_pnginfo"),
        stealth(A1111, "stealth_rgbcomp"),
    ],
    "a1111.postprocessing": [png(postprocessing="Postprocess upscale by: 4, Postprocess upscaler: R-ESRGAN")],
    "comfyui.prompt": [png(prompt=json.dumps(COMFY)), with_exif("WEBP", make="prompt:" + json.dumps(COMFY))],
    "comfyui.workflow": [png(workflow='{"last_node_id": 9, "nodes": []}')],
    "invokeai": [png(invokeai_metadata='{"positive_prompt": "a boat", "model": {"name": "sdxl"}}')],
    "invokeai.dream": [png(Dream='"a boat" -s 50 -W 512')],
    "novelai": [png(Software="NovelAI", Source="NovelAI Diffusion V4")],
    "novelai.comment": [png(Software="NovelAI", Comment='{"prompt": "1girl", "steps": 28}')],
    "novelai.stealth": [stealth('{"Software": "NovelAI", "Description": "1girl", "Source": "V4"}', "stealth_pngcomp")],
    "stealth_pnginfo": [stealth("anything", "stealth_rgbinfo")],
    "fooocus": [png(Comment='{"base_model": "juggernaut", "prompt": "x"}'), comment('{"version": "Fooocus v2"}')],
    "easy_diffusion": [png(negative_prompt="ugly"), png(Negative__Prompt="ugly")],
    "swarmui": [png(parameters='{"sui_image_params": {"prompt": "p", "model": "flux"}}')],
    "draw_things": [xmp(element("exif:UserComment", '{"c": "a hill", "seed": 3, "model": "sd"}'))],
    "draw_things.tool": [xmp(attribute("xmp:CreatorTool", "Draw Things"))],
    "midjourney": [png(Description=f"a castle --ar 4:3 --v 5.2 Job ID: {UUID}")],
    "grok": [with_exif(description="Signature: " + "A" * 60 + "=", artist=UUID)],
    "samsung.gen_ai": [png(x="y") + b'PEg_Info{"genImageVersion":"v1","genAIType":8}SEFH'],
    "bytedance": [with_exif(description='{"product":"doubao","aigc_label_type":1}')],
    "huggingface_job": [png(**{"hf-job-id": "abc"})],
    "luma": [png(Source="Luma AI")],
    "invoke_or_tool_name": [
        with_exif(software="Adobe Firefly 2.0"),
        xmp(attribute("xmp:CreatorTool", "DALL-E 3")),
        with_exif(software="gpt-image-1"),
        png(Software="FLUX.1"),
    ],
    "apple_clean_up": [with_exif(software="Apple Photos Clean Up")],
}


def examine(data: bytes):
    return MetadataExaminer()(Upload(data))


@pytest.mark.parametrize(("name", "index"), [(n, i) for n, datas in CASES.items() for i in range(len(datas))])
def test_signature_is_found(name, index):
    evidence = examine(CASES[name][index])
    assert name in [s["id"] for s in evidence.detail["signatures"]], evidence.detail
    assert evidence.claim.is_ai
    assert evidence.strength.value == "declared"


def test_every_row_of_the_table_has_a_case():
    assert {row.id for row in load_signatures()[1]} == set(CASES)


@pytest.mark.parametrize(
    ("data", "model", "prompt"),
    [
        (png(parameters=A1111), "dreamshaper_8", "a lighthouse, dusk"),
        (png(prompt=json.dumps(COMFY)), "sdxl.safetensors", "a red fox"),
        (png(Description=f"a castle --ar 4:3 --v 5.2 Job ID: {UUID}"), "--v 5.2", "a castle"),
        (png(parameters='{"sui_image_params": {"prompt": "p", "model": "flux"}}'), "flux", "p"),
        (png(Software="NovelAI", Comment='{"prompt": "1girl", "steps": 28}'), "", "1girl"),
    ],
)
def test_model_and_prompt_are_read(data, model, prompt):
    detail = examine(data).detail
    assert (detail["model"], detail["prompt"]) == (model, prompt)


@pytest.mark.parametrize(
    "data",
    [
        png(Comment="Created with GIMP", Software="Adobe Photoshop 26.0", Description="my holiday"),
        png(prompt="press any key", parameters="none", workflow="draft"),
        with_exif(make="NIKON", model="Z 6", software="Ver.01.00"),
        with_exif(software="f.lux 4", description="Imagen de prueba"),
        with_exif(artist=UUID, description="Signature: me"),
        xmp(attribute("iptcExt:DigitalSourceType", IPTC + "algorithmicMedia")),
        xmp(attribute("iptcExt:DigitalSourceType", IPTC + "humanEdits")),
        xmp(attribute("photoshop:Credit", "Google Street View")),
        comment("Lavc58.134"),
        png(x="y") + b'"genAIType":0',
    ],
)
def test_ordinary_metadata_is_no_ai_evidence(data):
    assert not examine(data).claim.is_ai


def test_capture_is_declared_but_never_ai():
    evidence = examine(xmp(attribute("iptcExt:DigitalSourceType", IPTC + "digitalCapture")))
    assert evidence.claim is Claim.CAPTURED


@pytest.mark.parametrize(("label", "words"), [("1", "generated"), ("2", "possibly"), ("3", "suspected")])
def test_tc260_labels_keep_their_certainty(label, words):
    (match,) = examine(png(AIGC=json.dumps({**TC260, "Label": label}))).detail["signatures"]
    assert words in match["value"]
    assert match["generator"] == TC260["ContentProducer"]


def test_compressed_text_is_bounded():
    bomb = zlib.compress(b"parameters " * 2_000_000)
    body = b"parameters\0\0" + bomb
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    data = png(x="y")
    evidence = MetadataExaminer()(Upload(data[:33] + chunk + data[33:], limits=Limits(max_metadata=100_000)))
    assert "larger than" in evidence.detail["problems"][0]


def test_entity_bombs_are_not_expanded():
    entities = "".join(f'<!ENTITY l{i} "&l{i - 1};&l{i - 1};">' for i in range(1, 40))
    packet = f'<!DOCTYPE x [<!ENTITY l0 "ha">{entities}]><x:xmpmeta xmlns:x="adobe:ns:meta/">&l39;</x:xmpmeta>'
    out = io.BytesIO()
    Image.fromarray(noise(8, 8)).save(out, "JPEG", xmp=packet.encode())
    assert not examine(out.getvalue()).found


def test_stealth_text_with_a_lying_length_is_a_problem_not_a_crash():
    data = stealth("x", "stealth_pnginfo")
    pixels = np.array(Image.open(io.BytesIO(data)))
    pixels[24:56, 1, 3] |= 1  # bits 120 to 151 are the length; a column holds 96
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    evidence = examine(out.getvalue())
    assert "announces" in evidence.detail["problems"][0]


def test_trailing_bytes_are_container_evidence():
    evidence = ContainerExaminer()(Upload(comment("x") + b"PK\x03\x04rest"))
    assert evidence.found
    assert evidence.detail["trailing_bytes"]["looks_like"] == "zip"
    assert not ContainerExaminer()(Upload(comment("x"))).found


# --- writing -----------------------------------------------------------------------------------------

LABELS = Labels(IPTC + "trainedAlgorithmicMedia", "Model <X> & co", "1.0", 'say "hi"', "me", "0011", "id1")


def rich(form: str) -> bytes:
    """An image with ICC profile, EXIF with orientation, XMP and text of its own."""
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    packet = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description rdf:about="" xmlns:my="http://example.org/my/" my:note="keep me" '
        b'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:creator><rdf:Seq><rdf:li>Ann</rdf:li></rdf:Seq>'
        b"</dc:creator></rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    out = io.BytesIO()
    options: dict = {"icc_profile": profile, "exif": exif}
    if form == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_text("Comment", "keep this too")
        info.add_itxt("XML:com.adobe.xmp", packet.decode())
        options["pnginfo"] = info
    else:
        options["xmp"] = packet
    Image.fromarray(noise(40, 60)).save(out, form, **options)
    return out.getvalue()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_labels_are_written_and_nothing_else_is_lost(form):
    before = rich(form)
    after = write_labels(Upload(before), LABELS)
    old, new = Image.open(io.BytesIO(before)), Image.open(io.BytesIO(after))
    assert np.array_equal(np.asarray(old), np.asarray(new))
    assert old.info.get("icc_profile") == new.info.get("icc_profile")
    assert old.info["icc_profile"]
    assert dict(old.getexif()) == dict(new.getexif())
    assert new.getexif()[0x0112] == 6
    fields = {(f.key, f.value) for f in read_carriers(Upload(after)).fields}
    assert ("note", "keep me") in fields
    assert ("dc:creator", "Ann") in fields
    assert ("Iptc4xmpExt:AISystemUsed", "Model <X> & co") in fields
    assert ("Iptc4xmpExt:AIPromptInformation", 'say "hi"') in fields
    assert any(k == "TC260:AIGC" and json.loads(v)["ContentProducer"] == "0011" for k, v in fields)
    if form == "PNG":
        assert ("Comment", "keep this too") in fields
        assert any(k == "AIGC" for k, _ in fields)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_writing_twice_replaces_the_labels(form):
    once = write_labels(Upload(rich(form)), LABELS)
    twice = write_labels(Upload(once), Labels(IPTC + "compositeWithTrainedAlgorithmicMedia"))
    values = [f.value for f in read_carriers(Upload(twice)).fields if f.key.endswith("DigitalSourceType")]
    assert values == [IPTC + "compositeWithTrainedAlgorithmicMedia"]


@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_simple_webp_becomes_extended_webp(lossless, mode):
    out = io.BytesIO()
    Image.fromarray(noise(31, 47)).convert(mode).save(out, "WEBP", lossless=lossless)
    after = write_labels(Upload(out.getvalue()), LABELS)
    old, new = Image.open(io.BytesIO(out.getvalue())), Image.open(io.BytesIO(after))
    assert np.array_equal(np.asarray(old), np.asarray(new))
    assert b"AISystemUsed" in new.info["xmp"]


def test_formats_without_a_writer_and_damage_are_refused(encode):
    with pytest.raises(MarkError, match="without re-encoding"):
        write_labels(Upload(encode("GIF")), LABELS)
    with pytest.raises(UnreadableError, match="cut off"):
        write_labels(Upload(encode("JPEG")[:3000]), LABELS)
    with pytest.raises(UnreadableError, match="damaged"):
        write_labels(Upload(xmp(' iptcExt:DigitalSourceType="x">broken')), LABELS)
    with pytest.raises(MarkError, match="Shorten the prompt"):
        write_labels(Upload(encode("JPEG")), Labels(IPTC + "trainedAlgorithmicMedia", prompt="x" * 70_000))
