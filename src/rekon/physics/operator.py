"""The multi-coil Cartesian forward model A = M F S and its adjoint."""

from __future__ import annotations

import torch

from rekon.physics.coils import expand
from rekon.physics.fft import fft2c, ifft2c


class SenseOperator:
    """Image -> what the coils measure of it: sensitivities, Fourier transform, sampling.

    maps: complex (..., coil, H, W); mask: bool (W,) or (H, W). Adjoint: <A x, y> = <x, A^H y>.
    """

    def __init__(self, maps: torch.Tensor, mask: torch.Tensor):
        if tuple(mask.shape) not in (tuple(maps.shape[-1:]), tuple(maps.shape[-2:])):
            raise ValueError(f"mask of shape {tuple(mask.shape)} does not fit maps of shape {tuple(maps.shape)}")
        self.maps = maps
        self.mask = mask.to(device=maps.device)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Complex (..., H, W) to masked k-space (..., coil, H, W)."""
        return fft2c(expand(image, self.maps)) * self.mask

    def adjoint(self, kspace: torch.Tensor) -> torch.Tensor:
        """k-space (..., coil, H, W) to image (..., H, W): sum over coils of conj(S) F^-1 M k."""
        return (self.maps.conj() * ifft2c(kspace * self.mask)).sum(-3)

    def normal(self, image: torch.Tensor) -> torch.Tensor:
        """A^H A, what conjugate gradients iterate on."""
        return self.adjoint(self.forward(image))

    __call__ = forward
