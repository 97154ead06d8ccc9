"""Write all marks into an image that was made elsewhere, then read them back before handing it out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from countermark.provenance.errors import MarkError, UsageError
from countermark.provenance.fingerprint import Fingerprint, fingerprint
from countermark.provenance.home import atomic_write
from countermark.provenance.keys import Signing, local_signing
from countermark.provenance.manifest.read import read_manifest
from countermark.provenance.manifest.trust import TrustStore, default_trust
from countermark.provenance.manifest.write import Parent, sign_manifest
from countermark.provenance.metadata.carriers import read_carriers
from countermark.provenance.metadata.write import Labels, can_write, write_labels
from countermark.provenance.origin import Origin, SoftBinding
from countermark.provenance.registry import ID_BITS, Record, Registry, default_registry, new_id
from countermark.provenance.upload import Upload
from countermark.provenance.upload.reencode import replace_pixels, why_not
from countermark.provenance.watermark.stamp_mark import ALGORITHM, can_carry, embed_id, read_id_bits

__all__ = ["MARKS", "Stamped", "check_output", "stamp_bytes", "write_stamped"]

MARKS = ("watermark", "metadata", "manifest")
_WRONG_BITS = 6  # of 64: chance rate 4.6e-12 a record


@dataclass(frozen=True, slots=True)
class Stamped:
    """A marked file and what is in it.

    Attributes:
        data: the file.
        media_type: its media type.
        marks: which marks were written and read back.
        skipped: marks that this format cannot carry, with the reason.
        manifest: manifest store bytes, empty without a manifest.
        manifest_label: label of the active manifest.
        mark_id: registry id of this picture, 16 hex digits; the watermark carries it.
        warnings: things the user should know.
        label: the visible label drawn and who asked for it, or None.
    """

    data: bytes
    media_type: str
    marks: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    manifest: bytes = b""
    manifest_label: str = ""
    mark_id: str = ""
    warnings: tuple[str, ...] = ()
    label: Mapping[str, Any] | None = None


def stamp_bytes(
    source: Upload,
    origin: Origin,
    signing: Signing | None = None,
    *,
    marks: Sequence[str] | None = None,
    parents: Sequence[Parent] = (),
    registry: Registry | None = None,
) -> Stamped:
    """Mark one image and enter it in the registry.

    A manifest that the image already has becomes the parent of the new one, so that nothing of its
    history is lost.

    Args:
        source: the image.
        origin: what to say about it.
        signing: whose signature; default is the local key.
        marks: which of `MARKS` to write; each must succeed. None writes all that the picture can carry.
        parents: further files that went into it.
        registry: default is the one of this machine.

    Raises:
        UsageError: unknown mark, or a file that is no image.
        MissingPart: no local key.
        MarkError: a mark could not be written or did not read back.
    """
    chosen = check_marks(marks)
    if source.format.name in ("svg", "pdf") or not source.media_type.startswith("image/"):
        raise UsageError(f"{source.path or 'input'} is {source.media_type}; stamp takes images.")
    key = (signing or local_signing()) if "manifest" in chosen else None
    title = Path(source.path).name if source.path else "image"
    result = Stamped(source.data, source.media_type, (), mark_id=new_id())
    if "watermark" in chosen:
        result = _with_watermark(result, source, origin)
    if "metadata" in chosen:
        result = _with_labels(result, Upload(result.data, source.path, source.limits), origin)
    if key is not None:
        own = [Parent(source.data, source.media_type, title)] if _has_manifest(source) else []
        result = _with_manifest(result, origin, key, title, [*own, *parents])
    if marks is not None and result.skipped:
        raise MarkError(f"{'; '.join(result.skipped)}. Nothing was saved; leave it out of --marks.")
    result = _read_back(result, source, origin)
    store = default_registry() if registry is None else registry
    store.add(_record(result, Upload(result.data, source.path, source.limits), origin, title))
    return result


def _record(result: Stamped, stamped: Upload, origin: Origin, title: str) -> Record:
    header = stamped.header
    plain = Fingerprint(bytes(32), 0)
    return Record(
        mark_id=result.mark_id,
        sha256=stamped.sha256,
        fingerprint=fingerprint(stamped.view) if stamped.format.raster else plain,
        media_type=stamped.media_type,
        width=header.width if header else 0,
        height=header.height if header else 0,
        title=title,
        source_type=origin.source_type,
        binding_alg=ALGORITHM if "watermark" in result.marks else "",
        manifest_id=result.manifest_label,
        manifest=result.manifest,
    )


def _with_watermark(result: Stamped, source: Upload, origin: Origin) -> Stamped:
    """The registry id in the pixels, where the file allows it and the picture is said to be AI's."""
    header = source.header
    reason = why_not(source)
    if reason is None and not origin.is_ai:
        reason = "only AI pictures are watermarked"
    if reason is None and header is not None and not can_carry(header.height, header.width):
        reason = f"{header.width} x {header.height} is too small"
    if reason is not None:
        return replace(result, skipped=(*result.skipped, f"watermark: {reason}"))
    data = replace_pixels(source, embed_id(source.pixels, result.mark_id))
    wrong = _wrong_bits(Upload(data, source.path, source.limits), result.mark_id)
    if wrong > _WRONG_BITS:
        reason = f"this picture's colours leave it no room ({wrong} of {ID_BITS} bits do not read back)"
        return replace(result, skipped=(*result.skipped, f"watermark: {reason}"))
    return replace(result, data=data, marks=(*result.marks, "watermark"))


