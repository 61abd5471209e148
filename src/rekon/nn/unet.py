"""fastMRI's U-Net (Ronneberger 2015; Zbontar 2018) and the normalising wrapper that VarNet puts around it.

Spec E.1. Parameters of Unet(c channels, 4 pools), 2 -> 2 channels: 18 -> 2.454 M, 60 -> 27.27 M, 64 -> 31.02 M.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_SLOPE = 0.2  # of every LeakyReLU


class ConvBlock(nn.Sequential):
    """Twice: 3 x 3 convolution without bias, instance norm without affine, LeakyReLU, channel dropout."""

    def __init__(self, channels_in: int, channels_out: int, dropout: float = 0.0) -> None:
        layers: list[nn.Module] = []
        for channels in (channels_in, channels_out):
            layers += [
                nn.Conv2d(channels, channels_out, 3, padding=1, bias=False),
                nn.InstanceNorm2d(channels_out),
                nn.LeakyReLU(_SLOPE, inplace=True),
            ]
            if dropout:
                layers.append(nn.Dropout2d(dropout))
        super().__init__(*layers)


class UpBlock(nn.Sequential):
    """Twice the size, half the channels: transposed 2 x 2 convolution without bias, instance norm, LeakyReLU."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(
            nn.ConvTranspose2d(channels_in, channels_out, 2, stride=2, bias=False),
            nn.InstanceNorm2d(channels_out),
            nn.LeakyReLU(_SLOPE, inplace=True),
        )


class Unet(nn.Module):
    """U-Net: real (N, in_channels, H, W) to (N, out_channels, H, W), any H and W of at least 2^(pools + 1).

    channels: width of the first level, doubled at each of `pools` 2 x 2 average poolings.
    """

    def __init__(
        self, channels: int, pools: int, in_channels: int = 2, out_channels: int = 2, dropout: float = 0.0
    ) -> None:
        super().__init__()
        widths = [channels * 2**level for level in range(pools + 1)]
        pairs = list(itertools.pairwise(widths))
        self.down = nn.ModuleList(
            ConvBlock(a, b, dropout) for a, b in zip([in_channels, *widths], widths, strict=False)
        )
        self.up = nn.ModuleList(UpBlock(b, a) for a, b in reversed(pairs))
        self.merge = nn.ModuleList(ConvBlock(2 * a, a, dropout) for a, _ in reversed(pairs))
        self.head = nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for block in self.down[:-1]:
            x = block(x)
            skips.append(x)
            x = F.avg_pool2d(x, 2)
        x = self.down[-1](x)
        for up, merge in zip(self.up, self.merge, strict=True):
            skip = skips.pop()
            x = _reflect_to(up(x), (skip.shape[-2], skip.shape[-1]))
            x = merge(torch.cat([x, skip], dim=1))
        return self.head(x)


class NormUnet(nn.Module):
    """U-Net between standardisation and its inverse: every channel of every sample gets mean 0 and deviation 1.

    Real (N, 2, H, W) to the same shape. With (real, imaginary) as channels this is fastMRI's grouping and UEPS's
    "per channel" alike. The image is zero-padded to a multiple of 2^pools on the way (fastMRI: of 16, its 4 pools).
    Statistics are taken in float32, whatever the autocast precision.
    """

    def __init__(self, channels: int, pools: int, in_channels: int = 2, dropout: float = 0.0) -> None:
        super().__init__()
        self.unet = Unet(channels, pools, in_channels, in_channels, dropout)
        self.multiple = 2**pools

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        deviation, mean = torch.std_mean(x, dim=(-2, -1), keepdim=True)  # unbiased
        deviation = deviation.clamp_min(torch.finfo(torch.float32).tiny)  # an all-zero channel stays zero, not NaN
        h, w = x.shape[-2:]
        up, left = -h % self.multiple // 2, -w % self.multiple // 2
        down, right = -h % self.multiple - up, -w % self.multiple - left
        y = self.unet(F.pad((x - mean) / deviation, (left, right, up, down)))
        return y[..., up : up + h, left : left + w].float() * deviation + mean


def _reflect_to(x: Tensor, size: tuple[int, int]) -> Tensor:
    """One reflected row or column more where pooling dropped an odd one."""
    down, right = size[0] - x.shape[-2], size[1] - x.shape[-1]
    return F.pad(x, (0, right, 0, down), mode="reflect") if down or right else x
