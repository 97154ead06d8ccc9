"""PDQ fingerprints: 256 bits that survive recompression and resizing, for looking a picture up.

Computed on the <= 512 pixel view, so that a fingerprint costs the same for any size; the reduction is part
of the definition. Source: Facebook, "The TMK+PDQF video-hashing algorithm and the PDQ image-hashing
algorithm", 2019.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from countermark.provenance.upload import Pixels

__all__ = ["MATCH_DISTANCE", "MIN_QUALITY", "Fingerprint", "distances", "fingerprint"]

MATCH_DISTANCE = 31  # bits of 256, PDQ's own recommendation
MIN_QUALITY = 50  # below it a picture is too plain to be told from others


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A PDQ hash.

    Attributes:
        bits: 32 bytes.
        quality: 0 to 100; below `MIN_QUALITY` it must not be used for matching.
    """

    bits: bytes
    quality: int

    @property
    def usable(self) -> bool:
        """Whether the picture has enough detail to be recognised."""
        return self.quality >= MIN_QUALITY


def fingerprint(view: Pixels) -> Fingerprint:
    """Fingerprint of a reduced view.

    Args:
        view: `Upload.view`, (h, w, 3) uint8, RGB.
    """
    import pdqhash

    bits, quality = pdqhash.compute(np.ascontiguousarray(view))
    return Fingerprint(np.packbits(bits.astype(np.uint8)).tobytes(), int(quality))


def distances(table: npt.NDArray[np.uint64], bits: bytes) -> npt.NDArray[np.int64]:
    """Hamming distances of one fingerprint to many.

    Args:
        table: (N, 4) uint64.
        bits: 32 bytes.

    Returns:
        (N,) distances in bits.
    """
    wanted = np.frombuffer(bits, np.uint64)
    return np.asarray(np.bitwise_count(table ^ wanted).sum(axis=1, dtype=np.int64))
