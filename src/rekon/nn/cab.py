"""Channel attention blocks without normalisation layers (RCAN, Zhang et al. 2018, as PromptMR and MoRE use them)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_SQUEEZE = 4  # channels per hidden one of the attention


class ChannelAttention(nn.Module):
    """Every channel times a number in (0, 1) that the means of all channels decide. Real (N, C, H, W) to the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = -(-channels // _SQUEEZE)
        self.squeeze = nn.Conv2d(channels, hidden, 1, bias=False)
        self.excite = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(dim=(-2, -1), keepdim=True)
        return x * torch.sigmoid(self.excite(F.relu(self.squeeze(mean))))


class CAB(nn.Module):
    """Mean of the input and of two 3 x 3 convolutions with a PReLU between and channel attention behind.

    Real (N, C, H, W) to the same shape. reduction: channels per channel between the convolutions. No biases.
    Parameters for C channels without reduction: 18 C^2 + 2 C ceil(C / 4) + 1.
    """

    def __init__(self, channels: int, reduction: int = 1) -> None:
        super().__init__()
        hidden = -(-channels // reduction)
        self.first = nn.Conv2d(channels, hidden, 3, padding=1, bias=False)
        self.activation = nn.PReLU()
        self.second = nn.Conv2d(hidden, channels, 3, padding=1, bias=False)
        self.attention = ChannelAttention(channels)

    def forward(self, x: Tensor) -> Tensor:
        # the mean, not the sum, which would grow from block to block where no normalisation layer stops it
        return (x + self.attention(self.second(self.activation(self.first(x))))) / 2


def cabs(channels: int, count: int, reduction: int = 1) -> nn.Sequential:
    """`count` blocks in a row."""
    return nn.Sequential(*(CAB(channels, reduction) for _ in range(count)))
