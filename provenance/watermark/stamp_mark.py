"""The mark that `stamp` embeds by default: a 64 bit registry id in the "dwtDctSvd" lattice.

It is public: anybody can read the id out of a picture and write it into another one. It therefore proves
nothing by itself; together with the fingerprint in the registry it leads a stripped copy back to its
manifest. It survives recompression and blur, not cropping, resizing or rotation.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from countermark.provenance.upload import Pixels
from countermark.provenance.watermark.lattice import MIN_AREA, block_grid, decode, encode

__all__ = ["ALGORITHM", "can_carry", "embed_id", "read_id_bits"]

ALGORITHM = "app.countermark.dwtdctsvd.1"
_BITS = 64


def can_carry(height: int, width: int) -> bool:
    """Whether an image is large enough."""
    rows, columns = block_grid(height, width)
    return height * width >= MIN_AREA and rows * columns >= 4 * _BITS


def embed_id(rgb: Pixels, mark_id: str) -> Pixels:
    """Embed an id of 16 hex digits; (H, W, 3) uint8, RGB, in and out."""
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(mark_id), np.uint8))
    return encode(rgb, bits, "dwtDctSvd", in_order=True)


def read_id_bits(rgb: Pixels) -> npt.NDArray[np.bool_] | None:
    """The 64 bits that the lattice gives, mark or no mark; None for an image that is too small."""
    return decode(rgb, _BITS, "dwtDctSvd") if can_carry(*rgb.shape[:2]) else None
