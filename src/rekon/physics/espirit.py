"""Coil sensitivity maps by ESPIRiT (Uecker et al., MRM 71:990, 2014), through sigpy."""

from __future__ import annotations

import numpy as np

from rekon.physics.fft import centre_crop


def espirit_maps(
    kspace: np.ndarray,
    width: int = 24,
    kernel: int = 6,
    threshold: float = 0.02,
    crop: float = 0.95,
    iterations: int = 30,
    virtual_coils: int = 12,
) -> np.ndarray:
    """Sensitivity maps from the fully sampled centre of k-space.

    kspace: complex (coil, H, W), of which only the central width x width samples are used (less where the matrix is
    smaller). Returns complex64 (coil, H, W) with sum over coils of |S|^2 = 1 inside the object and 0 where the
    largest eigenvalue is at most `crop`; the phase is relative to coil 0, or to the strongest
    virtual coil. `kernel` and `threshold` (relative singular value) shape the calibration matrix; `iterations` of
    the power method. One coil: 1 everywhere.

    More than `virtual_coils` coils are first compressed to that many (principal components of the calibration data;
    Huang et al., MRI 26:133, 2008), and the maps expanded again: the work grows with the cube of the coils, and large
    arrays see little more than a dozen independent profiles.
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

    basis = principal_coils(kspace, width, virtual_coils)  # (coil, virtual)
    maps = sigpy.mri.app.EspiritCalib(
        np.tensordot(basis.conj().T, kspace / largest, 1),
        calib_width=width,
        kernel_width=min(kernel, width),
        thresh=threshold,
        crop=crop,
        max_iter=iterations,
        show_pbar=False,
    ).run()
    # coil 0 without signal at a pixel leaves its phase, and with it every coil there, undefined
    maps = np.nan_to_num(np.tensordot(basis, maps, 1), copy=False)
    return np.ascontiguousarray(maps, dtype=np.complex64)


def principal_coils(kspace: np.ndarray, width: int, count: int) -> np.ndarray:
    """Orthonormal columns, complex64 (coil, min(coil, count)), that span most of the calibration data's energy.

    kspace: complex (coil, H, W). The identity where there is nothing to compress.
    """
    coils = len(kspace)
    if coils <= count:
        return np.eye(coils, dtype=np.complex64)
    centre = centre_crop(kspace, (width, width)).reshape(coils, -1)
    _, vectors = np.linalg.eigh(centre @ centre.conj().T)  # ascending eigenvalues
    return np.ascontiguousarray(vectors[:, ::-1][:, :count], dtype=np.complex64)
