"""Coil sensitivity maps from the autocalibration samples of the scan itself (E2EVarNet, Sriram et al. 2020).

Masks are bool (B or 1, 1, H or 1, W), so that they broadcast over coils and, if they sample whole columns, over the
readout.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from rekon.nn.channels import as_channels, as_complex
from rekon.physics.coils import rss
from rekon.physics.fft import ifft2c

Start = Literal["network", "ones", "acs"]


class SensitivityNetwork(nn.Module):
    """Maps of every coil on its own, until they are normalised.

    unet: real (N, 2, H, W) to the same shape. start: what its output is added to. `network`: nothing, fastMRI's;
    `ones`: constant maps; `acs`: the low-resolution coil images, the classical estimate.
    """

    def __init__(self, unet: nn.Module, start: Start = "network") -> None:
        super().__init__()
        self.unet, self.start = unet, start

    def forward(self, measured: Tensor, mask: Tensor) -> Tensor:
        """k-space complex64 (B, C, H, W) to maps complex64 (B, C, H, W) of RSS 1; zero for coils without data."""
        images = ifft2c(measured * acs_mask(mask))
        maps = as_complex(self.unet(as_channels(images.flatten(0, 1)))).unflatten(0, measured.shape[:2])
        if self.start != "network":
            maps = maps + (1 if self.start == "ones" else images)
        maps = maps * coil_mask(measured)
        return maps / rss(maps)[:, None].clamp_min(torch.finfo(torch.float32).tiny)


def broadcast_mask(mask: Tensor) -> Tensor:
    """Mask (B or 1, W) or, sampled along both axes, (B or 1, H, W), to (B or 1, 1, H or 1, W)."""
    return mask[:, None, None, :] if mask.ndim == 2 else mask[:, None, :, :]


def coil_mask(kspace: Tensor) -> Tensor:
    """Coils that hold data, bool (B, C, 1, 1): volumes with fewer coils are padded with zeros to make a batch."""
    return (kspace != 0).any(dim=(-2, -1), keepdim=True)


def acs_mask(mask: Tensor) -> Tensor:
    """The autocalibration region: the sampled run around the centre, as long on either side (fastMRI's rule).

    mask: bool (B or 1, 1, H or 1, W); returns the same shape. Of two axes the run is taken along each central line;
    where the rectangle of both is not fully sampled, as with spokes, the largest central square that is. Zero
    frequency always belongs to it, so that something is left to calibrate on whatever the pattern.
    """
    down, across = mask.shape[-2], mask.shape[-1]
    region = _central_run(mask[..., down // 2, :])[..., None, :]
    if down == 1:
        return region
    region = region & _central_run(mask[..., across // 2])[..., :, None]
    whole = (mask | ~region).all(-1, keepdim=True).all(-2, keepdim=True)
    ring = torch.maximum(_ring(down, mask.device)[:, None], _ring(across, mask.device))
    gap = torch.where(mask, max(down, across), ring).amin((-2, -1), keepdim=True)  # ring of the innermost one
    centre = torch.zeros_like(mask)
    centre[..., down // 2, across // 2] = True
    return torch.where(whole, region, (ring < gap) | centre)


def _ring(n: int, device: torch.device) -> Tensor:
    """Of each of n samples, int64 (n,): how many of its side lie between it and the centre, n // 2 itself having 0."""
    offset = torch.arange(n, device=device) - n // 2
    return torch.where(offset < 0, -1 - offset, offset)


def _central_run(line: Tensor) -> Tensor:
    """Of bool (..., n): True on the centre n // 2 - m ... n // 2 + m - 1, m samples without a gap on both sides.

    True on n // 2 alone, zero frequency, where m is 0.
    """
    n = line.shape[-1]
    centre = n // 2
    before = line[..., :centre].flip(-1).int().cumprod(-1).sum(-1)
    after = line[..., centre:].int().cumprod(-1).sum(-1)
    half = torch.minimum(before, after)[..., None]
    index = torch.arange(n, device=line.device)
    return (index >= centre - half) & (index < centre + half.clamp_min(1))
