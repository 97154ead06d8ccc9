"""From the trained network to the file that is shipped: ONNX, fp32 and static int8, with its settings inside."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from countermark.datasets.pixels import load_rgb
from countermark.datasets.records import Record
from countermark.detectors.classifier import packing
from countermark.detectors.classifier.settings import KEY, Settings
from countermark.detectors.classifier.views import normalise, views
from countermark.detectors.train.encoder import to_runtime
from countermark.detectors.train.model import FrameScorer, Scorer
from countermark.provenance.errors import MissingPart

OPSET = 17


def to_onnx(model: Scorer, file: Path, size: int) -> None:
    """Write the CNN's fp32 graph; batch, height and width stay free (a larger input gives a finer map of cells)."""
    outputs = ["logit", "cells"] + ([] if model.outer is None else ["domains", "distance"])
    model.eval()
    quiet_export(model, file, size, outputs, {"cells": {0: "n", 1: "y", 2: "x"}}, any_size=True)


def frame_files(model: FrameScorer, folder: Path, side: int) -> str:
    """Write the frame network as a small graph and its packed weights; returns the digest of both.

    The encoder's matrices are int8 in the graph (dynamic quantisation, per channel) and lie in the packed file.
    """
    onnx = _onnx()
    graph = folder / packing.GRAPH
    model.eval()
    to_runtime(model, graph, side, ["logit", "domains", "distance"])
    proto = onnx.load(graph)
    tensors = {}
    for tensor in proto.graph.initializer:
        if tensor.name.endswith("_quantized") and np.prod(tensor.dims) > 1 << 16:
            tensors[tensor.name] = onnx.numpy_helper.to_array(tensor)
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value=packing.WEIGHTS)
    graph.write_bytes(proto.SerializeToString())
    packed = packing.pack(tensors)
    (folder / packing.WEIGHTS).write_bytes(packed)
    return packing.digest(graph.read_bytes(), packed)


def quiet_export(
    model: nn.Module,
    file: Path,
    side: int,
    outputs: list[str],
    axes: dict[str, dict[int, str]] | None = None,
    any_size: bool = False,
) -> None:
    """torch's ONNX export of a module of `pixels` (N, 3, side, side) with named outputs, N free."""
    import warnings

    _onnx()
    free = {name: {0: "n"} for name in outputs} | (axes or {})
    free["pixels"] = {0: "n", 2: "h", 3: "w"} if any_size else {0: "n"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's warnings are about its own future
        torch.onnx.export(
            model.to(memory_format=torch.contiguous_format),
            (torch.zeros(1, 3, side, side),),
            str(file),
            input_names=["pixels"],
            output_names=outputs,
            dynamic_axes=free,
            opset_version=OPSET,
            dynamo=False,
        )


def quantise(source: Path, target: Path, records: Sequence[Record], size: int) -> None:
    """Static QDQ int8 of an fp32 file: weights per channel, activations calibrated on views of `records`.

    The head stays fp32: it is a thousandth of the work and most of the error.
    """
    _onnx()
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = target.with_suffix(".prepared.onnx")
    quant_pre_process(source, prepared, skip_symbolic_shape=True)
    quantize_static(
        prepared,
        target,
        _Views(records, size),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv"],
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
    )
    prepared.unlink()


class _Views:
    """Batches of network inputs, as onnxruntime's calibrator asks for them."""

    def __init__(self, records: Sequence[Record], size: int) -> None:
        self._rows: Iterator[dict[str, Any]] = (
            {"pixels": normalise(views(load_rgb(record.path), size, size)[1])} for record in records
        )

    def get_next(self) -> dict[str, Any] | None:
        return next(self._rows, None)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Asked for by onnxruntime's striding; the rows are read once, in order."""


def write_settings(file: Path, settings: Settings) -> None:
    """Put the settings into the model file's metadata, over older ones."""
    onnx = _onnx()
    model = onnx.load(file)
    kept = {p.key: p.value for p in model.metadata_props if p.key != KEY}
    onnx.helper.set_model_props(model, {**kept, KEY: json.dumps(settings.model_dump(mode="json"), sort_keys=True)})
    onnx.save(model, file)


def balanced(records: Sequence[Record], count: int, seed: int = 0) -> list[Record]:
    """`count` records spread over all groups, for calibrating activations."""
    rng = np.random.default_rng(seed)
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record.source, record.generator), []).append(record)
    chosen: list[Record] = []
    names = sorted(groups)
    while len(chosen) < count and names:
        for name in list(names):
            rows = groups[name]
            chosen.append(rows.pop(int(rng.integers(len(rows)))))
            if not rows:
                names.remove(name)
    return chosen[:count]


def _onnx() -> Any:
    try:
        import onnx
    except ImportError:
        raise MissingPart("Exporting the model needs onnx: pip install 'countermark[train]'.") from None
    return onnx
