"""The formulas of EDM (Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models", 2022).

Noise levels sigma count standard deviations per real channel; images have the standard deviation sigma_data.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from rekon.nn.channels import as_channels, as_complex


def c_skip(sigma: Tensor, sigma_data: float) -> Tensor:
    """Share of the noisy image in the estimate (Table 1): 1 without noise, 0 in noise alone."""
    return sigma_data**2 / (sigma**2 + sigma_data**2)


def c_out(sigma: Tensor, sigma_data: float) -> Tensor:
    """What the network's output is multiplied by: 0 without noise, sigma_data in noise alone."""
    return sigma * sigma_data / (sigma**2 + sigma_data**2).sqrt()


def c_in(sigma: Tensor, sigma_data: float) -> Tensor:
    """What brings the network's input to unit variance."""
    return 1 / (sigma**2 + sigma_data**2).sqrt()


def c_noise(sigma: Tensor) -> Tensor:
    """What the network is told of the noise level."""
    return sigma.log() / 4


def weight(sigma: Tensor, sigma_data: float) -> Tensor:
    """Of a noise level in the loss: 1 / c_out^2, so that every level's network output counts alike."""
    return (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2


def noise_level(normal: Tensor, mean: float, std: float) -> Tensor:
    """Noise levels of training from standard normal numbers: log-normal, most of them where learning pays."""
    return (mean + std * normal).exp()


def spread_levels(uniform: Tensor, mean: float, std: float) -> Tensor:
    """n noise levels (n,) of that distribution, one in each n-th of it; from n uniform numbers, for fair validation."""
    count = len(uniform)
    share = (torch.arange(count, dtype=torch.float64) + uniform.double().clamp(1e-3, 1 - 1e-3)) / count
    return noise_level(torch.special.ndtri(share), mean, std).float()


class Denoiser(nn.Module):
    """D(x; sigma) = c_skip x + c_out F(c_in x; c_noise): the expected clean image of a noisy one (Eq. 7)."""

    def __init__(self, network: nn.Module, sigma_data: float) -> None:
        """network: (x_B2HW, noise_B, label_BK, augment_BA or None) -> (B, 2, H, W), real."""
        super().__init__()
        self.network, self.sigma_data = network, sigma_data

    def forward(self, noisy: Tensor, sigma: Tensor, label: Tensor, augment: Tensor | None = None) -> Tensor:
        """The estimate, complex64 (B, H, W).

        noisy: complex (B, H, W); sigma: (B,), positive; label: one-hot float32 (B, labels), zeros for none; augment:
        float32 (B, 7), see `rekon.dpm.augment`; None: as it is.
        """
        sigma = sigma.float()
        x, level = as_channels(noisy.to(torch.complex64)), sigma[:, None, None, None]
        output = self.network(c_in(level, self.sigma_data) * x, c_noise(sigma), label, augment).float()
        return as_complex(c_skip(level, self.sigma_data) * x + c_out(level, self.sigma_data) * output)

    def losses(self, clean: Tensor, noise: Tensor, sigma: Tensor, label: Tensor, augment: Tensor | None) -> Tensor:
        """Weighted squared error of the estimate of clean + sigma noise, summed over pixels and channels: (B,) (Eq. 2).

        clean: complex64 (B, H, W); noise: complex64, unit variance in each of real and imaginary part.
        """
        level = sigma[:, None, None]
        error = torch.view_as_real(self(clean + level * noise, sigma, label, augment) - clean)
        return weight(sigma, self.sigma_data) * error.square().sum(dim=(1, 2, 3))


def complex_noise(shape: tuple[int, ...], generator: torch.Generator | None = None, **kind: object) -> Tensor:
    """Complex noise of unit variance in each of its two parts (torch's own complex normal has a half)."""
    dtype = kind.pop("dtype", torch.complex64)
    return torch.randn(shape, generator=generator, dtype=dtype, **kind) * math.sqrt(2)  # type: ignore[call-overload]
