"""ESPIRiT-SENSE: regularised least squares on the coil-combined image, by sigpy's operators and conjugate gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rekon.config.classical import ClassicalModel
from rekon.evaluation.reconstructor import Reconstructor

if TYPE_CHECKING:
    import torch


class Sense(Reconstructor):
    """argmin_x ||M F S x - y||^2 + ridge ||x||^2 (Pruessmann et al., MRM 46:638, 2001), then |x| in RSS's scale.

    `model.ridge` is relative to the largest eigenvalue of the data term. That is at most max sum |S|^2, and very
    nearly so, because the centre of k-space, where smooth images live, is fully sampled; the bound is used.
    """

    name = "sense"
    needs_maps = True

    def __init__(self, model: ClassicalModel) -> None:
        assert model.method == "sense", model.method
        self.model = model

    def __call__(self, kspace: torch.Tensor, mask: torch.Tensor, maps: torch.Tensor | None = None) -> torch.Tensor:
        """Shapes as in `rekon.evaluation.reconstructor`; computed on the CPU, returned on the input's device."""
        import torch

        assert maps is not None and maps.shape == kspace.shape, "SENSE needs maps of the k-space's shape"
        image = sense(kspace.cpu().numpy(), mask.cpu().numpy(), maps.cpu().numpy(), self.model)
        return torch.from_numpy(image).to(kspace.device)


def sense(kspace: np.ndarray, mask: np.ndarray, maps: np.ndarray, model: ClassicalModel) -> np.ndarray:
    """The same on NumPy arrays; an image of zeros where the maps are zero throughout (an empty slice)."""
    import sigpy
    import sigpy.mri

    power = np.sqrt(np.sum(maps.real**2 + maps.imag**2, axis=0))
    largest = float(power.max()) ** 2
    if largest == 0:
        return np.zeros(kspace.shape[-2:], dtype=np.float32)
    weights = np.broadcast_to(mask, kspace.shape).astype(np.float32)
    forward = sigpy.mri.linop.Sense(maps.astype(np.complex64), weights=weights)
    image = sigpy.app.LinearLeastSquares(
        forward, kspace * weights, lamda=model.ridge * largest, max_iter=model.iterations, show_pbar=False
    ).run()
    return (np.abs(image) * power).astype(np.float32)
