"""The moving average of a network's weights, which is what draws images; its memory is counted in images, not steps."""

from __future__ import annotations

import torch
from torch import nn


def decay(seen: int, batch: int, half_life: float, rampup: float | None) -> float:
    """Share of the average that a step keeps.

    seen: images before the step; batch: images of the step; half_life: images after which a weight has half its
    influence left; rampup: the half-life is at most this share of `seen`, so that the first, random weights are
    forgotten. None: no such limit.
    """
    if rampup is not None:
        half_life = min(half_life, rampup * seen)
    return 0.5 ** (batch / half_life) if half_life > 0 else 0.0


@torch.no_grad()
def update(average: nn.Module, network: nn.Module, kept: float) -> None:
    """Let `average` follow `network`: kept * average + (1 - kept) * network, buffers copied."""
    pairs = list(zip(average.parameters(), network.parameters(), strict=True))
    torch._foreach_lerp_([old for old, _ in pairs], [new for _, new in pairs], 1 - kept)
    for old, new in zip(average.buffers(), network.buffers(), strict=True):
        old.copy_(new)
