"""The words of C2PA and IPTC that carry meaning here, with what each of them says."""

from __future__ import annotations

from typing import Final

from countermark.provenance.evidence import Claim

__all__ = [
    "AI_DISCLOSURE",
    "DIGITAL_SOURCE_TYPES",
    "EKU_OIDS",
    "IPTC",
    "NON_EDITORIAL_ACTIONS",
    "check_source_type",
    "source_type_claim",
    "source_type_name",
]

IPTC: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/"
C2PA_DST: Final = "http://c2pa.org/digitalsourcetype/"
AI_DISCLOSURE: Final = "c2pa.ai-disclosure"

# IPTC digital source type NewsCodes (release 2024-10-23) and the two of C2PA 2.4, section 18.15.4.
# Terms that say nothing about a trained model or a camera map to NONE.
DIGITAL_SOURCE_TYPES: Final[dict[str, Claim]] = {
    IPTC + "trainedAlgorithmicMedia": Claim.GENERATED,
    IPTC + "compositeWithTrainedAlgorithmicMedia": Claim.EDITED,
    IPTC + "compositeSynthetic": Claim.EDITED,
    C2PA_DST + "trainedAlgorithmicData": Claim.GENERATED,
    IPTC + "digitalCapture": Claim.CAPTURED,
    IPTC + "computationalCapture": Claim.CAPTURED,
    IPTC + "compositeCapture": Claim.CAPTURED,
    IPTC + "digitalCreation": Claim.HUMAN_MADE,
    IPTC + "digitalArt": Claim.HUMAN_MADE,
    IPTC + "humanEdits": Claim.HUMAN_MADE,
    IPTC + "minorHumanEdits": Claim.HUMAN_MADE,
    IPTC + "composite": Claim.COMPOSITE,
    IPTC + "negativeFilm": Claim.NONE,
    IPTC + "positiveFilm": Claim.NONE,
    IPTC + "print": Claim.NONE,
    IPTC + "algorithmicMedia": Claim.NONE,
    IPTC + "algorithmicallyEnhanced": Claim.NONE,
    IPTC + "screenCapture": Claim.NONE,
    IPTC + "virtualRecording": Claim.NONE,
    IPTC + "dataDrivenMedia": Claim.NONE,
    IPTC + "softwareImage": Claim.NONE,
    C2PA_DST + "empty": Claim.NONE,
}

# Actions that leave the content as it was (C2PA Asset Signals Rubric 1.0, 2026-08-06).
NON_EDITORIAL_ACTIONS: Final = frozenset(
    {
        "c2pa.converted",
        "c2pa.published",
        "c2pa.repackaged",
        "c2pa.transcoded",
        "c2pa.resized.proportional",
        "c2pa.enhanced",
        "c2pa.edited.metadata",
        "c2pa.watermarked",
        "c2pa.watermarked.bound",
        "c2pa.watermarked.unbound",
        "c2pa.redacted",
    }
)

# Extended key usages of signing certificates in the field. The reader's own default accepts only the
# first two, which makes genuine OpenAI and Samsung files invalid.
EKU_OIDS: Final = (
    "1.3.6.1.5.5.7.3.4",  # emailProtection
    "1.3.6.1.5.5.7.3.36",  # documentSigning
    "1.3.6.1.5.5.7.3.8",  # timeStamping
    "1.3.6.1.5.5.7.3.9",  # OCSPSigning
    "1.3.6.1.4.1.311.76.59.1.9",  # Microsoft C2PA signing
    "1.3.6.1.4.1.62558.2.1",  # c2pa-kp-claimSigning
)

_BY_NAME: Final = {uri.rsplit("/", 1)[-1].lower(): uri for uri in reversed(DIGITAL_SOURCE_TYPES)}


def source_type_name(uri: str) -> str:
    """The last word of a digital source type URI: ``".../trainedAlgorithmicMedia"`` -> the word."""
    return uri.rstrip("/").rsplit("/", 1)[-1]


def source_type_claim(value: str) -> Claim:
    """What a digital source type says, given as URI or as the bare word; NONE when unknown."""
    uri = _BY_NAME.get(source_type_name(value.strip()).lower())
    return DIGITAL_SOURCE_TYPES[uri] if uri else Claim.NONE


def check_source_type(value: str) -> str:
    """The full URI of a digital source type given as URI or bare word.

    Raises:
        UsageError: it is not in the vocabulary. The C2PA library itself accepts any string.
    """
    from difflib import get_close_matches

    from countermark.provenance.errors import UsageError

    text = value.strip()
    if text in DIGITAL_SOURCE_TYPES:
        return text
    uri = _BY_NAME.get(text.lower())
    if uri:
        return uri
    words = sorted(source_type_name(u) for u in DIGITAL_SOURCE_TYPES)
    near = get_close_matches(source_type_name(text), words, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise UsageError(f"Unknown digital source type {value!r}.{hint} Allowed: {', '.join(words)}.")
