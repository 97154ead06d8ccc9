"""Invisible watermark codecs. Not part of this version yet: `CODECS` is where they register.

A codec is an `countermark.provenance.evidence.Examiner` of kind ``watermark`` that reads
`Upload.pixels`, states the statistic, the p-value and the number of hypotheses searched in
``detail``, and claims with strength ``keyed`` (secret key) or ``declared`` (public mark).
"""

from __future__ import annotations

from countermark.provenance.evidence import Examiner

__all__ = ["CODECS"]

CODECS: list[Examiner] = []
