"""The tokenizer's decoder: VAR's, as it is (Supp. 9). Parameters at the paper's size: 64,653,923."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rekon.nas.blocks import Middle, Stage, Upsample, norm

OUT_CHANNELS = 3  # real, imaginary, and one that nobody reads: VAR's third colour


class Decoder(nn.Module):
    """Latent (B, latent, h, w) to (B, 3, f h, f w), f = 2^(len(multipliers) - 1); mirrors the encoder.

    Every resolution has one residual block more than the encoder's; attention is at the lowest.
    """

    def __init__(self, channels: int, multipliers: Sequence[int], blocks: int, latent: int) -> None:
        super().__init__()
        widths = [channels * m for m in multipliers]
        last = len(widths) - 1
        self.conv_in = nn.Conv2d(latent, widths[-1], 3, padding=1)
        self.mid = Middle(widths[-1])
        self.up = nn.ModuleList()  # counted from the image's resolution, run from the last to the first
        for number, (width, below) in enumerate(zip(widths, [*widths[1:], widths[-1]], strict=True)):
            stage = Stage(below, width, blocks + 1, number == last)
            if number > 0:
                stage.upsample = Upsample(width)
            self.up.append(stage)
        self.norm_out = norm(widths[0])
        self.conv_out = nn.Conv2d(widths[0], OUT_CHANNELS, 3, padding=1)

    def forward(self, z_Bdhw: Tensor) -> Tensor:
        x = self.mid(self.conv_in(z_Bdhw.contiguous(memory_format=torch.channels_last)))
        for number, stage in reversed(list(enumerate(self.up))):
            x = stage(x)
            if number > 0:
                x = stage.get_submodule("upsample")(x)
        return self.conv_out(F.silu(self.norm_out(x)))
