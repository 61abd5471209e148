"""Image quality of one slice. The only place where PSNR, SSIM and NMSE are defined; LPIPS and DISTS: `perceptual`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from skimage.metrics import structural_similarity

WINDOW = 7  # SSIM's side, pixels: skimage's default, used by fastMRI and UEPS
HIGHER_IS_BETTER = {
    "psnr": True, "ssim": True, "nmse": False, "nrmse": False, "lpips_alex": False, "lpips_vgg": False, "dists": False,
    "milliseconds": False,
}  # fmt: skip


class Score(NamedTuple):
    """Quality of one slice: PSNR in dB, SSIM in [-1, 1], NMSE and NRMSE without unit."""

    psnr: float
    ssim: float
    nmse: float
    nrmse: float  # square root of nmse


def psnr(target: np.ndarray, reconstruction: np.ndarray, data_range: float) -> float:
    """Peak signal-to-noise ratio, 10 log10(data_range^2 / MSE), in dB; infinite for equal images."""
    target, reconstruction = _pair(target, reconstruction, data_range)
    error = float(np.mean((target - reconstruction) ** 2))
    # written out: skimage's own (a test compares) would load scipy.stats, a second in every evaluation job
    return 10 * float(np.log10(data_range**2 / error)) if error > 0 else float("inf")


def ssim(target: np.ndarray, reconstruction: np.ndarray, data_range: float) -> float:
    """Mean structural similarity: 7x7 uniform window, sample covariance, k1 = 0.01, k2 = 0.03, border of 3 left out."""
    target, reconstruction = _pair(target, reconstruction, data_range)
    assert min(target.shape) >= WINDOW, f"SSIM needs images of at least {WINDOW} x {WINDOW}, got {target.shape}"
    return float(structural_similarity(target, reconstruction, win_size=WINDOW, data_range=data_range))


def nmse(target: np.ndarray, reconstruction: np.ndarray) -> float:
    """Normalised mean squared error, ||reconstruction - target||^2 / ||target||^2; NaN for an empty target."""
    target, reconstruction = _pair(target, reconstruction, 1.0)
    energy = float(np.sum(target**2))
    return float(np.sum((reconstruction - target) ** 2)) / energy if energy > 0 else float("nan")


def score(target: np.ndarray, reconstruction: np.ndarray, data_range: float) -> Score:
    """All metrics of a slice.

    target, reconstruction: real magnitude images (H, W); data_range: what counts as full scale, > 0, in the images'
    unit (UEPS: the maximum of the target's whole volume).
    """
    error = nmse(target, reconstruction)
    return Score(
        psnr(target, reconstruction, data_range), ssim(target, reconstruction, data_range), error, float(np.sqrt(error))
    )


def _pair(target: np.ndarray, reconstruction: np.ndarray, data_range: float) -> tuple[np.ndarray, np.ndarray]:
    """Both images in double precision: in float32, SSIM's variances lose digits where an image is nearly flat."""
    assert target.shape == reconstruction.shape and target.ndim == 2, (target.shape, reconstruction.shape)
    assert data_range > 0, f"data_range must be positive, got {data_range}"
    return np.asarray(target, dtype=np.float64), np.asarray(reconstruction, dtype=np.float64)
