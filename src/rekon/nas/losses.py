"""The terms of the tokenizer's objective (Eq. 3, Supp. 9), all on magnitude images, real (B, H, W), full scale 1."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from rekon.errors import UserError

Window = Literal["gaussian", "uniform"]


def ssim(x_BHW: Tensor, y_BHW: Tensor, window: Window = "gaussian") -> Tensor:
    """Structural similarity of each pair of images, (B,); full scale 1, over the pixels whose window fits.

    gaussian: 11 x 11 of deviation 1.5 pixels, weighted covariance (Wang 2004); uniform: 7 x 7, sample covariance
    (fastMRI, and `rekon.evaluation.metrics`).
    """
    rows, columns = (_window(window, n, x_BHW.device) for n in x_BHW.shape[-2:])
    products = torch.stack([x_BHW, y_BHW, x_BHW * x_BHW, y_BHW * y_BHW, x_BHW * y_BHW]).float()
    x, y, xx, yy, xy = rows @ products @ columns.T
    unbiased = 49 / 48 if window == "uniform" else 1.0
    variances = (xx - x * x + yy - y * y) * unbiased
    covariance = (xy - x * y) * unbiased
    c1, c2 = 0.01**2, 0.03**2
    value = (2 * x * y + c1) * (2 * covariance + c2) / ((x * x + y * y + c1) * (variances + c2))
    return value.mean(dim=(1, 2))


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Least squares: reference images towards 1, reconstructions towards 0. Outputs of the discriminator, any shape."""
    return ((real - 1).square().mean() + fake.square().mean()) / 2


def adversarial_loss(fake: Tensor) -> Tensor:
    """What the tokenizer wants: reconstructions taken for references."""
    return (fake - 1).square().mean()


class PerceptualLoss(nn.Module):
    """LPIPS of magnitude images: grey as three equal colours, [0, 1] mapped to [-1, 1]. Frozen."""

    def __init__(self, name: Literal["lpips-vgg", "lpips-alex"], backbones: Mapping[str, Path]) -> None:
        """backbones: weight files by name. Raises UserError where one that `name` needs is missing."""
        super().__init__()
        network: Literal["alex", "vgg"] = "vgg" if name == "lpips-vgg" else "alex"
        features = {"vgg": "vgg16", "alex": "alexnet"}[network]
        for needed in (features, name):
            if needed not in backbones:
                raise UserError(
                    f"key 'model.losses.perceptual': needs the weights {needed!r}, which are not there; "
                    "set it to 0 or fetch them (rekon fetch-backbone)."
                )
        from rekon.evaluation.perceptual import LPIPS

        self.distance = LPIPS(network, backbones[features], backbones[name]).eval().requires_grad_(False)

    def forward(self, x_BHW: Tensor, y_BHW: Tensor) -> Tensor:
        """Mean distance, scalar."""
        x, y = ((2 * image - 1)[:, None].expand(-1, 3, -1, -1) for image in (x_BHW, y_BHW))
        return self.distance(x, y).mean()


@lru_cache(maxsize=16)
def _window(kind: Window, size: int, device: torch.device) -> Tensor:
    """Weighted means along one axis as a matrix (size - side + 1, size)."""
    if kind == "gaussian":
        weights = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    else:
        weights = np.ones(7)
    assert size >= len(weights), f"SSIM's window does not fit {size} pixels"
    matrix = np.zeros((size - len(weights) + 1, size))
    for i, row in enumerate(matrix):
        row[i : i + len(weights)] = weights / weights.sum()
    with torch.inference_mode(False):  # kept for whoever comes next, who may want gradients
        return torch.from_numpy(matrix).float().to(device)
