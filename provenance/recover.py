"""Lead a stripped copy back to its manifest: by exact bytes, by watermark id, or by fingerprint.

A copy whose bytes differ is "recovered, bytes differ", never "tampered": platforms re-encode everything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from countermark.provenance.evidence import Claim, Evidence, Kind, Strength
from countermark.provenance.fingerprint import MATCH_DISTANCE, distances, fingerprint
from countermark.provenance.manifest.model import ManifestReport
from countermark.provenance.manifest.read import read_manifest
from countermark.provenance.manifest.trust import TrustStore
from countermark.provenance.manifest.vocabulary import source_type_claim
from countermark.provenance.registry import IdMatch, Record, Registry, default_registry
from countermark.provenance.upload import Upload
from countermark.provenance.watermark.stamp_mark import ALGORITHM, read_id_bits

__all__ = ["Recovery", "RegistryExaminer", "recover"]

_P_VALUE = 1e-6
SAME, DIFFER, NONE = "recovered, same bytes", "recovered, bytes differ", "not found"


@dataclass(frozen=True, slots=True)
class Recovery:
    """What the registry knows about a picture.

    Attributes:
        state: ``recovered, same bytes``, ``recovered, bytes differ`` or ``not found``.
        record: the record, or None.
        by: ways that led to it: ``sha256``, ``watermark``, ``fingerprint``.
        mark: what the watermark id said, or None.
        distance: bits between the fingerprints (of 256), or None where they cannot be compared.
        note: a warning, or empty.
    """

    state: str
    record: Record | None = None
    by: tuple[str, ...] = ()
    mark: IdMatch | None = None
    distance: int | None = None
    note: str = ""

    @property
    def proven(self) -> bool:
        """Same bytes, or watermark id and fingerprint together: one alone can be copied or coincide."""
        return "sha256" in self.by or {"watermark", "fingerprint"} <= set(self.by)

    def to_dict(self) -> dict[str, Any]:
        """JSON-serialisable form."""
        return {
            "state": self.state,
            "by": list(self.by),
            "proven": self.proven,
            "record": self.record.to_dict() if self.record else None,
            "watermark": _mark_dict(self.mark),
            "fingerprint_distance": self.distance,
            "note": self.note,
        }


def _mark_dict(mark: IdMatch | None) -> dict[str, Any] | None:
    if mark is None:
        return None
    return {
        "alg": ALGORITHM,
        "value": mark.record.mark_id,
        "wrong_bits": mark.wrong_bits,
        "p_value": mark.p_value,
        "found": mark.p_value <= _P_VALUE,
    }


def recover(upload: Upload, registry: Registry | None = None) -> Recovery:
    """Look a picture up, surest way first.

    Args:
        upload: the picture; a file without pixels is looked up by its bytes only.
        registry: default is the one of this machine.

    Raises:
        UnreadableError: the registry or the pixels cannot be read.
    """
    store = default_registry() if registry is None else registry
    if not store.exists:
        return Recovery(NONE)
    if (exact := store.by_sha256(upload.sha256)) is not None:
        return Recovery(SAME, exact, ("sha256",))
    if not upload.format.raster:
        return Recovery(NONE)
    bits = read_id_bits(upload.pixels)
    mark = store.by_mark(bits) if bits is not None else None
    own = fingerprint(upload.view)
    if mark is not None and mark.p_value <= _P_VALUE:
        return _by_mark(mark, own.bits if own.usable else None)
    match = store.by_fingerprint(own)
    if match is not None:
        return Recovery(DIFFER, match[0], ("fingerprint",), mark, match[1])
    return Recovery(NONE, mark=mark)


def _by_mark(mark: IdMatch, own: bytes | None) -> Recovery:
    """A watermark id counts fully only if the picture is the one it was given to."""
    import numpy as np

    record = mark.record
    if own is None or not record.fingerprint.usable:
        return Recovery(DIFFER, record, ("watermark",), mark, None, "the picture is too plain for a fingerprint")
    apart = int(distances(np.frombuffer(record.fingerprint.bits, np.uint64)[None, :], own)[0])
    if apart <= MATCH_DISTANCE:
        return Recovery(DIFFER, record, ("watermark", "fingerprint"), mark, apart)
    note = "the watermark belongs to another picture: cropped, heavily changed, or copied onto this one"
    return Recovery(DIFFER, record, ("watermark",), mark, apart, note)


def recovered_manifest(recovery: Recovery, upload: Upload, trust: TrustStore | None = None) -> ManifestReport | None:
    """The recovered manifest, read against this file; its integrity says whether the bytes are the same."""
    if recovery.record is None or not recovery.record.manifest:
        return None
    return read_manifest(upload, trust, store=recovery.record.manifest)


class RegistryExaminer:
    """Our own records as evidence; a fingerprint alone is a hint, not proof.

    Args:
        registry: default is the one of this machine.
    """

    kind = Kind.REGISTRY
    name = "registry"

    def __init__(self, registry: Registry | None = None) -> None:
        self.registry = registry

    def __call__(self, upload: Upload) -> Evidence:
        found = recover(upload, self.registry)
        detail = found.to_dict()
        if found.mark is not None:
            detail["p_value"] = found.mark.p_value
        if found.record is None:
            return Evidence(self.kind, self.name, detail=detail)
        how = " and ".join(found.by)
        detail["summary"] = f"{found.state}: record {found.record.mark_id} by {how}" + (
            f"; {found.note}" if found.note else ""
        )
        claim = source_type_claim(found.record.source_type)
        return Evidence(
            self.kind,
            self.name,
            found=True,
            claim=claim if claim.is_ai else Claim.NONE,
            strength=Strength.KEYED if found.proven else Strength.DECLARED,
            detail=detail,
            version=ALGORITHM,
        )
