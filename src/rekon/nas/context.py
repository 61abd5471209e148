"""What the transformer is shown of the image: features of a copy of the tokenizer's encoder (Sec. 4.2).

Suffixes: B images, H W pixels, N tokens, D channels of a feature map.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from rekon.config.nas import ContextSettings
from rekon.errors import UserError
from rekon.nas.encoder import as_input
from rekon.nas.tokenizer import NO_PATTERN, Tokenizer

Image = Literal["measured", "full"]
IMAGES: dict[str, tuple[Image, ...]] = {"measured": ("measured",), "full": ("full",), "both": ("measured", "full")}


class Context(nn.Module):
    """Feature maps as tokens, one set per entry of `settings.features`, with a fixed code of their position added.

    The encoder starts as a copy of the tokenizer's and is trained with the transformer, unless `settings.trainable`
    is off. Of two images (`settings.image` "both") the maps lie side by side, along W: they share a grid, so that the
    code tells them apart.
    Raises UserError where `settings.features` names a level that the encoder does not have.
    """

    def __init__(self, settings: ContextSettings, tokenizer: Tokenizer) -> None:
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
        for number, (level, width) in enumerate(zip(levels, self.widths, strict=True)):
            side = model.factor * model.grids[-1] // 2**level
            code = position_code(side, side * len(self.images), width)
            self.register_buffer(f"position_{number}", code, persistent=False)

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
            found = [features[feature] for features in maps]
            side_by_side = found[0] if len(found) == 1 else torch.cat(found, dim=3)
            position_ND = self.get_buffer(f"position_{number}")
            tokens.append(side_by_side.flatten(2).transpose(1, 2) + position_ND)
        return tokens


def position_code(rows: int, columns: int, width: int) -> Tensor:
    """Fixed sines and cosines of row and column: float32 (rows * columns, width), row-major.

    A quarter of the channels each for sine and cosine of the row and of the column, at wavelengths from 2 pi to
    20,000 pi grid steps, in geometric steps (Vaswani 2017, Sec. 3.5, on both axes); channels left over are zero.
    """
    quarter = width // 4
    rate = 10000 ** -(torch.arange(quarter) / max(quarter, 1))
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    angles = [place.reshape(-1, 1) * rate for place in (row, column)]
    code = torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], dim=1)
    return nn.functional.pad(code, (0, width - 4 * quarter))
