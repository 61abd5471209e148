"""Diffusion posterior sampling, the published loop: Euler steps of the prior, each followed by a step towards the data.

What replaces it to save network evaluations is in `rekon.dpm.faster`; this loop stays what those are measured by.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rekon.dpm.sampling import Denoise, transitions
from rekon.physics.operator import SenseOperator


def dps(
    denoise: Denoise, operator: SenseOperator, kspace: Tensor, x: Tensor, sigmas: Sequence[float], zeta: float | Tensor
) -> Tensor:
    """Draw from the posterior of images given what the coils measured (Chung et al. 2023, as the authors run it).

    x' = x + (sigma' - sigma) (x - D(x)) / sigma - zeta grad_x ||y - A D(x)||^2 / ||y - A D(x)||

    The gradient goes through the network. kspace: y, complex64 (B, coil, H, W), zero where not sampled, scaled so that
    images have a maximum of about 1; x: complex128 (B, H, W), noise of sigmas[0]. Returns complex128 (B, H, W). zeta
    0 draws from the prior.
    """
    for sigma, following in transitions(sigmas):
        estimate, misfit, gradient = guidance(denoise, operator, kspace, x, sigma)
        x = x + (following - sigma) / sigma * (x - estimate) - zeta * gradient / misfit
    return x


def guidance(
    denoise: Denoise, operator: SenseOperator, kspace: Tensor, x: Tensor, sigma: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The prior's estimate D(x), (B, H, W); ||y - A D(x)||, (B, 1, 1); and the gradient in x of its square."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        estimate = denoise(x, sigma)
        misfit = torch.linalg.vector_norm(kspace - operator(estimate), dim=(-3, -2, -1), keepdim=True)[:, 0]
        (gradient,) = torch.autograd.grad(misfit.square().sum(), x)
    # an image that agrees with the data to the last digit has gradient zero, and is left alone
    return estimate.detach(), misfit.detach().clamp_min(torch.finfo(misfit.dtype).tiny), gradient
