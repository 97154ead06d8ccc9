"""Notice to an uploader: a statement of reasons in plain language (the shape of Art. 17 DSA).

What was decided, where, on what kind of evidence, automated or not, under which rule, and how to appeal.
Never a score, never personal data.
"""

from __future__ import annotations

import datetime as dt
from typing import Literal

from countermark.policies.engine import Decision
from countermark.provenance.status import Status

__all__ = ["statement"]

_WHAT = {
    "none": "Nothing was done with it.",
    "info": "Additional information may be shown with it.",
    "ask_uploader": "We ask you to tell us whether AI was used. Nothing is shown until you answer.",
    "tell_platform": "It must be declared to the platform. Viewers see no label.",
    "label": 'It carries the label "{text}" ({placement}).',
    "review": "It was put before a reviewer. Nothing is shown until a person has decided.",
    "restrict": "Its visibility is limited.",
    "refuse": "It is not published.",
}
_KIND = {
    Status.AI_GENERATED_CONFIRMED: "a verified digital signature in the file, which says that AI generated it",
    Status.AI_EDITED_CONFIRMED: "a verified digital signature in the file, which says that AI changed it",
    Status.AI_GENERATED_WATERMARKED: "a keyed watermark or our own record of the generated original",
    Status.AI_DECLARED: "your own declaration",
    Status.AI_MARKED_UNSIGNED: "marks in the file that name AI; they are unsigned, so anybody could have written them",
    Status.LIKELY_AI: "a statistical analysis of the picture, which can be wrong and is never proof",
    Status.CONFLICT: "evidence in the file that contradicts itself",
    Status.PROVENANCE_INVALID: "credentials in the file that could not be verified; re-encoding often causes this",
    Status.CAPTURE_CONFIRMED: "a verified digital signature of a camera",
    Status.INCONCLUSIVE: "evidence that allows no statement",
    Status.NO_AI_EVIDENCE: "the absence of any sign of AI, which is not proof of authenticity",
    Status.ERROR: "the fact that the file could not be read",
}
_STRENGTH = {"law": "a law", "code": "a code of practice", "platform": "the platform's rules", "house": "our own rules"}
_APPEAL_DAYS = 183  # Art. 20 DSA: at least six months


def statement(
    decision: Decision,
    status: Status,
    *,
    item: str,
    service: str = "this service",
    decided_by: Literal["automated", "person"] = "automated",
    appeal_to: str = "",
    decision_id: str = "",
    on: dt.date | None = None,
) -> str:
    """The text of a notice.

    Args:
        decision: what was decided.
        status: on what judged outcome.
        item: what it is about, for example the title of the upload.
        service: who decides.
        decided_by: whether a person took part.
        appeal_to: address of the appeal form.
        decision_id: to name in an appeal.
        on: date of the decision; default today.
    """
    day = on or dt.datetime.now(dt.UTC).date()
    until = day + dt.timedelta(days=_APPEAL_DAYS)
    what = _WHAT[decision.action].format(text=decision.text, placement=decision.placement)
    how = "automatically, without a person" if decided_by == "automated" else "by a person"
    lines = [
        f'About "{item}" on {service}, {day.isoformat()}',
        "",
        what,
        *([decision.duty] if decision.duty else []),
        "",
        f"Why: the decision rests on {_KIND[status]}.",
        f"How: it was made {how}.",
        f"Rule: {decision.pack}, rule {decision.rule}, which follows from {_STRENGTH[decision.strength]}: "
        f"{decision.source[0] if decision.source else 'no source'}.",
        "",
        f"If you think this is wrong you can appeal free of charge until {until.isoformat()}"
        + (f" at {appeal_to}" if appeal_to else "")
        + (f", naming decision {decision_id}" if decision_id else "")
        + ". Another person than the first decides. You may add the original, a project file or credentials.",
    ]
    if decision.action == "label" and not decision.removable:
        lines.append("You cannot remove this label yourself.")
    return "\n".join(lines) + "\n"
