"""The prior's network: the DDPM++ U-Net (Ho et al. 2020; Song et al. 2021) as EDM configures it, for any matrix size.

Levels halve the matrix by bilinear resizing, rounding down, and the way up takes each level's own size again, so no
side has to be a multiple of anything (the authors' change).

Suffixes: B images, C channels, H and W matrix, K labels, A numbers that say how an image was augmented, E embedding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, silu

from rekon.config.dpm import DiffusionModel
from rekon.dpm.augment import NUMBERS

Size = tuple[int, int]
Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)
_SILENT = 1e-5  # gain of layers that end a residual branch: at the start a block is (nearly) its skip path
_ATTENTION = math.sqrt(0.2)  # gain of queries, keys and values


class UNet(nn.Module):
    """F of EDM: (image, noise level, contrast, augmentation) -> image, all real channels."""

    def __init__(self, model: DiffusionModel) -> None:
        super().__init__()
        widths = [model.channels * multiplier for multiplier in model.multipliers]
        self.embedding = Embedding(model.channels, len(model.labels), model.label_dropout)
        lowest = len(widths) - 1

        def block(inside: int, outside: int, attention: bool = False, resized: bool = False) -> Block:
            return Block(inside, outside, self.embedding.width, attention, model.dropout, resized)

        self.first = _conv(2, model.channels, 3)
        self.encoder, skips, width = nn.ModuleList(), [model.channels], model.channels
        for level, outside in enumerate(widths):
            stage = nn.ModuleList()
            if level:
                stage.append(block(width, width, resized=True))
                skips.append(width)
            for _ in range(model.blocks):
                stage.append(block(width, outside, level in model.attention))
                width = outside
                skips.append(width)
            self.encoder.append(stage)
        self.decoder = nn.ModuleList()  # from the lowest level up
        for level, outside in reversed(list(enumerate(widths))):
            if level == lowest:
                stage = nn.ModuleList([block(width, width, attention=True), block(width, width)])
            else:
                stage = nn.ModuleList([block(width, width, resized=True)])
            for number in range(model.blocks + 1):
                stage.append(block(width + skips.pop(), outside, number == model.blocks and level in model.attention))
                width = outside
            self.decoder.append(stage)
        self.norm, self.last = _norm(width), _conv(width, 2, 3, _SILENT)

    def forward(self, x_B2HW: Tensor, noise_B: Tensor, label_BK: Tensor, augment_BA: Tensor | None = None) -> Tensor:
        """Real (B, 2, H, W). noise: c_noise of EDM; label: one-hot or zeros; augment: None for images as they are."""
        embedding_BE = self.embedding(noise_B, label_BK, augment_BA)
        sizes = [_halved(x_B2HW.shape[-2:], level) for level in range(len(self.encoder))]
        x = self.first(x_B2HW)
        skips = [x]
        for level, stage in enumerate(self.encoder):
            assert isinstance(stage, nn.ModuleList)
            for number, block in enumerate(stage):
                x = block(x, embedding_BE, sizes[level] if level and not number else None)
                skips.append(x)
        lowest = len(sizes) - 1
        for level, stage in zip(range(lowest, -1, -1), self.decoder, strict=True):
            assert isinstance(stage, nn.ModuleList)
            plain = 2 if level == lowest else 1  # blocks without a skip from the encoder
            for number, block in enumerate(stage):
                size = sizes[level] if level < lowest and not number else None
                x = block(x if number < plain else torch.cat([x, skips.pop()], 1), embedding_BE, size)
        return self.last(silu(self.norm(x)))


class Embedding(nn.Module):
    """Noise level, contrast and augmentation as one vector per image that every block receives."""

    def __init__(self, channels: int, labels: int, dropout: float) -> None:
        super().__init__()
        self.channels, self.dropout, self.width = channels, dropout, 4 * channels
        self.label = _xavier(nn.Linear(labels, channels))
        self.augment = _xavier(nn.Linear(NUMBERS, channels, bias=False))
        self.hidden, self.output = (_xavier(nn.Linear(n, self.width)) for n in (channels, self.width))

    def forward(self, noise_B: Tensor, label_BK: Tensor, augment_BA: Tensor | None) -> Tensor:
        """(B, E). In training a share of the labels is withheld, so that the prior also knows images of no label."""
        if self.training and self.dropout:
            kept = torch.rand(len(label_BK), 1, device=label_BK.device) >= self.dropout
            label_BK = label_BK * kept
        x = positions(noise_B, self.channels) + self.label(label_BK * math.sqrt(label_BK.shape[1]))
        if augment_BA is not None:
            x = x + self.augment(augment_BA)
        return silu(self.output(silu(self.hidden(x))))


class Block(nn.Module):
    """Two convolutions with the embedding added between, around them a skip path; then, maybe, self-attention.

    Sums of two branches are divided by sqrt 2, so that variances stay.
    """

    def __init__(
        self, inside: int, outside: int, embedding: int, attention: bool, dropout: float, resized: bool
    ) -> None:
        super().__init__()
        self.norm1, self.conv1 = _norm(inside), _conv(inside, outside, 3)
        self.embed = _xavier(nn.Linear(embedding, outside))
        self.norm2, self.conv2 = _norm(outside), _conv(outside, outside, 3, _SILENT)
        self.dropout = nn.Dropout(dropout)
        self.skip = _conv(inside, outside, 1) if resized or inside != outside else nn.Identity()
        self.attention = Attention(outside) if attention else None

    def forward(self, x: Tensor, embedding_BE: Tensor, size: Size | None = None) -> Tensor:
        """(B, C, H, W) to (B, outside, *size): branch and skip path are resized before their first convolutions."""
        h = self.conv1(resize(silu(self.norm1(x)), size))
        h = h + self.embed(embedding_BE)[:, :, None, None]
        h = self.conv2(self.dropout(silu(self.norm2(h))))
        x = (self.skip(resize(x, size)) + h) * math.sqrt(0.5)
        return x if self.attention is None else (x + self.attention(x)) * math.sqrt(0.5)


class Attention(nn.Module):
    """One head over all pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _norm(channels)
        self.qkv, self.out = _conv(channels, 3 * channels, 1, _ATTENTION), _conv(channels, channels, 1, _SILENT)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(self.norm(x)).flatten(2).transpose(1, 2)  # (B, H W, 3 C)
        q, k, v = (part.contiguous() for part in qkv.chunk(3, dim=2))
        return self.out(scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape))


