"""Structural similarity as something to train on. Scores in tables come from `rekon.evaluation.metrics`."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Window = Literal["gaussian", "uniform"]


def ssim(x_BHW: Tensor, y_BHW: Tensor, window: Window = "gaussian", full_scale_B: Tensor | None = None) -> Tensor:
    """Structural similarity of each pair of images, (B,), over the pixels whose window fits.

    full_scale: what counts as it, per pair, > 0; None: 1. gaussian: 11 x 11 of deviation 1.5 pixels, weighted
    covariance (Wang 2004); uniform: 7 x 7, sample covariance (fastMRI, and `rekon.evaluation.metrics`).
    """
    if full_scale_B is not None:
        x_BHW, y_BHW = (image / full_scale_B[:, None, None] for image in (x_BHW, y_BHW))
    rows, columns = (_window(window, n, x_BHW.device) for n in x_BHW.shape[-2:])
    products = torch.stack([x_BHW, y_BHW, x_BHW * x_BHW, y_BHW * y_BHW, x_BHW * y_BHW]).float()
    with torch.autocast(x_BHW.device.type, enabled=False):  # variances are differences of nearly equal numbers
        x, y, xx, yy, xy = rows @ products @ columns.T
    unbiased = 49 / 48 if window == "uniform" else 1.0
    variances = (xx - x * x + yy - y * y) * unbiased
    covariance = (xy - x * y) * unbiased
    c1, c2 = 0.01**2, 0.03**2
    value = (2 * x * y + c1) * (2 * covariance + c2) / ((x * x + y * y + c1) * (variances + c2))
    return value.mean(dim=(1, 2))


@lru_cache(maxsize=16)
def _window(kind: Window, size: int, device: torch.device) -> Tensor:
    """Weighted means along one axis as a matrix (size - side + 1, size)."""
    if kind == "gaussian":
        weights = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    else:
        weights = np.ones(7)
    assert size >= len(weights), f"SSIM's window does not fit {size} pixels"
    matrix = np.zeros((size - len(weights) + 1, size))
    for i, row in enumerate(matrix):
        row[i : i + len(weights)] = weights / weights.sum()
    with torch.inference_mode(False):  # kept for whoever comes next, who may want gradients
        return torch.from_numpy(matrix).float().to(device)
