"""LPIPS v0.1: learned perceptual image patch similarity (Zhang et al., CVPR 2018, arXiv 1801.03924)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from rekon.evaluation.perceptual.features import alexnet, read, vgg16

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # ImageNet's, for images in [-1, 1]
EPSILON = 1e-10  # added to a feature vector's length


class LPIPS(nn.Module):
    """Distance of two images: squared difference of unit feature vectors, weighted by channel, mean over pixels.

    backbone: torchvision's weights of AlexNet or VGG16 (`features.<n>.weight`, `.bias`); heads: the metric's own
    (`lin<k>.model.1.weight`, one per tap). Both safetensors; UserError where a tensor is missing or has another shape.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, network: Literal["alex", "vgg"], backbone: Path, heads: Path) -> None:
        super().__init__()
        self.taps = alexnet(backbone) if network == "alex" else vgg16(backbone)
        self.smallest = self.taps.smallest  # pixels a side
        shapes = {f"lin{tap}.model.1.weight": (1, count, 1, 1) for tap, count in enumerate(self.taps.channels)}
        self.heads = nn.ParameterList(read(heads, shapes).values()).requires_grad_(False)
        self.register_buffer("shift", torch.tensor(SHIFT).view(3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE).view(3, 1, 1), persistent=False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """first, second: float32 (batch, 3, H, W) in [-1, 1], at least `smallest` a side. Returns (batch,), >= 0."""
        features = [self.taps((image - self.shift) / self.scale) for image in (first, second)]
        total = first.new_zeros(len(first))
        for one, other, weights in zip(*features, self.heads, strict=True):
            total = total + (weights * (unit(one) - unit(other)) ** 2).sum(1).mean((1, 2))
        return total


def unit(features: Tensor) -> Tensor:
    """Divide the vector of channels (dim 1) at every pixel by its length."""
    # the library's norm, because its gradient is zero where the vector is, not 0 / 0
    return features / (torch.linalg.vector_norm(features, dim=1, keepdim=True) + EPSILON)
