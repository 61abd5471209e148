"""Building blocks that the tokenizer's encoder and decoder share: those of VAR's VQ-VAE (Sec. 4.1, Supp. 9).

Names of submodules are VAR's, so that its weights load by name. Shapes: B images, C channels, H W pixels, E width of
the label embedding. Activations are SiLU, convolutions 3 x 3 with bias where nothing else is said.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def norm(channels: int) -> nn.GroupNorm:
    """Group normalisation: 32 groups at VAR's widths, fewer where groups would hold less than four channels.

    Groups of one channel would take a narrow network's contrast away: each channel's mean over the image.
    """
    groups = max(n for n in range(1, 33) if channels % n == 0 and (n == 1 or channels // n >= 4))
    return nn.GroupNorm(groups, channels, eps=1e-6)


class ResBlock(nn.Module):
    """Two convolutions beside a shortcut; (B, C_in, H, W) to (B, C_out, H, W).

    condition: width E of a label embedding (B, E), whose linear image scales and shifts the second norm's output
    (FiLM, Perez 2018). It starts at zero: a fresh block does what it does without a label. None: no label.
    """

    def __init__(self, channels_in: int, channels_out: int, condition: int | None = None) -> None:
        super().__init__()
        self.norm1 = norm(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.norm2 = norm(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        self.nin_shortcut = nn.Conv2d(channels_in, channels_out, 1) if channels_in != channels_out else nn.Identity()
        self.film = None
        if condition is not None:
            self.film = nn.Linear(condition, 2 * channels_out)
            nn.init.zeros_(self.film.weight)
            nn.init.zeros_(self.film.bias)

    def forward(self, x_BCHW: Tensor, label_BE: Tensor | None = None) -> Tensor:
        h = self.norm2(self.conv1(F.silu(self.norm1(x_BCHW))))
        if self.film is not None:
            assert label_BE is not None, "a block with FiLM needs a label"
            scale, shift = self.film(F.silu(label_BE))[:, :, None, None].chunk(2, dim=1)
            h = h * (1 + scale) + shift
        return self.nin_shortcut(x_BCHW) + self.conv2(F.silu(h))


class AttnBlock(nn.Module):
    """Self-attention of all pixels with one head as wide as the channels, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        tokens = self.qkv(self.norm(x_BCHW)).flatten(2).transpose(1, 2)  # (B, H W, 3 C)
        q, k, v = (part[:, None] for part in tokens.chunk(3, dim=-1))
        y = F.scaled_dot_product_attention(q, k, v)[:, 0]  # scaled by C^-1/2
        return x_BCHW + self.proj_out(y.transpose(1, 2).unflatten(2, x_BCHW.shape[-2:]))


class Downsample(nn.Module):
    """Half the size: a row and a column of zeros at the bottom and the right, then a convolution of stride 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.conv(F.pad(x_BCHW, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Twice the size: every pixel four times, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.conv(F.interpolate(x_BCHW, scale_factor=2, mode="nearest"))


class Middle(nn.Module):
    """Residual block, attention, residual block, at the lowest resolution."""

    def __init__(self, channels: int, condition: int | None = None) -> None:
        super().__init__()
        self.block_1 = ResBlock(channels, channels, condition)
        self.attn_1 = AttnBlock(channels)
        self.block_2 = ResBlock(channels, channels, condition)

    def forward(self, x_BCHW: Tensor, label_BE: Tensor | None = None) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x_BCHW, label_BE)), label_BE)


class Stage(nn.Module):
    """Residual blocks of one resolution, with attention behind each of them at the lowest one."""

    def __init__(
        self, channels_in: int, channels_out: int, blocks: int, attention: bool, condition: int | None = None
    ) -> None:
        super().__init__()
        widths = [channels_in] + [channels_out] * (blocks - 1)
        self.block = nn.ModuleList(ResBlock(width, channels_out, condition) for width in widths)
        self.attn = nn.ModuleList(AttnBlock(channels_out) for _ in range(blocks if attention else 0))

    def forward(self, x_BCHW: Tensor, label_BE: Tensor | None = None) -> Tensor:
        for number, block in enumerate(self.block):
            x_BCHW = block(x_BCHW, label_BE)
            if self.attn:
                x_BCHW = self.attn[number](x_BCHW)
        return x_BCHW
