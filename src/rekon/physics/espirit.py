"""Coil sensitivity maps by ESPIRiT (Uecker et al., MRM 71:990, 2014), through sigpy."""

from __future__ import annotations

import numpy as np


def espirit_maps(
    kspace: np.ndarray,
    width: int = 24,
    kernel: int = 6,
    threshold: float = 0.02,
    crop: float = 0.95,
    iterations: int = 30,
) -> np.ndarray:
    """Sensitivity maps from the fully sampled centre of k-space.

    kspace: complex (coil, H, W), of which only the central width x width samples are used (less where the matrix is
    smaller). Returns complex64 (coil, H, W) with sum over coils of |S|^2 = 1 inside the object and 0 where the
    largest eigenvalue is at most `crop`; the phase is relative to coil 0. `kernel` and `threshold` (relative singular
    value) shape the calibration matrix; `iterations` of the power method. One coil: 1 everywhere.
    """
    assert kspace.ndim == 3 and len(kspace), f"expected (coil, H, W), got {kspace.shape}"
    width = min(width, *kspace.shape[-2:])
    kspace = np.ascontiguousarray(kspace, dtype=np.complex64)
    largest = np.abs(kspace).max()
    if largest == 0:  # an empty slice has no sensitivities
        return np.zeros_like(kspace)
    if len(kspace) == 1:  # nothing to calibrate, and no eigenvalue that could tell object from background
        return np.ones_like(kspace)
    import sigpy.mri

    maps = sigpy.mri.app.EspiritCalib(
        kspace / largest,
        calib_width=width,
        kernel_width=min(kernel, width),
        thresh=threshold,
        crop=crop,
        max_iter=iterations,
        show_pbar=False,
    ).run()
    # coil 0 without signal at a pixel leaves its phase, and with it every coil there, undefined
    return np.nan_to_num(np.ascontiguousarray(maps, dtype=np.complex64), copy=False)
