"""Drawing images from the prior: noise levels that fall to zero, and the two deterministic solvers of EDM.

The state is complex128 (B, H, W): 300 small steps add up. A denoiser maps it, at one noise level for all, to the
expected clean images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from rekon.dpm.edm import complex_noise

Denoise = Callable[[Tensor, float], Tensor]  # (complex (B, H, W), sigma) -> complex (B, H, W)


def schedule(steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> list[float]:
    """`steps` noise levels from sigma_max down to sigma_min, evenly spaced in sigma^(1/rho), then 0 (EDM Eq. 5)."""
    if steps == 1:
        return [sigma_max, 0.0]
    highest, lowest = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return [(highest + i / (steps - 1) * (lowest - highest)) ** rho for i in range(steps)] + [0.0]


def transitions(sigmas: Sequence[float]) -> Iterator[tuple[float, float]]:
    """(sigma, the next one) of every step."""
    return pairwise(sigmas)


def euler(denoise: Denoise, x: Tensor, sigmas: Sequence[float]) -> Tensor:
    """First order: one evaluation a step. x: complex (B, H, W), the image plus noise of sigmas[0]."""
    for sigma, following in transitions(sigmas):
        x = x + (following - sigma) * slope(denoise, x, sigma)
    return x


def heun(denoise: Denoise, x: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Second order (EDM Algorithm 1 without churn): two evaluations a step, one in the last."""
    for sigma, following in transitions(sigmas):
        here = slope(denoise, x, sigma)
        proposal = x + (following - sigma) * here
        if following:
            here = (here + slope(denoise, proposal, following)) / 2
            proposal = x + (following - sigma) * here
        x = proposal
    return x


def slope(denoise: Denoise, x: Tensor, sigma: float) -> Tensor:
    """dx / dsigma of the probability flow: away from the expected clean image (EDM Eq. 3)."""
    return (x - denoise(x, sigma)) / sigma


def noise(generators: Sequence[torch.Generator], samples: int, size: tuple[int, int], device: torch.device) -> Tensor:
    """Unit noise complex128 (len(generators), samples, H, W); a slice's noise is its generator's, in any batch."""
    draws = [complex_noise((samples, *size), generator, dtype=torch.complex128) for generator in generators]
    return torch.stack(draws).to(device)
