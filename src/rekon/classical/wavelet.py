"""Compressed sensing: least squares with sparse wavelet coefficients, by sigpy's operators and FISTA."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rekon.config.classical import ClassicalModel
from rekon.evaluation.reconstructor import Reconstructor
from rekon.physics.coils import rss
from rekon.physics.fft import ifft2c

if TYPE_CHECKING:
    import torch

WAVELET = "db4"


class L1Wavelet(Reconstructor):
    """argmin_x 1/2 ||M F S x - y||^2 + λ ||W x||_1 (Lustig et al., MRM 58:1182, 2007), then |x| in RSS's scale.

    W: Daubechies-4 wavelets. λ: `model.regularisation` times the largest |Sᴴ Fᴴ y|, which, with maps whose powers sum
    to 1, is the zero-filled coil-combined image.
    """

    name = "l1-wavelet"
    needs_maps = True

    def __init__(self, model: ClassicalModel) -> None:
        assert model.method == "l1-wavelet", model.method
        self.model = model

    def __call__(self, kspace: torch.Tensor, mask: torch.Tensor, maps: torch.Tensor | None = None) -> torch.Tensor:
        """Shapes as in `rekon.evaluation.reconstructor`; computed on the CPU, returned on the input's device."""
        import torch

        assert maps is not None and maps.shape == kspace.shape, "l1-wavelet needs maps of the k-space's shape"
        image = l1_wavelet(kspace.cpu().numpy(), mask.cpu().numpy(), maps.cpu().numpy(), self.model)
        return torch.from_numpy(image).to(kspace.device)


def l1_wavelet(kspace: np.ndarray, mask: np.ndarray, maps: np.ndarray, model: ClassicalModel) -> np.ndarray:
    """The same on NumPy arrays; an image of zeros where the maps are zero throughout (an empty slice)."""
    import sigpy.mri.app

    power = rss(maps)
    largest = float(power.max()) ** 2
    if largest == 0:
        return np.zeros(kspace.shape[-2:], dtype=np.float32)
    measured = (kspace * mask).astype(np.complex64)
    backprojected = np.sum(maps.conj() * ifft2c(measured), axis=0)
    image = sigpy.mri.app.L1WaveletRecon(
        measured,
        maps.astype(np.complex64),
        model.regularisation * float(np.abs(backprojected).max()),
        weights=np.broadcast_to(mask, kspace.shape).astype(np.float32),
        wave_name=WAVELET,
        # the largest eigenvalue of the data term is at most max sum |S|^2, and nearly so (see `sense`); sigpy would
        # estimate it by power iterations that start from NumPy's global random numbers
        alpha=1 / largest,
        max_iter=model.iterations,
        show_pbar=False,
    ).run()
    return (np.abs(image) * power).astype(np.float32)
