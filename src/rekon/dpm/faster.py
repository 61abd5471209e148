"""Posterior sampling with fewer network evaluations than the published loop: its drop-in replacements, and warm starts.

All take and return what `rekon.dpm.posterior.dps` does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from rekon.dpm.posterior import guidance
from rekon.dpm.sampling import Denoise, slope, transitions
from rekon.physics.operator import SenseOperator

RIDGE, ITERATIONS = 0.01, 15  # of the SENSE image that a warm start adds noise to


def dps_heun(
    denoise: Denoise, operator: SenseOperator, kspace: Tensor, x: Tensor, sigmas: Sequence[float], zeta: float | Tensor
) -> Tensor:
    """Second-order steps of the prior: two evaluations a step, of which one is differentiated through."""
    for sigma, following in transitions(sigmas):
        estimate, misfit, gradient = guidance(denoise, operator, kspace, x, sigma)
        here = (x - estimate) / sigma
        if following:
            with torch.no_grad():
                here = (here + slope(denoise, x + (following - sigma) * here, following)) / 2
        x = x + (following - sigma) * here - zeta * gradient / misfit
    return x


@torch.no_grad()
def dds(
    denoise: Denoise,
    operator: SenseOperator,
    kspace: Tensor,
    x: Tensor,
    sigmas: Sequence[float],
    zeta: float | Tensor,
    iterations: int = 5,
    stochastic: float = 0.0,
    draw: Callable[[], Tensor] | None = None,
) -> Tensor:
    """Decomposed diffusion sampling (Chung et al. 2024) on EDM's noise levels: nothing is differentiated.

    The estimate D(x) becomes argmin_v zeta ||y - A v||^2 + ||v - D(x)||^2, by `iterations` of conjugate gradients from
    D(x), and gets noise of the next level back: what D(x) took away, or in part new noise from `draw` (unit noise like
    x). stochastic 0: none (DDIM); 1: as much as in ancestral sampling.
    """
    measured = operator.adjoint(kspace)
    for sigma, following in transitions(sigmas):
        estimate = denoise(x, sigma)
        removed = (x - estimate) / sigma
        agreed = conjugate_gradients(
            lambda v: v + zeta * operator.normal(v), estimate + zeta * measured, estimate, iterations
        )
        if stochastic and following:
            assert draw is not None
            new = stochastic * math.sqrt(1 - (following / sigma) ** 2)
            removed = math.sqrt(1 - new**2) * removed + new * draw()
        x = agreed + following * removed
    return x


def warm_start(operator: SenseOperator, kspace: Tensor, kind: str) -> Tensor:
    """What noise is added to instead of zero, complex64 (B, H, W): the zero-filled or the (ridge) SENSE image."""
    combined = operator.adjoint(kspace)
    if kind == "zero-filled":
        return combined
    assert kind == "sense", kind
    return conjugate_gradients(
        lambda v: operator.normal(v) + RIDGE * v, combined, torch.zeros_like(combined), ITERATIONS
    )


def conjugate_gradients(matrix: Callable[[Tensor], Tensor], right: Tensor, start: Tensor, iterations: int) -> Tensor:
    """Solve matrix(v) = right for a Hermitian positive definite matrix, each item of the batch (B, H, W) on its own.

    Converged items stay where they are.
    """
    solution = start
    residual = right - matrix(solution)
    direction, power = residual, _inner(residual, residual)
    smallest = torch.finfo(power.dtype).tiny
    for _ in range(iterations):
        product = matrix(direction)
        step = power / _inner(direction, product).clamp_min(smallest)
        solution = solution + step * direction
        residual = residual - step * product
        following = _inner(residual, residual)
        direction = residual + following / power.clamp_min(smallest) * direction
        power = following
    return solution


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """Real part of <a, b> per item, (B, 1, 1)."""
    return (a.conj() * b).real.sum(dim=(-2, -1), keepdim=True)
