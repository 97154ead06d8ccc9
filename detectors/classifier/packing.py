"""The frame encoder's weights on disk: integers of few levels, Huffman coded, beside a graph that leaves them out.

A file is a line of JSON (tensor names, shapes and the codec) and one zlib stream of all int8 values in that order.
The stream uses Huffman codes alone: the values have no repeats worth searching for, and it comes within two percent
of their entropy.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from countermark.provenance.errors import UnreadableError

GRAPH, WEIGHTS = "frame.onnx", "frame.bin"
"""Names of the two files, beside the model file."""
_MOST = 400_000_000


def pack(tensors: Mapping[str, NDArray[np.int8]]) -> bytes:
    """The file's bytes; the tensors keep their order."""
    head = {"codec": "zlib-huffman/1", "tensors": [[name, list(value.shape)] for name, value in tensors.items()]}
    coder = zlib.compressobj(9, zlib.DEFLATED, 15, 9, zlib.Z_HUFFMAN_ONLY)
    body = b"".join(np.ascontiguousarray(value).tobytes() for value in tensors.values())
    return json.dumps(head).encode() + b"\n" + coder.compress(body) + coder.flush()


def unpack(data: bytes) -> dict[str, NDArray[np.int8]]:
    """Tensors of a file, by name.

    Raises:
        UnreadableError: the file is damaged or of another version.
    """
    try:
        head_line, _, body = data.partition(b"\n")
        head = json.loads(head_line)
        if head["codec"] != "zlib-huffman/1":
            raise UnreadableError(f"The classifier's weights use the codec {head['codec']!r}; known is zlib-huffman/1.")
        sizes = [int(np.prod(shape)) for _, shape in head["tensors"]]
        if sum(sizes) > _MOST:
            raise UnreadableError("The classifier's weights announce more than 400 million values.")
        values = np.frombuffer(zlib.decompressobj().decompress(body, sum(sizes)), np.int8)
        parts = np.split(values, np.cumsum(sizes)[:-1])
        return {name: part.reshape(shape) for (name, shape), part in zip(head["tensors"], parts, strict=True)}
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        raise UnreadableError(f"The classifier's weights are damaged: {error}") from None


def digest(graph: bytes, weights: bytes) -> str:
    """sha256 over both files."""
    return hashlib.sha256(hashlib.sha256(graph).digest() + hashlib.sha256(weights).digest()).hexdigest()
