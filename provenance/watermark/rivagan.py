"""rivaGan through the ONNX files that invisible-watermark ships; optional, slow, 32 bits.

Needs ``pip install onnxruntime`` and ``pip install --no-deps invisible-watermark`` (its own requirements
would bring a second OpenCV and torch; neither is needed here).
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from countermark.provenance.errors import MissingPart, UsageError
from countermark.provenance.upload import Pixels

__all__ = ["BITS", "available", "decode", "encode"]

BITS = 32
_THRESHOLD = 0.52  # imwatermark/rivaGan.py


def _folder() -> Path | None:
    """Where the ONNX files lie; the package itself is never imported, because that imports torch."""
    spec = importlib.util.find_spec("imwatermark")
    places = list(spec.submodule_search_locations or []) if spec else []
    return Path(places[0]) if places else None


def available() -> bool:
    """Whether both optional parts are installed."""
    return _folder() is not None and importlib.util.find_spec("onnxruntime") is not None


@lru_cache(maxsize=2)
def _session(name: str) -> Any:
    folder = _folder()
    if folder is None or not available():
        raise MissingPart(
            "rivaGan needs two optional parts: pip install onnxruntime, and pip install --no-deps invisible-watermark."
        )
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        str(folder / f"rivagan_{name}.onnx"), options, providers=["CPUExecutionProvider"]
    )


def _frame(rgb: Pixels) -> npt.NDArray[np.float32]:
    """(H, W, 3) RGB to the network's (1, 3, 1, H, W) BGR in [-1, 1]."""
    scaled = rgb[:, :, ::-1].astype(np.float32) / 127.5 - 1.0
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None, :, None])


def encode(rgb: Pixels, bits: npt.NDArray[np.bool_]) -> Pixels:
    """Embed 32 bits; (H, W, 3) uint8, RGB, in and out.

    Raises:
        UsageError: not 32 bits.
        MissingPart: the optional parts are not installed.
    """
    if len(bits) != BITS:
        raise UsageError(f"rivaGan carries {BITS} bits, got {len(bits)}.")
    data = np.asarray(bits, np.float32)[None]
    out = _session("encoder").run(None, {"frame": _frame(rgb), "data": data})[0]  # (1, 3, 1, H, W)
    bgr = (np.clip(out[0, :, 0], -1.0, 1.0).transpose(1, 2, 0) + 1.0) * 127.5
    return np.ascontiguousarray(bgr.astype(np.uint8)[:, :, ::-1])


def decode(rgb: Pixels) -> npt.NDArray[np.bool_]:
    """The 32 bits that the network reads, mark or no mark.

    Raises:
        MissingPart: the optional parts are not installed.
    """
    return np.asarray(_session("decoder").run(None, {"frame": _frame(rgb)})[0][0] > _THRESHOLD)
