"""Rotary position embedding on a token grid (Su 2024; EVA-02's two-dimensional form, as UEPS uses it, spec E.4).

The first half of a head's channels turns with the token's row, the second half with its column, so that a dot product
of a query and a key depends on their positions only through (row difference, column difference).
"""

from __future__ import annotations

import torch
from torch import Tensor

Rotation = tuple[Tensor, Tensor]  # cosine and sine, each float32 (tokens, head_dim / 2), one per pair of channels


def rotation(grid: tuple[int, int], head_dim: int, device: torch.device | None = None) -> Rotation:
    """Cosines and sines for the row-major tokens of `grid` = (rows, columns); `head_dim` must be a multiple of 4.

    Per axis, pair i of the head_dim / 4 pairs turns by position x 10000^(-2i / (head_dim / 2)); positions are integers.
    """
    assert head_dim % 4 == 0, "two axes of rotary pairs need a head dimension that is a multiple of 4"
    pairs = head_dim // 4
    frequency = 10000.0 ** (-torch.arange(pairs, dtype=torch.float32, device=device) / pairs)
    row, column = (torch.arange(n, dtype=torch.float32, device=device)[:, None] * frequency for n in grid)
    angle = torch.cat(
        [
            row[:, None, :].expand(grid[0], grid[1], pairs),
            column[None, :, :].expand(grid[0], grid[1], pairs),
        ],
        dim=-1,
    ).reshape(grid[0] * grid[1], 2 * pairs)
    return angle.cos(), angle.sin()


def rotate(x: Tensor, turn: Rotation) -> Tensor:
    """Turn adjacent channel pairs (2i, 2i + 1) of queries or keys (..., tokens, head_dim); same shape and dtype."""
    cosine, sine = turn
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([even * cosine - odd * sine, even * sine + odd * cosine], dim=-1).flatten(-2).to(x.dtype)
