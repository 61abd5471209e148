"""The terms of the tokenizer's objective (Eq. 3, Supp. 9), all on magnitude images, real (B, H, W), full scale 1."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from rekon.errors import UserError
from rekon.nn.ssim import ssim

__all__ = ["PerceptualLoss", "adversarial_loss", "discriminator_loss", "ssim"]


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
