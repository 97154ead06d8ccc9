"""Pixels of dataset pictures, decoded by the same code that decodes an upload."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from countermark.provenance.upload import Upload


def load_rgb(path: Path) -> NDArray[np.uint8]:
    """One picture as RGB uint8 (height, width, 3), upright; transparency is laid on white.

    Raises:
        UnreadableError: it is missing, damaged, of an unknown format, or larger than the limits allow.
    """
    return Upload.open(path).pixels
