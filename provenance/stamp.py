"""Write all marks into an image that was made elsewhere, then read them back before handing it out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from countermark.provenance.errors import MarkError, UsageError
from countermark.provenance.home import atomic_write
from countermark.provenance.keys import Signing, local_signing
from countermark.provenance.manifest.read import read_manifest
from countermark.provenance.manifest.trust import TrustStore, default_trust
from countermark.provenance.manifest.vocabulary import source_type_claim, source_type_name
from countermark.provenance.manifest.write import Parent, sign_manifest
from countermark.provenance.metadata.carriers import read_carriers
from countermark.provenance.metadata.write import Labels, can_write, write_labels
from countermark.provenance.origin import Origin
from countermark.provenance.upload import Upload

__all__ = ["MARKS", "Stamped", "stamp_bytes", "write_stamped"]

MARKS = ("metadata", "manifest")


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
        warnings: things the user should know.
    """

    data: bytes
    media_type: str
    marks: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    manifest: bytes = b""
    manifest_label: str = ""
    warnings: tuple[str, ...] = ()


def stamp_bytes(
    source: Upload,
    origin: Origin,
    signing: Signing | None = None,
    *,
    marks: Sequence[str] = MARKS,
    parents: Sequence[Parent] = (),
    check: Callable[[bytes, Stamped], None] | None = None,
) -> Stamped:
    """Mark one image.

    A manifest that the image already has becomes the parent of the new one, so that nothing of its
    history is lost.

    Args:
        source: the image.
        origin: what to say about it.
        signing: whose signature; default is the local key.
        marks: which of `MARKS` to write.
        parents: further files that went into it.
        check: called with the result; raises when it is not as it should be.

    Raises:
        UsageError: unknown mark, or a file that is no image.
        MissingPart: no local key.
        MarkError: a mark could not be written or did not read back.
    """
    chosen = check_marks(marks)
    if source.format.name in ("svg", "pdf") or not source.media_type.startswith("image/"):
        raise UsageError(f"{source.path or 'input'} is {source.media_type}; stamp takes images.")
    title = Path(source.path).name if source.path else "image"
    result = Stamped(source.data, source.media_type, ())
    if "metadata" in chosen:
        result = _with_labels(result, source, origin)
    if "manifest" in chosen:
        own = [Parent(source.data, source.media_type, title)] if _has_manifest(source) else []
        result = _with_manifest(result, origin, signing or local_signing(), title, [*own, *parents])
    _read_back(result, source, origin)
    if check is not None:
        check(result.data, result)
    return result


def check_marks(marks: Sequence[str]) -> tuple[str, ...]:
    """The marks in writing order, or `UsageError` for an unknown name."""
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
    signed = sign_manifest(result.data, result.media_type, origin, signing, title=title, parents=parents, verify=False)
    warnings = (*result.warnings, signed.warning) if signed.warning else result.warnings
    marks = (*result.marks, "manifest")
    return replace(result, data=signed.data, marks=marks, manifest=signed.manifest, warnings=warnings)


def _read_back(result: Stamped, source: Upload, origin: Origin) -> None:
    """Every mark is read again from the bytes that will be handed out."""
    again = Upload(result.data, source.path, source.limits)
    if "metadata" in result.marks:
        fields = read_carriers(again).fields
        if not any(f.key.endswith("DigitalSourceType") and f.value == origin.source_type for f in fields):
            raise MarkError("The IPTC label was written but does not read back; nothing was saved.")
    if "manifest" not in result.marks:
        return
    report = read_manifest(again, replace(default_trust(), providers=()))
    said = report.nodes[report.active].source_types if report.nodes else ()
    if report.integrity != "ok" or report.signature != "ok" or origin.source_type not in said:
        raise MarkError(
            f"The manifest was written but does not read back ({report.note or report.state}); nothing was saved."
        )


def describe(origin: Origin) -> str:
    """One line for a person: what the marks say."""
    claim = source_type_claim(origin.source_type)
    return f"{source_type_name(origin.source_type)} ({claim.value})"


def write_stamped(result: Stamped, target: Path, source: Path | None, in_place: bool, force: bool = False) -> None:
    """Save the result atomically.

    Raises:
        UsageError: the target is the input without ``in_place``, or exists without ``force``.
        MarkError: the folder cannot be written.
    """
    same = source is not None and target.exists() and source.exists() and target.samefile(source)
    if same and not in_place:
        raise UsageError(f"{target} is the input itself. Use --in-place to replace it, or name another output.")
    if target.exists() and not same and not force:
        raise UsageError(f"{target} exists already. Use --force to replace it, or name another output.")
    mode = target.stat().st_mode & 0o777 if same else 0o644
    try:
        atomic_write(target, result.data, mode)
    except OSError as exc:
        raise MarkError(f"{target}: {exc.strerror or exc}. Nothing was written.") from exc
