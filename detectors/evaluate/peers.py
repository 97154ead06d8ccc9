"""Published detectors that are measured beside ours (torch; their weights are not ours to ship).

Each network is written from its paper and made to take its authors' weight files by name; nothing of theirs is copied
in. Feeding (size, crop or resize, normalisation) is what each one's own test script does.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from countermark.detectors.evaluate.scorers import Recipe
from countermark.provenance.errors import MissingPart

try:
    import torch
    from torch import Tensor, nn
    from torch.nn.functional import interpolate, pad, unfold
except ImportError:
    raise MissingPart("Measuring torch peers needs torch: pip install 'countermark[train]'.") from None

_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def _state(path: Path) -> dict[str, Tensor]:
    """A state dict, also where it is wrapped (`model`, `state_dict`) or its names have a `module.` in front."""
    state: Any = torch.load(path, map_location="cpu", weights_only=True)
    for key in ("model", "state_dict"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    return {key.removeprefix("module."): value for key, value in state.items()}


def _logit(network: nn.Module, two_classes: bool = False) -> Callable[[NDArray[np.float32]], float]:
    """The network as a function from float32 (1, 3, h, w) to the logit of "generated"."""
    network.eval()

    def run(batch: NDArray[np.float32]) -> float:
        with torch.inference_mode():
            out = network(torch.from_numpy(batch)).flatten()
        return float(out[1] - out[0]) if two_classes else float(out[0])

    return run


def _nearest_residual(x: Tensor) -> Tensor:
    """What nearest-neighbour halving and doubling loses (NPR, Tan et al., CVPR 2024)."""
    x = x[..., : x.shape[-2] // 2 * 2, : x.shape[-1] // 2 * 2]
    return x - interpolate(x[..., ::2, ::2], scale_factor=2, mode="nearest")


class _TinyLaDeDa(nn.Module):
    """Four convolutions with a receptive field of 5 x 5 on the NPR residual (Cavia et al., 2024)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 1, bias=False)
        self.conv2 = nn.Conv2d(8, 8, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        inner = nn.Module()
        inner.conv1, inner.bn1 = nn.Conv2d(8, 8, 1, bias=False), nn.BatchNorm2d(8)
        inner.conv2, inner.bn2 = nn.Conv2d(8, 8, 3, stride=2, bias=False), nn.BatchNorm2d(8)
        self.layer1 = nn.ModuleList([inner])
        self.fc = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        inner: Any = self.layer1[0]
        x = self.bn1(self.conv2(self.conv1(_nearest_residual(x)))).relu()
        x = inner.bn1(inner.conv1(x)).relu()
        x = inner.bn2(inner.conv2(x)).relu()
        return self.fc(x.mean(dim=(2, 3)))


class _FerretBlock(nn.Module):
    """Two dilations side by side, then a separable convolution, with a shortcut."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        dilated = nn.Module()
        dilated.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, groups=inside, bias=False)
        dilated.conv2 = nn.Conv2d(inside, outside, 3, stride, 2, dilation=2, groups=inside, bias=False)
        dilated.conv3 = nn.Conv2d(outside, outside, 1, bias=False)
        separable = nn.Module()
        separable.depth_wise = nn.Conv2d(outside, outside, 3, 1, 1, groups=outside, bias=False)
        separable.point_wise = nn.Conv2d(outside, outside, 1, bias=False)
        self.layers = nn.ModuleList([dilated, nn.BatchNorm2d(outside), nn.ReLU(), separable, nn.BatchNorm2d(outside)])
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inside != outside:
            self.shortcut = nn.Sequential(nn.Conv2d(inside, outside, 1, stride), nn.BatchNorm2d(outside))

    def forward(self, x: Tensor) -> Tensor:
        parts: Any = self.layers
        y = parts[0].conv3(parts[0].conv1(x) + parts[0].conv2(x))
        y = parts[1](y).relu()
        y = parts[4](parts[3].point_wise(parts[3].depth_wise(y)))
        return (y + self.shortcut(x)).relu()


class _FerretNet(nn.Module):
    """Each pixel minus the median of its eight neighbours, then a small network (Liang et al., NeurIPS 2025)."""

    def __init__(self, width: int, depths: tuple[int, ...] = (2, 2)) -> None:
        super().__init__()
        self.cbr1 = nn.Sequential(nn.Conv2d(3, width // 2, 3, 1, 1, bias=False), nn.BatchNorm2d(width // 2), nn.ReLU())
        self.cbr2 = nn.Sequential(nn.Conv2d(width // 2, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.feature = nn.Sequential()
        for depth in depths:
            blocks = [_FerretBlock(width, 2 * width, 2)]
            blocks += [_FerretBlock(2 * width, 2 * width, 1) for _ in range(depth - 1)]
            self.feature.append(nn.Sequential(*blocks))
            width *= 2
        self.feature.append(nn.Conv2d(width, width, 1, bias=False))
        self.logit = nn.Sequential(nn.Identity(), nn.Linear(width, 1))

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        around = unfold(pad(x, (1, 1, 1, 1)), 3).view(n, c, 9, h * w)
        neighbours = around[:, :, [0, 1, 2, 3, 5, 6, 7, 8]].median(dim=2).values.view(n, c, h, w)
        x = self.feature(self.cbr2(self.cbr1(x - neighbours)))
        return self.logit(x.mean(dim=(2, 3)))


class _Bottleneck(nn.Module):
    """ResNet's bottleneck with its stride in the 3 x 3 convolution."""

    def __init__(self, inside: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inside, planes, 1, bias=False), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False), nn.BatchNorm2d(planes)
        self.conv3, self.bn3 = nn.Conv2d(planes, 4 * planes, 1, bias=False), nn.BatchNorm2d(4 * planes)
        self.downsample: nn.Module | None = None
        if stride != 1 or inside != 4 * planes:
            self.downsample = nn.Sequential(
                nn.Conv2d(inside, 4 * planes, 1, stride, bias=False), nn.BatchNorm2d(4 * planes)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn2(self.conv2(y)).relu()
        y = self.bn3(self.conv3(y))
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


class _HalfResNet(nn.Module):
    """The first two stages of ResNet-50, as NPR and SAFE use it."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 3, 2, 1, bias=False), nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(_Bottleneck(64, 64, 1), *[_Bottleneck(256, 64, 1) for _ in range(2)])
        self.layer2 = nn.Sequential(_Bottleneck(256, 128, 2), *[_Bottleneck(512, 128, 1) for _ in range(3)])
        self.fc1 = nn.Linear(512, classes)

    def residual(self, x: Tensor) -> Tensor:
        return _nearest_residual(x) * 2 / 3

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.bn1(self.conv1(self.residual(x))).relu())
        return self.fc1(self.layer2(self.layer1(x)).mean(dim=(2, 3)))


class _Safe(_HalfResNet):
    """SAFE (Li et al., KDD 2025): the diagonal band of a bior1.3 wavelet, enlarged to the picture's size."""

    def __init__(self) -> None:
        super().__init__(2)

    def residual(self, x: Tensor) -> Tensor:
        try:
            import pywt
        except ImportError:
            raise MissingPart("The peer SAFE needs pywavelets: pip install pywavelets.") from None
        _, (_, _, diagonal) = pywt.dwt2(x.numpy(), "bior1.3", mode="symmetric")
        return interpolate(torch.from_numpy(diagonal), x.shape[-2:], mode="bilinear", antialias=True)


def _tiny_ladeda(path: Path) -> Callable[[Any], float]:
    network = _TinyLaDeDa()
    network.load_state_dict(_state(path))
    return _logit(network)


def _ferretnet(path: Path) -> Callable[[Any], float]:
    state = _state(path)
    network = _FerretNet(int(state["cbr2.0.weight"].shape[0]))
    network.load_state_dict(state)
    return _logit(network)


def _npr(path: Path) -> Callable[[Any], float]:
    network = _HalfResNet(1)
    network.load_state_dict(_state(path))
    return _logit(network)


def _safe(path: Path) -> Callable[[Any], float]:
    network = _Safe()
    network.load_state_dict(_state(path))
    return _logit(network, two_classes=True)


def _cnndetection(path: Path) -> Callable[[Any], float]:
    from countermark.detectors.train.model import import_timm

    network: nn.Module = import_timm().create_model("resnet50.tv_in1k", pretrained=False, num_classes=1)
    network.load_state_dict(_state(path))
    return _logit(network)


def _community_forensics(path: Path) -> Callable[[Any], float]:
    from countermark.detectors.train.model import import_timm

    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        state = load_file(path)
    else:
        state = _state(path)
    network: nn.Module = import_timm().create_model("vit_small_patch16_384", pretrained=False, num_classes=1)
    network.load_state_dict({key.removeprefix("vit."): value for key, value in state.items()})
    return _logit(network)


def _universal(path: Path) -> Callable[[Any], float]:
    """A folder with `fc_weights.pth` (theirs) and `ViT-L-14.pt` (OpenAI's CLIP)."""
    from countermark.detectors.train.model import import_timm

    timm = import_timm()
    encoder: nn.Module = timm.create_model("vit_large_patch14_clip_quickgelu_224", pretrained=False, num_classes=768)
    archive: Any = torch.jit.load(str(path / "ViT-L-14.pt"), map_location="cpu")
    convert = timm.models.vision_transformer.checkpoint_filter_fn
    encoder.load_state_dict(convert({k: v.float() for k, v in archive.state_dict().items()}, encoder))
    head = nn.Linear(768, 1)
    head.load_state_dict(_state(path / "fc_weights.pth"))
    return _logit(nn.Sequential(encoder, head))


RECIPES: dict[str, Recipe] = {
    "tiny-ladeda": Recipe(
        _tiny_ladeda, 256, True, *_IMAGENET, "github.com/barcavia/RealTime-DeepfakeDetection-in-the-RealWorld"
    ),
    "ferretnet": Recipe(_ferretnet, 256, False, *_CLIP, "github.com/xigua7105/FerretNet"),
    "npr": Recipe(_npr, 256, True, *_IMAGENET, "github.com/chuangchuangtan/NPR-DeepfakeDetection"),
    "safe": Recipe(_safe, 256, False, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "github.com/Ouxiang-Li/SAFE"),
    "cnndetection": Recipe(_cnndetection, 224, False, *_IMAGENET, "github.com/PeterWang512/CNNDetection"),
    "universalfakedetect": Recipe(_universal, 224, False, *_CLIP, "github.com/WisconsinAIVision/UniversalFakeDetect"),
    "community-forensics": Recipe(
        _community_forensics, 384, True, *_IMAGENET, "github.com/JeongsooP/Community-Forensics"
    ),
}
