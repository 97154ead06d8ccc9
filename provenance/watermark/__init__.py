"""Invisible watermark codecs.

`lattice` is invisible-watermark's dwtDct and dwtDctSvd; `known` finds the public messages that generators
write; `stamp_mark` is the registry id that `stamp` embeds; `rivagan` is an optional adapter.
"""

from countermark.provenance.watermark.examiners import PublicMarksExaminer

__all__ = ["PublicMarksExaminer"]
