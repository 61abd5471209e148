"""Zero-filled reconstruction: what was not measured is taken as zero."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rekon.evaluation.reconstructor import Reconstructor
from rekon.physics.coils import rss
from rekon.physics.fft import ifft2c

if TYPE_CHECKING:
    import torch


class ZeroFilled(Reconstructor):
    """RSS over coils of the inverse FFT (UEPS Eqs. 2-3 on the undersampled k-space)."""

    name = "zero-filled"
    needs_maps = False

    def __call__(self, kspace: torch.Tensor, mask: torch.Tensor, maps: torch.Tensor | None = None) -> torch.Tensor:
        """kspace: complex64 (coil, H, W), zero where not measured. Returns float32 (H, W)."""
        return rss(ifft2c(kspace), 0)