def _wrong_bits(stamped: Upload, mark_id: str) -> int:
    bits = read_id_bits(stamped.pixels)
    wanted = np.unpackbits(np.frombuffer(bytes.fromhex(mark_id), np.uint8)).astype(bool)
    return ID_BITS if bits is None else int((bits != wanted).sum())


def check_marks(marks: Sequence[str] | None) -> tuple[str, ...]:
    """The marks in writing order, all for None, or `UsageError` for an unknown name."""
    if marks is None:
        return MARKS
    unknown = [m for m in marks if m not in MARKS]
    if unknown or not marks:
        got = ", ".join(unknown) or "none"
        raise UsageError(f"--marks: {got} given; allowed are {', '.join(MARKS)}.")
    return tuple(m for m in MARKS if m in marks)


def _has_manifest(source: Upload) -> bool:
    return read_manifest(source, TrustStore()).presence in ("embedded", "malformed")


def _with_labels(result: Stamped, source: Upload, origin: Origin) -> Stamped:
    if not can_write(source):
        reason = f"metadata: {source.format.name} cannot take IPTC labels without re-encoding"
        return replace(result, skipped=(*result.skipped, reason))
    labels = Labels(
        source_type=origin.source_type,
        system=origin.model or origin.generator,
        system_version=origin.model_version or origin.generator_version,
        prompt=origin.prompt,
        prompt_writer=origin.prompt_writer,
        tc260_producer=origin.tc260_producer,
        tc260_id=source.sha256[:32],
    )
    return replace(result, data=write_labels(source, labels), marks=(*result.marks, "metadata"))


def _with_manifest(result: Stamped, origin: Origin, signing: Signing, title: str, parents: Sequence[Parent]) -> Stamped:
    binding = SoftBinding(ALGORITHM, result.mark_id) if "watermark" in result.marks else None
    signed = sign_manifest(
        result.data,
        result.media_type,
        origin,
        signing,
        title=title,
        parents=parents,
        binding=binding,
        verify=False,
    )
    warnings = (*result.warnings, signed.warning) if signed.warning else result.warnings
    marks = (*result.marks, "manifest")
    return replace(result, data=signed.data, marks=marks, manifest=signed.manifest, warnings=warnings)


def _read_back(result: Stamped, source: Upload, origin: Origin) -> Stamped:
    """Every mark is read again from the bytes that will be handed out."""
    again = Upload(result.data, source.path, source.limits)
    if "watermark" in result.marks:
        wrong = _wrong_bits(again, result.mark_id)
        if wrong > _WRONG_BITS:
            raise MarkError(f"The watermark does not read back ({wrong} bits wrong); nothing was saved.")
    if "metadata" in result.marks:
        fields = read_carriers(again).fields
        if not any(f.key.endswith("DigitalSourceType") and f.value == origin.source_type for f in fields):
            raise MarkError("The IPTC label was written but does not read back; nothing was saved.")
    if "manifest" not in result.marks:
        return result
    report = read_manifest(again, replace(default_trust(), providers=()))
    said = report.nodes[report.active].source_types if report.nodes else ()
    if report.integrity != "ok" or report.signature != "ok" or origin.source_type not in said:
        raise MarkError(
            f"The manifest was written but does not read back ({report.note or report.state}); nothing was saved."
        )
    return replace(result, manifest_label=report.active)


def check_output(target: Path, source: Path | None, in_place: bool, force: bool = False) -> bool:
    """Whether the target is the input itself, and may be written.

    Raises:
        UsageError: the target is the input without ``in_place``, or exists without ``force``.
    """
    same = source is not None and target.exists() and source.exists() and target.samefile(source)
    if same and not in_place:
        raise UsageError(f"{target} is the input itself. Use --in-place to replace it, or name another output.")
    if target.exists() and not same and not force:
        raise UsageError(f"{target} exists already. Use --force to replace it, or name another output.")
    return same


def write_stamped(result: Stamped, target: Path, source: Path | None, in_place: bool, force: bool = False) -> None:
    """Save the result atomically.

    Raises:
        UsageError: see `check_output`.
        MarkError: the folder cannot be written.
    """
    same = check_output(target, source, in_place, force)
    mode = target.stat().st_mode & 0o777 if same else 0o644
    try:
        atomic_write(target, result.data, mode)
    except OSError as exc:
        raise MarkError(f"{target}: {exc.strerror or exc}. Nothing was written.") from exc
