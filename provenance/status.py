"""The twelve judged outcomes and the one plain sentence that goes with each."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["SENTENCES", "Status"]


class Status(StrEnum):
    """What an upload can honestly be said to be."""

    AI_GENERATED_CONFIRMED = "ai_generated_confirmed"
    AI_EDITED_CONFIRMED = "ai_edited_confirmed"
    AI_GENERATED_WATERMARKED = "ai_generated_watermarked"
    AI_DECLARED = "ai_declared"
    AI_MARKED_UNSIGNED = "ai_marked_unsigned"
    LIKELY_AI = "likely_ai"
    INCONCLUSIVE = "inconclusive"
    NO_AI_EVIDENCE = "no_ai_evidence"
    CAPTURE_CONFIRMED = "capture_confirmed"
    CONFLICT = "conflict"
    PROVENANCE_INVALID = "provenance_invalid"
    ERROR = "error"

    @property
    def is_finding(self) -> bool:
        """Whether there is something to label or to look at."""
        return self not in (Status.NO_AI_EVIDENCE, Status.CAPTURE_CONFIRMED, Status.INCONCLUSIVE)


SENTENCES: dict[Status, str] = {
    Status.AI_GENERATED_CONFIRMED: "A trusted signature says that AI generated this picture.",
    Status.AI_EDITED_CONFIRMED: "A trusted signature says that AI changed or made part of this picture.",
    Status.AI_GENERATED_WATERMARKED: "A keyed watermark or registry record says that AI generated this picture.",
    Status.AI_DECLARED: "The uploader says that AI made or changed this picture.",
    Status.AI_MARKED_UNSIGNED: "Marks in this file say that AI was used, but nothing proves who wrote them.",
    Status.LIKELY_AI: "The pixels look AI-generated. This is a statistical hint, not proof; a person should look.",
    Status.INCONCLUSIVE: "The evidence does not allow a statement either way.",
    Status.NO_AI_EVIDENCE: "No AI evidence found. This is not proof that the picture is authentic.",
    Status.CAPTURE_CONFIRMED: "A trusted signature says that a camera captured this picture.",
    Status.CONFLICT: "The evidence contradicts itself; a person should look.",
    Status.PROVENANCE_INVALID: "The credentials in this file could not be verified, so their claims are ignored.",
    Status.ERROR: "The file could not be read.",
}
