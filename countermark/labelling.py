"""Draw a visible label on a marked picture without touching its other marks, and sign the result.

The original becomes the parent of the new manifest (``c2pa.opened``, then ``c2pa.edited``), metadata are kept,
and the result must scan as what it was before.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from countermark.policies.draw import FORMS, draw_label
from countermark.policies.engine import Decision, combine, decide, select
from countermark.provenance.errors import MarkError, UsageError
from countermark.provenance.fingerprint import fingerprint
from countermark.provenance.keys import Signing, local_signing
from countermark.provenance.manifest.read import read_manifest
from countermark.provenance.manifest.write import Parent, sign_manifest
from countermark.provenance.origin import Origin
from countermark.provenance.registry import Record, Registry, default_registry, new_id
from countermark.provenance.upload import DEFAULT_LIMITS, Limits, Upload
from countermark.provenance.upload.reencode import replace_pixels
from countermark.scanning import Policies, ScanResult, policy_context, scan

__all__ = ["Labelled", "label_image", "wanted_label"]


@dataclass(frozen=True, slots=True)
class Labelled:
    """A labelled picture.

    Attributes:
        data: the file.
        decision: the decision that asked for the label.
        drawn: where and how, see `countermark.policies.draw.draw_label`.
        before, after: scans of the original and of the result.
        record_id: registry id of the labelled file.
    """

    data: bytes
    decision: Decision
    drawn: dict[str, Any]
    before: ScanResult
    after: ScanResult
    record_id: str


def wanted_label(result: ScanResult, policies: Policies) -> Decision | None:
    """The strictest label that the packs ask for, or None.

    Raises:
        UsageError: a pack refuses the picture.
    """
    decisions = combine(decide(select(policies.packs), policy_context(result, policies)))
    refusing = [d for d in decisions if d.action == "refuse"]
    if refusing:
        raise UsageError(f"{refusing[0].pack} refuses this picture, labelled or not: {refusing[0].duty}")
    return next((d for d in decisions if d.action == "label"), None)


def label_image(
    source: str | Path | bytes | Upload,
    policies: Policies,
    *,
    signing: Signing | None = None,
    registry: Registry | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Labelled:
    """Draw the label that the packs ask for.

    Args:
        source: picture that carries its other marks already.
        policies: packs, traits, role and region.
        signing: whose signature; default is the local key.
        registry: where to record the result; default is the registry of this machine.
        limits: bounds checked before decoding.

    Raises:
        UsageError: no pack asks for a label, one refuses the picture, or it is too small.
        MarkError: the format keeps its pixels, or the result does not scan as the original did.
    """
    upload = source if isinstance(source, Upload) else Upload.open(source, limits)
    before = scan(upload, policies=policies)
    decision = wanted_label(before, policies)
    if decision is None:
        raise UsageError(
            f"None of {', '.join(policies.packs)} asks for a label on a picture that is {before.status.value}"
            + (f" with traits {', '.join(policies.traits)}." if policies.traits else "; name its traits with --trait.")
        )
    form = decision.form or "plain"
    text = (decision.texts or {}).get(FORMS[form].language, decision.text)
    pixels, drawn = draw_label(upload.pixels, text, form)
    title = Path(upload.path).name if upload.path else "image"
    changed = replace_pixels(upload, pixels)
    origin = Origin(source_type="humanEdits", generator=f"Label {decision.pack}", parameters={"label": drawn["text"]})
    parent = Parent(upload.data, upload.media_type, title)
    signed = sign_manifest(
        changed, upload.media_type, origin, signing or local_signing(), title=title, parents=[parent], verify=False
    )
    result = Upload(signed.data, upload.path, limits)
    after = scan(result, policies=policies)
    if after.status != before.status:
        raise MarkError(
            f"The labelled picture scans as {after.status.value}, the original as {before.status.value}; "
            "nothing was saved."
        )
    record_id = _record(result, title, decision, signed.manifest, registry)
    return Labelled(signed.data, decision, drawn, before, after, record_id)


def _record(result: Upload, title: str, decision: Decision, manifest: bytes, registry: Registry | None) -> str:
    report = read_manifest(result)
    claim = report.claim_node
    source_type = next((t for t in (claim.source_types if claim else ()) if t), "")
    header = result.header
    record = Record(
        new_id(),
        result.sha256,
        fingerprint(result.view),
        result.media_type,
        header.width if header else 0,
        header.height if header else 0,
        f"{title}, labelled by {decision.pack}",
        source_type,
        manifest_id=report.active,
        manifest=manifest,
    )
    (default_registry() if registry is None else registry).add(record)
    return record.mark_id
