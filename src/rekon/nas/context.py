"""What the transformer is shown of the image: features of a copy of the tokenizer's encoder (Sec. 4.2).

Suffixes: B images, H W pixels, N tokens, D channels of a feature map.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import group_norm, pad

from rekon.config.nas import ContextSettings
from rekon.errors import UserError
from rekon.nas.encoder import as_input
from rekon.nas.tokenizer import NO_PATTERN, Tokenizer

Image = Literal["measured", "full"]
IMAGES: dict[str, tuple[Image, ...]] = {"measured": ("measured",), "full": ("full",), "both": ("measured", "full")}


class Context(nn.Module):
    """Feature maps as tokens, one set per entry of `settings.features`, with a fixed code of their place added.

    The encoder starts as a copy of the tokenizer's and is trained with the transformer, unless `settings.trainable`
    is off. A map is normalised as a whole, so that its code has the same weight whatever the encoder's scale. Of two
    images (`settings.image` "both") the maps lie side by side, along W: the code tells them apart.
    Raises UserError where `settings.features` names a level that the encoder does not have.
    """

    def __init__(self, settings: ContextSettings, tokenizer: Tokenizer, width: int) -> None:
        """width: of the transformer's tokens."""
        super().__init__()
        model = tokenizer.model
        last = len(model.multipliers) - 1
        for feature in settings.features:
            if feature != "mid" and not 0 <= feature <= last:
                raise UserError(
                    f"key 'model.context.features': {feature} is not a level of the tokenizer's encoder; "
                    f"it has 0 (the image's resolution) to {last}, then 'mid'."
                )
        self.settings = settings
        self.images = IMAGES[settings.image]
        self.labels = {"measured": 0, "full": len(model.grids) - 1}  # number of the acceleration level
        self.full_pattern = NO_PATTERN if model.full_label == "none" else None
        self.encoder = copy.deepcopy(tokenizer.encoder)
        del self.encoder.norm_out, self.encoder.conv_out  # they come after the last features
        self.encoder.requires_grad_(settings.trainable)  # whatever the tokenizer's own is
        levels = [last if feature == "mid" else feature for feature in settings.features]
        self.widths = [model.channels * model.multipliers[level] for level in levels]
        self.side = model.grids[-1]  # of the latent
        self.code_width = min(min(self.widths), width) // 4 * 4
        self.finest = 2 ** (last - min(levels))  # places of a map for one of the latent, per side
        for number, (level, channels) in enumerate(zip(levels, self.widths, strict=True)):
            code = self.code(self.side * 2 ** (last - level), len(self.images))
            self.register_buffer(f"code_{number}", pad(code, (0, channels - self.code_width)), persistent=False)

    def code(self, side: int, images: int = 1) -> Tensor:
        """The code of the places of a grid of `side` rows, of that many columns per image: float32 (N, `code_width`).

        It says where on the image a place is, in units of the latent's grid, so grids of any size share it.
        """
        down, across = ((torch.arange(n) + 0.5) * self.side / side - 0.5 for n in (side, side * images))
        return position_code(down, across, self.code_width, 4 / self.finest, 4 * self.side)

    def forward(self, images: Mapping[str, Tensor], pattern_B: Tensor) -> list[Tensor]:
        """Tokens (B, N, D) of each entry of `settings.features`.

        images: complex64 (B, H, W), by name, those of `self.images` at least; pattern: int64 (B,), how the measured
        one was sampled.
        """
        maps = []
        for name in self.images:
            label = torch.full_like(pattern_B, self.labels[name])
            pattern = pattern_B
            if name == "full" and self.full_pattern is not None:
                pattern = torch.full_like(pattern_B, self.full_pattern)
            with torch.set_grad_enabled(torch.is_grad_enabled() and self.settings.trainable):
                maps.append(self.encoder.features(as_input(images[name]), label, pattern))
        tokens = []
        for number, feature in enumerate(self.settings.features):
            found = [group_norm(features[feature], 1) for features in maps]
            side_by_side = found[0] if len(found) == 1 else torch.cat(found, dim=3)
            tokens.append(side_by_side.flatten(2).transpose(1, 2) + self.get_buffer(f"code_{number}"))
        return tokens


def position_code(down: Tensor, across: Tensor, width: int, shortest: float, longest: float) -> Tensor:
    """Sines and cosines of row and column, as tokens in row-major order: (len(down) * len(across), width).

    down, across: coordinates of the rows and columns. A quarter of the channels each for sine and cosine of the row
    and of the column, at wavelengths in geometric steps from `shortest` to `longest` (Vaswani 2017, Sec. 3.5, on both
    axes). Mean square 1.
    """
    steps = torch.linspace(0, 1, width // 4)
    rate = 2 * math.pi / shortest * (shortest / longest) ** steps
    grid = torch.meshgrid(down, across, indexing="ij")
    angles = [place.reshape(-1, 1) * rate for place in grid]
    return math.sqrt(2) * torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], dim=1)
