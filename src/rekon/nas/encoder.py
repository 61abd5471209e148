"""The tokenizer's label-informed encoder: VAR's, with FiLM in every residual block (Sec. 4.1, Supp. 9).

Shapes: B images, H W pixels, C channels, E width of the label embedding. Parameters at the paper's size: 44,107,872,
which are VAR's, plus 4,596,480 for FiLM and 512 for each of the 6 levels and 5 patterns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rekon.nas.blocks import Downsample, Middle, Stage, norm
from rekon.nn.channels import as_channels

IN_CHANNELS = 3  # real, imaginary, and zeros where VAR has its third colour


def as_input(x_BHW: Tensor) -> Tensor:
    """Complex (B, H, W) to the encoder's float32 (B, 3, H, W): real, imaginary, zeros."""
    channels = as_channels(x_BHW)
    return torch.cat([channels, torch.zeros_like(channels[:, :1])], dim=1)


class Labels(nn.Module):
    """Embedding (B, E) of acceleration level (B,) and pattern (B,): the sum of a row for each."""

    def __init__(self, levels: int, patterns: int, width: int) -> None:
        super().__init__()
        self.level = nn.Embedding(levels, width)
        self.pattern = nn.Embedding(patterns, width)

    def forward(self, level_B: Tensor, pattern_B: Tensor) -> Tensor:
        return self.level(level_B) + self.pattern(pattern_B)


class Encoder(nn.Module):
    """Image (B, 3, H, W) and its labels to a latent (B, latent, H / f, W / f), f = 2^(len(multipliers) - 1).

    channels times each of `multipliers` are the widths, from the image's resolution down; attention is at the lowest.
    levels, patterns: numbers of labels; condition: width of their embedding.
    """

    def __init__(
        self,
        channels: int,
        multipliers: Sequence[int],
        blocks: int,
        latent: int,
        levels: int,
        patterns: int,
        condition: int,
    ) -> None:
        super().__init__()
        widths = [channels * m for m in multipliers]
        last = len(widths) - 1
        self.labels = Labels(levels, patterns, condition)
        self.conv_in = nn.Conv2d(IN_CHANNELS, channels, 3, padding=1)
        self.down = nn.ModuleList()
        for number, (above, width) in enumerate(zip([channels, *widths], widths, strict=False)):
            stage = Stage(above, width, blocks, number == last, condition)
            if number < last:
                stage.downsample = Downsample(width)
            self.down.append(stage)
        self.mid = Middle(widths[-1], condition)
        self.norm_out = norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], latent, 3, padding=1)

    def forward(self, x_B3HW: Tensor, level_B: Tensor, pattern_B: Tensor) -> Tensor:
        return self.conv_out(F.silu(self.norm_out(self.features(x_B3HW, level_B, pattern_B)["mid"])))

    def features(self, x_B3HW: Tensor, level_B: Tensor, pattern_B: Tensor) -> dict[int | Literal["mid"], Tensor]:
        """Feature maps (B, C, H / 2^n, W / 2^n) after the blocks of stage n = 0, 1, ..., before its downsampling,
        and "mid", at the lowest resolution, after the middle blocks. level, pattern: int64 (B,)."""
        label_BE = self.labels(level_B, pattern_B)
        # convolutions of a CPU are up to twice as fast with the channels last; so are those of a GPU with TF32
        x = self.conv_in(x_B3HW.contiguous(memory_format=torch.channels_last))
        found: dict[int | Literal["mid"], Tensor] = {}
        for number, stage in enumerate(self.down):
            x = found[number] = stage(x, label_BE)
            if number < len(self.down) - 1:
                x = stage.get_submodule("downsample")(x)
        found["mid"] = self.mid(x, label_BE)
        return found
