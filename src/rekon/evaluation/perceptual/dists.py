"""DISTS: deep image structure and texture similarity (Ding et al., TPAMI 2020, arXiv 2004.07728)."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rekon.evaluation.perceptual.features import read, vgg16

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, for images in [0, 1]
C1 = C2 = 1e-6  # keep the quotients finite where means or variances vanish
FEATURES = 3 + 64 + 128 + 256 + 512 + 512  # feature maps: the image's own channels, then VGG16's taps


class DISTS(nn.Module):
    """Distance of two images: 1 - sum over feature maps of alpha * likeness of means + beta * correlation.

    The features are VGG16's, its pooling replaced by a smoothed L2 one. backbone: torchvision's weights of VGG16;
    weights: `alpha` and `beta` (1, 1475, 1, 1), >= 0. Both safetensors; UserError where a tensor is missing or has
    another shape.
    """

    mean: Tensor
    deviation: Tensor
    alpha: Tensor
    beta: Tensor

    def __init__(self, backbone: Path, weights: Path) -> None:
        super().__init__()
        own = read(weights, dict.fromkeys(("alpha", "beta"), (1, FEATURES, 1, 1)))
        total = own["alpha"].sum() + own["beta"].sum()
        for name, tensor in own.items():
            self.register_buffer(name, tensor.flatten() / total)
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(3, 1, 1), persistent=False)
        self.taps = vgg16(backbone, L2Pool)
        self.smallest = self.taps.smallest  # pixels a side

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """first, second: float32 (batch, 3, H, W) in [0, 1], at least `smallest` a side. Returns (batch,)."""
        features = [[image, *self.taps((image - self.mean) / self.deviation)] for image in (first, second)]
        unlike = [_unlikeness(one, other) for one, other in zip(*features, strict=True)]
        means, structure = (torch.cat(parts, dim=1) for parts in zip(*unlike, strict=True))
        # alpha and beta sum to one, so this is 1 - sum(alpha l + beta s), and exactly zero for equal images
        return (self.alpha * means + self.beta * structure).sum(1)


class L2Pool(nn.Module):
    """Square root of the local energy: squares, smoothed by a Hanning window of 3 x 3, every second pixel."""

    window: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        hanning = torch.tensor([0.5, 1.0, 0.5])
        window = torch.outer(hanning, hanning) / hanning.sum() ** 2
        self.register_buffer("window", window.repeat(channels, 1, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """image: (batch, channels, H, W)"""
        energy = F.conv2d(image**2, self.window, stride=2, padding=1, groups=len(self.window))
        return torch.sqrt(energy + 1e-12)


def _unlikeness(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """1 - l and 1 - s per feature map (batch, channels), of maps (batch, channels, h, w)."""
    mean_one, mean_other = one.mean((2, 3)), other.mean((2, 3))
    rest_one, rest_other = one - mean_one[..., None, None], other - mean_other[..., None, None]
    variances = (rest_one**2).mean((2, 3)) + (rest_other**2).mean((2, 3))
    means = (2 * mean_one * mean_other + C1) / (mean_one**2 + mean_other**2 + C1)
    structure = (2 * (rest_one * rest_other).mean((2, 3)) + C2) / (variances + C2)
    return 1 - means, 1 - structure
