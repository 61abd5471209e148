"""Complex images as two real channels (real, imaginary), and back."""

from __future__ import annotations

import torch
from torch import Tensor


def as_channels(x: Tensor) -> Tensor:
    """Complex (N, H, W) to float32 (N, 2, H, W): channel 0 real, channel 1 imaginary."""
    return torch.view_as_real(x).permute(0, 3, 1, 2).contiguous()


def as_complex(x: Tensor) -> Tensor:
    """Real (N, 2, H, W) of any precision to complex64 (N, H, W)."""
    return torch.view_as_complex(x.permute(0, 2, 3, 1).to(torch.float32).contiguous())
