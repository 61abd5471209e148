"""Attention on unit-length queries and keys, with a learned sharpness per head (Sec. 4.2; as in its ancestor VAR).

Suffixes: B batch, L tokens, N context tokens, C width, D width of the context, h heads, d width of a head.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize, scaled_dot_product_attention

SHARPEST = math.log(100)  # of the exponent that scales cosine similarities
KeysValues = tuple[Tensor, Tensor]  # each (B, h, tokens, d), keys scaled to unit length


def block_mask(ends: Sequence[int], device: torch.device | None = None) -> Tensor:
    """Who sees whom: bool (L, L), True where query i sees key j, which is when j's scale is i's or an earlier one.

    ends: number of tokens up to and with each scale. This is the definition; `attend` computes the same by blocks.
    """
    starts = (0, *ends[:-1])
    last = torch.cat([torch.full((end - start,), end) for start, end in zip(starts, ends, strict=True)])
    return (torch.arange(ends[-1]) < last[:, None]).to(device)


def attend(q_BhLd: Tensor, k_BhNd: Tensor, v_BhNd: Tensor, ends: Sequence[int]) -> Tensor:
    """Softmax attention of block-causal scales; returns (B, h, L, d).

    ends: as in `block_mask`, in the queries' tokens; keys that are there beyond the queries' number come first and are
    seen by all. One call per scale on the keys it may see does 60 % of the work of one call with the mask, whose
    scores would be computed and dropped, and leaves the fused kernels free of a mask.
    """
    past = k_BhNd.shape[2] - ends[-1]
    parts = [
        scaled_dot_product_attention(
            q_BhLd[:, :, start:end], k_BhNd[:, :, : past + end], v_BhNd[:, :, : past + end], scale=1.0
        )
        for start, end in pairwise((0, *ends))
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


class Cache:
    """Keys and values of the scales decoded so far, of one block."""

    def __init__(self) -> None:
        self.held: KeysValues | None = None

    def extended(self, keys: Tensor, values: Tensor) -> KeysValues:
        """What is held, then `keys` and `values`, which are held from now on."""
        if self.held is not None:
            keys, values = torch.cat([self.held[0], keys], dim=2), torch.cat([self.held[1], values], dim=2)
        self.held = (keys, values)
        return self.held


class _CosineAttention(nn.Module):
    """What self- and cross-attention share: heads, their sharpness, the output layer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.sharpness = nn.Parameter(torch.full((1, heads, 1, 1), math.log(4)))
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)

    def _split(self, x_BLC: Tensor) -> Tensor:
        return x_BLC.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _queries(self, q_BhLd: Tensor) -> Tensor:
        return (normalize(q_BhLd, dim=-1) * self.sharpness.clamp(max=SHARPEST).exp()).to(q_BhLd.dtype)

    def _keys(self, k_BhNd: Tensor) -> Tensor:
        return normalize(k_BhNd, dim=-1).to(k_BhNd.dtype)

    def _out(self, o_BhLd: Tensor) -> Tensor:
        return self.proj(o_BhLd.transpose(1, 2).flatten(2))


class SelfAttention(_CosineAttention):
    """Block-causal self-attention. Queries and values have a bias, keys have none."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads)
        self.qkv = nn.Linear(width, 3 * width, bias=False)

    def forward(self, x_BLC: Tensor, ends: Sequence[int], cache: Cache | None = None) -> Tensor:
        """x: (B, L, C); ends: see `attend`; cache: holds earlier scales, and x's from then on. Returns (B, L, C)."""
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        q, k, v = (self._split(part) for part in linear(x_BLC, self.qkv.weight, bias).chunk(3, dim=-1))
        k = self._keys(k)
        if cache is not None:
            k, v = cache.extended(k, v)
        return self._out(attend(self._queries(q), k, v, ends))


class CrossAttention(_CosineAttention):
    """Attention of tokens to features of an image; every token sees all of them."""

    def __init__(self, width: int, heads: int, context: int) -> None:
        super().__init__(width, heads)
        self.q = nn.Linear(width, width, bias=False)
        self.kv = nn.Linear(context, 2 * width, bias=False)

    def keys_values(self, context_BND: Tensor) -> KeysValues:
        """Keys and values of the context (B, N, D): the same for every scale, so computed once per image."""
        bias = torch.cat([torch.zeros_like(self.v_bias), self.v_bias])
        k, v = (self._split(part) for part in linear(context_BND, self.kv.weight, bias).chunk(2, dim=-1))
        return self._keys(k), v

    def forward(self, x_BLC: Tensor, context: KeysValues) -> Tensor:
        """x: (B, L, C); context: of `keys_values`. Returns (B, L, C)."""
        q = self._queries(self._split(linear(x_BLC, self.q.weight, self.q_bias)))
        return self._out(scaled_dot_product_attention(q, *context, scale=1.0))
