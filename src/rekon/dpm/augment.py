"""Augmentation of training images (EDM, Appendix F.2): flips, scaling, rotation, translation of both real channels.

The network is told what was done, in seven numbers, so that augmented images teach it without leaking into what it
draws: at sampling all seven are zero, "as it is".
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from rekon.config.dpm import AugmentSettings
from rekon.nn.channels import as_channels, as_complex

NUMBERS = 7  # mirrored, upside down, log2 of the scale, cos and sin of the angle (minus 1 and 0), two shifts


def augment(image: Tensor, settings: AugmentSettings, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """An image as it may also have been, complex64 (H, W), and the seven numbers that say how, float32 (7,).

    A pure function of the image and the generator, which gives the same number of draws whatever happens. Flips are
    exact; the others together are one bicubic interpolation, with the border mirrored outwards.
    """
    chance, uniform, normal = (draw(6, generator=generator) for draw in (torch.rand, torch.rand, torch.randn))
    happens = chance < settings.probability
    mirrored = settings.mirror and bool(uniform[0] < 0.5)
    upside_down = bool(happens[1] and uniform[1] < 0.5)
    scale = 2.0 ** (settings.scale * float(normal[2])) if happens[2] else 1.0
    angle = math.pi * settings.rotation * (2 * float(uniform[3]) - 1) if happens[3] else 0.0
    shift = [settings.translation * float(normal[4 + axis]) if happens[4] else 0.0 for axis in (0, 1)]  # of H, W
    flipped = [axis for axis, is_so in ((-1, mirrored), (-2, upside_down)) if is_so]
    numbers = [float(mirrored), float(upside_down), math.log2(scale), math.cos(angle) - 1, math.sin(angle), *shift]
    image = image.flip(flipped) if flipped else image
    if scale != 1 or angle or any(shift):
        image = _resampled(image, scale, angle, shift)
    return image, torch.tensor(numbers)


def _resampled(image: Tensor, scale: float, angle: float, shift: list[float]) -> Tensor:
    """Enlarged by `scale`, turned by `angle` (counter-clockwise, as shown), then moved by `shift` of each side."""
    height, width = image.shape
    cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
    # each new pixel's place in the old image; offsets from the centre in pixels, so that angles stay angles
    down = torch.arange(height)[:, None] - (height - 1) / 2 - shift[0] * height
    across = torch.arange(width)[None] - (width - 1) / 2 - shift[1] * width
    rows, columns = cos * down + sin * across, cos * across - sin * down
    grid = torch.stack([2 * columns / width, 2 * rows / height], dim=-1)[None].float()
    return as_complex(
        grid_sample(as_channels(image[None]), grid, mode="bicubic", padding_mode="reflection", align_corners=False)
    )[0]
