"""Evidence in words, shared by the terminal and the page. Strings from files are made harmless here."""

from __future__ import annotations

import unicodedata
from typing import Any

from countermark.provenance.evidence import Evidence, Kind

__all__ = ["clean", "explain"]

_MAX = 300


def clean(value: Any, limit: int = _MAX) -> str:
    """Text from a file without control, bidirectional or other invisible characters, and bounded."""
    text = "".join(" " if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") else c for c in str(value))
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def explain(evidence: Evidence) -> str:
    """One line about what an examiner found."""
    if evidence.error:
        return f"could not be examined: {clean(evidence.error)}"
    if not evidence.found:
        return "nothing found"
    if evidence.kind == Kind.MANIFEST:
        return _manifest(evidence.detail)
    if evidence.name == "container":
        return _container(evidence.detail)
    if evidence.kind == Kind.METADATA:
        return _metadata(evidence.detail)
    if evidence.kind == Kind.CLASSIFIER:
        return _classifier(evidence.detail)
    if evidence.kind == Kind.DECLARATION:
        return f"the uploader says: {clean(evidence.detail.get('says', ''))}"
    return clean(evidence.detail.get("summary") or "found")


def _manifest(detail: Any) -> str:
    presence = detail.get("presence")
    if presence == "remote":
        return f"credentials are kept elsewhere and were not fetched: {clean(detail.get('note'))}"
    if presence == "malformed":
        return f"credentials are damaged: {clean(detail.get('note'))}"
    parts = []
    if detail.get("integrity") != "ok":
        parts.append("the content is not what was signed")
    elif detail.get("signature") != "ok":
        parts.append("the signature does not fit")
    parts.append(_who(detail.get("signer") or {}))
    program = str(detail.get("claim_generator") or detail.get("generator") or "").split(" ")[0].replace("_", " ")
    if maker := clean(f"{program} {detail.get('model') or ''}"):
        parts.append(f"made with {maker}")
    if len(detail.get("claim_path") or []) > 1:
        parts.append(f"claim is {len(detail['claim_path']) - 1} manifest(s) below")
    return "; ".join(p for p in parts if p)


def _who(signer: Any) -> str:
    name = clean(signer.get("organisation") or signer.get("name") or "unknown")
    trust = {
        "official": "on the official C2PA list",
        "provider": f"pinned provider {clean(signer.get('provider'))}",
        "user": "trusted on this machine",
        "unknown": "not on any trust list",
    }[signer.get("trust") or "unknown"]
    notes = [trust]
    if signer.get("denied"):
        notes.append("denied")
    if signer.get("revoked"):
        notes.append("revoked")
    if signer.get("expired"):
        notes.append("certificate expired, time of signing unproven")
    return f"signed by {name} ({', '.join(notes)})"


def _classifier(detail: Any) -> str:
    if detail.get("score") is None:
        return f"cannot tell: {clean(detail.get('reason'))}"
    says = {
        "high": "looks AI-generated",
        "mid": "undecided",
        "low": "nothing in the pixels speaks for AI",
    }[detail["band"]]
    return (
        f"{says}: score {detail['score']:.2f}, threshold {detail['threshold']:.2f} for {clean(detail['domain'])}; "
        "a hint, not proof"
    )


def _metadata(detail: Any) -> str:
    parts = []
    for match in detail.get("signatures", []):
        words = [match["id"], match.get("generator"), match.get("model"), match.get("value")]
        parts.append(" ".join(clean(w, 80) for w in words if w))
    return "; ".join(parts)


def _container(detail: Any) -> str:
    parts = []
    if trailer := detail.get("trailing_bytes"):
        kind = f" that look like {trailer['looks_like']}" if trailer.get("looks_like") else ""
        parts.append(f"{trailer['size']:,} bytes behind the end of the file{kind}")
    if detail.get("truncated"):
        parts.append("the file is cut off")
    return "; ".join(parts)
