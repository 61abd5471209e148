"""Coil combination: root sum of squares, sensitivity-weighted combination, expansion. NumPy and torch alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch

Array = TypeVar("Array", np.ndarray, "torch.Tensor")


def rss(images: Array, dim: int = -3) -> Array:
    """Root sum of squares over the coil axis: complex (..., coil, H, W) to real (..., H, W).

    Differentiable in torch, with gradient zero (not NaN) where every coil is zero.
    """
    if isinstance(images, np.ndarray):
        coils = np.moveaxis(images, dim, 0)
        power = np.zeros(coils.shape[1:], dtype=coils.real.dtype)
        for coil in coils:  # one coil at a time stays in the processor's cache
            power += np.square(coil.real)
            if np.iscomplexobj(coil):
                power += np.square(coil.imag)
        return np.sqrt(power)
    import torch

    return torch.linalg.vector_norm(_as_real(images, dim), dim=(dim, -1) if dim >= 0 else (dim - 1, -1))


def coil_combine(images: Array, maps: Array, dim: int = -3) -> Array:
    """Minimum-variance estimate for white noise: sum conj(S) x / sum |S|^2, zero where all maps are zero.

    images, maps: complex (..., coil, H, W); returns complex (..., H, W). With normalised maps (sum |S|^2 = 1) it is
    the adjoint of `expand`.
    """
    combined = (maps.conj() * images).sum(dim)
    weight = (maps.real**2 + maps.imag**2).sum(dim)
    return combined / (weight + (weight == 0))


def expand(image: Array, maps: Array, dim: int = -3) -> Array:
    """What each coil sees of an image: complex (..., H, W) times maps (..., coil, H, W)."""
    return (np.expand_dims(image, dim) if isinstance(image, np.ndarray) else image.unsqueeze(dim)) * maps


def _as_real(x: torch.Tensor, dim: int) -> torch.Tensor:
    """A trailing axis (re, im), so that one norm runs over coils and parts and is smooth at zero."""
    import torch

    return torch.view_as_real(x) if x.is_complex() else x.unsqueeze(-1)