def positions(noise_B: Tensor, channels: int) -> Tensor:
    """Sines, then cosines of c_noise at frequencies from 1 down to 1 / 10000: (B, channels)."""
    half = channels // 2
    frequencies = 10000.0 ** -(torch.arange(half, device=noise_B.device) / max(half - 1, 1))
    angles = noise_B.float()[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def resize(x: Tensor, size: Size | None) -> Tensor:
    """Bilinear resizing (`torch.nn.functional.interpolate`'s, whose backward has no deterministic form on a GPU)."""
    if size is None or tuple(x.shape[-2:]) == tuple(size):
        return x
    rows, columns = (_bilinear(old, new, x.device, x.dtype) for old, new in zip(x.shape[-2:], size, strict=True))
    return rows @ (x @ columns.T)


@lru_cache(maxsize=256)
def _bilinear(old: int, new: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(new, old): each row holds one new pixel's weights on the old ones."""
    weights = np.zeros((new, old))
    for i in range(new):
        at = min(max((i + 0.5) * old / new - 0.5, 0.0), old - 1.0)
        first = min(int(at), old - 1)
        weights[i, first] += 1 - (at - first)
        weights[i, min(first + 1, old - 1)] += at - first
    return torch.from_numpy(weights).to(device, dtype)


def _halved(size: Sequence[int], times: int) -> Size:
    return max(size[0] // 2**times, 1), max(size[1] // 2**times, 1)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(32, channels // 4), channels, eps=1e-6)


def _conv(inside: int, outside: int, kernel: int, gain: float = 1.0) -> nn.Conv2d:
    return _xavier(nn.Conv2d(inside, outside, kernel, padding=kernel // 2), gain)


def _xavier(layer: Layer, gain: float = 1.0) -> Layer:
    nn.init.xavier_uniform_(layer.weight, gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
