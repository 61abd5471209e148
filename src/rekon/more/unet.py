"""The U-Net of channel attention blocks, in two parts: an encoder, and a decoder of which there may be several.

No normalisation layers anywhere. Levels are counted from the finest, E1; tensors are real (N, C, h, w), and a level's
h and w are half the ones above it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rekon.config.more import ExpertsModel
from rekon.nn.cab import CAB, cabs


class Encoder(nn.Module):
    """Image channels to features E1 ... of every level: blocks, and a strided convolution down to the next."""

    def __init__(self, channels: int, widths: Sequence[int], blocks: Sequence[int]) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, widths[0], 3, padding=1, bias=False)
        self.levels = nn.ModuleList(cabs(width, count) for width, count in zip(widths, blocks, strict=False))
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in itertools.pairwise(widths))

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.first(x)
        features = []
        for level, down in zip(self.levels, self.down, strict=True):
            features.append(level(x))
            x = down(features[-1])
        return [*features, x]


class Neck(nn.Module):
    """What lies between: blocks on the skip connections and, at the lowest level, the bottleneck. Shapes stay."""

    def __init__(self, widths: Sequence[int], skip: Sequence[int], bottleneck: int) -> None:
        super().__init__()
        counts = [*skip, bottleneck]
        self.levels = nn.ModuleList(cabs(width, count) for width, count in zip(widths, counts, strict=True))

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return [level(x) for level, x in zip(self.levels, features, strict=True)]


class Prompt(nn.Module):
    """Fixed images of features, mixed by the means of the sample's own (PromptMR, Xin et al. 2023). They never learn.

    (N, inside, h, w) to (N, channels, h, w).
    """

    images: Tensor

    def __init__(self, inside: int, channels: int, tokens: int, size: int) -> None:
        super().__init__()
        self.channels = channels
        self.mix = nn.Linear(inside, tokens)
        self.register_buffer("images", torch.rand(tokens, channels, size, size))
        self.last = nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.mix(x.mean(dim=(-2, -1))).softmax(dim=1)
        images = F.interpolate(self.images, x.shape[-2:], mode="bilinear", align_corners=False)
        return self.last(torch.einsum("nt,tchw->nchw", weights, images))


class UpBlock(nn.Module):
    """Blocks, twice the size by bilinear interpolation, mean with the skip connection, one more block."""

    def __init__(self, inside: int, outside: int, blocks: int, prompt: Prompt | None = None) -> None:
        super().__init__()
        width = inside + (prompt.channels if prompt else 0)
        self.prompt = prompt
        self.blocks = cabs(width, blocks)
        self.reduce = nn.Conv2d(width, inside, 1, bias=False) if prompt else nn.Identity()
        self.narrow = nn.Conv2d(inside, outside, 1, bias=False)
        self.last = CAB(outside)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        if self.prompt is not None:
            x = torch.cat([x, self.prompt(x)], dim=1)
        # a 1 x 1 convolution and interpolation can change places; this way round it is a quarter of the work
        x = self.narrow(self.reduce(self.blocks(x)))
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        return self.last((x + skip) / 2)


class Decoder(nn.Module):
    """Features of all levels to image channels: a complete way up, with its own last convolution.

    neck: made part of it, where experts do not share one.
    """

    def __init__(self, model: ExpertsModel, channels: int, neck: Neck | None = None) -> None:
        super().__init__()
        self.neck = neck
        self.up = nn.ModuleList()
        for level in reversed(range(len(model.decoder))):
            prompt, (outside, inside) = None, model.widths[level : level + 2]
            if model.prompts:
                prompt = Prompt(inside, model.prompts.channels[level], model.prompts.tokens, model.prompts.sizes[level])
            self.up.append(UpBlock(inside, outside, model.decoder[level], prompt))
        self.last = nn.Conv2d(model.widths[0], channels, 5, padding=2, bias=False)

    def forward(self, features: list[Tensor]) -> Tensor:
        if self.neck is not None:
            features = self.neck(features)
        *skips, x = features
        for up, skip in zip(self.up, reversed(skips), strict=True):
            x = up(x, skip)
        return self.last(x)
