"""E2EVarNet (Sriram 2020) as UEPS's authors re-implemented it (UEPS Sec. 3.1, A.3; spec E.5): the bottom rung.

Differences from fastMRI's VarNet: the estimate lives in image space (Eqs. 5-8), the denoiser's output is not residual
but added through the maps (Eq. 5), and the sensitivity network starts from constant maps: (1 + 0j) + net(ACS image),
without normalising its input. The parameters are the same: 12 cascades of 18 channels and a sensitivity network of 8
channels, all with 4 pools, count 29,936,966.
"""

from __future__ import annotations

from torch import Tensor, nn

from rekon.nn.channels import as_channels, as_complex
from rekon.nn.sensitivity import SensitivityNetwork, broadcast_mask
from rekon.nn.unet import NormUnet, Unet
from rekon.physics.coils import rss
from rekon.physics.fft import fft2c, ifft2c
from rekon.ueps.cascade import Trace, scalar, soft_dc


class VarNetCascade(nn.Module):
    """One step: reduce the coils to one image, denoise it, expand it, return to the measurements (Eqs. 5-8)."""

    def __init__(self, channels: int, pools: int) -> None:
        super().__init__()
        self.denoiser = NormUnet(channels, pools)
        self.eta = scalar()

    def forward(self, x: Tensor, measured: Tensor, mask: Tensor, maps: Tensor) -> Tensor:
        """Coil images complex64 (B, C, H, W) to the same shape."""
        image = (maps.conj() * x).sum(dim=1)  # R
        x = x + maps * as_complex(self.denoiser(as_channels(image)))[:, None]  # Eq. 5
        k = fft2c(x)  # Eq. 6
        k = soft_dc(k, measured, mask, self.eta)  # Eqs. 7, 9
        return ifft2c(k)  # Eq. 8


class E2EVarNet(nn.Module):
    """Sensitivity maps once, then `cascades` steps with U-Nets."""

    def __init__(
        self, cascades: int, channels: int, pools: int, sensitivity_channels: int, sensitivity_pools: int
    ) -> None:
        super().__init__()
        self.sensitivity = SensitivityNetwork(Unet(sensitivity_channels, sensitivity_pools), start="ones")
        self.cascades = nn.ModuleList(VarNetCascade(channels, pools) for _ in range(cascades))

    def forward(self, kspace: Tensor, mask: Tensor, trace: Trace | None = None) -> Tensor:
        """Undersampled k-space complex64 (B, C, H, W) and its mask, bool (B or 1, W) or (B or 1, H, W), to an image.

        Returns the root sum of squares over coils, float32 (B, H, W). Coils without any data stay without output.
        """
        mask = broadcast_mask(mask)
        measured = kspace * mask  # what is not sampled must not be seen, whatever the caller left there
        maps = self.sensitivity(measured, mask)
        x = ifft2c(measured)
        for cascade in self.cascades:
            if trace is not None:
                trace.images.append(rss(x))
            x = cascade(x, measured, mask, maps)
        image = rss(x)
        if trace is not None:
            trace.images.append(image)
            trace.maps = maps
        return image
