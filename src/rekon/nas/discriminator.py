"""The tokenizer's adversary: trained heads on a frozen vision transformer (Sec. 4.1, Supp. 9; Sauer 2023).

Shapes: B images, H W pixels, T patch tokens, D width of the transformer. At the paper's size (ViT-B/16) the transformer
has 85,798,656 parameters, its four heads 23,614,468.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from rekon import safetensors
from rekon.config.nas import DiscriminatorSettings
from rekon.errors import UserError
from rekon.nas.resize import bicubic

_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # of CLIP's training images
_PREFIX = "visual.trunk."  # of the image transformer's tensors in open_clip's files
_UNTRAINED_SEED = 20230310  # of random weights; any number, as long as it stays
_TOGETHER = 8  # images that share statistics in a head's norm


class Discriminator(nn.Module):
    """Magnitude images (B, H, W), full scale 1, to one number per level and patch (B, levels T).

    weights: a .safetensors file with a ViT's tensors as `visual.trunk.*` (BiomedCLIP), by timm's names; None: random
    ones from a seed of their own, and `untrained` is True. Raises UserError where the file does not fit the settings.
    The transformer takes no gradient but passes it on to the images.
    """

    def __init__(self, settings: DiscriminatorSettings, weights: Path | None = None) -> None:
        super().__init__()
        self.image, self.untrained = settings.image, weights is None
        with torch.random.fork_rng(devices=[]):  # the weights of a backbone do not depend on the run's seed
            torch.manual_seed(_UNTRAINED_SEED)
            self.backbone = VisionTransformer(
                settings.image, settings.patch, settings.width, settings.depth, settings.heads, settings.levels
            )
        if weights is not None:
            _load(self.backbone, weights)
        self.backbone.requires_grad_(False)
        self.heads = nn.ModuleList(Head(settings.width) for _ in settings.levels)

    def forward(self, x_BHW: Tensor) -> Tensor:
        return self.judge(self.features(x_BHW))

    def features(self, x_BHW: Tensor) -> list[Tensor]:
        """The frozen transformer's view of magnitude images: (B, D, T) per level."""
        grey_B1HW = bicubic(x_BHW, (self.image, self.image))[:, None]
        mean, std = (torch.tensor(values, device=x_BHW.device)[:, None, None] for values in (_MEAN, _STD))
        return self.backbone((grey_B1HW - mean) / std)

    def judge(self, features: list[Tensor]) -> Tensor:
        """Outputs (B, levels T) of the heads on the features of all levels; 1 means reference, 0 reconstruction."""
        return torch.cat([head(level) for head, level in zip(self.heads, features, strict=True)], dim=1)


class Head(nn.Module):
    """Features (B, D, T) to (B, T): a pointwise convolution, a residual one of width 9 that is closed to a ring, and a
    pointwise one to a single channel; all with spectral norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Sequential(_convolution(width, width, 1), LocalNorm(width), nn.LeakyReLU(0.2))
        self.near = nn.Sequential(_convolution(width, width, 9), LocalNorm(width), nn.LeakyReLU(0.2))
        self.out = _convolution(width, 1, 1)

    def forward(self, x_BDT: Tensor) -> Tensor:
        x_BDT = self.mix(x_BDT)
        return self.out((x_BDT + self.near(x_BDT)) / math.sqrt(2))[:, 0]


class LocalNorm(nn.Module):
    """Batch normalisation within groups of up to eight images, without memory of other batches.

    Groups are equal: where 8 do not divide the batch they are the largest smaller ones that do.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x_BDT: Tensor) -> Tensor:
        size = max(n for n in range(1, _TOGETHER + 1) if len(x_BDT) % n == 0)
        groups = x_BDT.unflatten(0, (-1, size))
        variance, mean = torch.var_mean(groups, dim=(1, 3), keepdim=True, correction=0)
        normal = ((groups - mean) * (variance + 1e-5).rsqrt()).flatten(0, 1)
        return normal * self.weight[:, None] + self.bias[:, None]


class VisionTransformer(nn.Module):
    """A ViT under timm's names; image (B, 3, image, image) to the normed patch tokens (B, D, T) of some blocks."""

    def __init__(self, image: int, patch: int, width: int, depth: int, heads: int, levels: tuple[int, ...]) -> None:
        super().__init__()
        self.levels = levels
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, (image // patch) ** 2 + 1, width))
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, width, patch, stride=patch)
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x_B3HW: Tensor) -> list[Tensor]:
        patches = self.patch_embed.get_submodule("proj")(x_B3HW).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1) + self.pos_embed
        found = {}
        for number, block in enumerate(self.blocks[: max(self.levels) + 1]):
            x = block(x)
            if number in self.levels:
                found[number] = self.norm(x)[:, 1:].transpose(1, 2)
        return [found[number] for number in self.levels]


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = _Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = _Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class _Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


def _convolution(channels_in: int, channels_out: int, side: int) -> nn.Module:
    return spectral_norm(
        nn.Conv1d(channels_in, channels_out, side, padding=side // 2, padding_mode="circular" if side > 1 else "zeros")
    )


def _load(backbone: VisionTransformer, path: Path) -> None:
    tensors, _ = safetensors.read(path)
    given = {key.removeprefix(_PREFIX): value for key, value in tensors.items() if key.startswith(_PREFIX)}
    for key, wanted in backbone.state_dict().items():
        if key not in given:
            raise UserError(
                f"{path}: tensor '{_PREFIX}{key}' is missing; set key 'model.discriminator.backbone: null'."
            )
        if given[key].shape != wanted.shape:
            raise UserError(
                f"{path}: tensor '{_PREFIX}{key}' is {tuple(given[key].shape)}, section 'model.discriminator' asks for "
                f"{tuple(wanted.shape)}; give the sizes of these weights there."
            )
    backbone.load_state_dict({key: given[key] for key in backbone.state_dict()})
