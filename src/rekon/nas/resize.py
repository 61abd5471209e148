"""Area and bicubic resizing as two small matrix products: rows, then columns.

Equal to `torch.nn.functional.interpolate` (modes "area" and "bicubic", align_corners=False), whose backward passes have
no deterministic form on a GPU.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

_A = -0.75  # of the cubic kernel, torch's


def area(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Real (..., H, W) to (..., *size): means over the pixels that a new pixel touches."""
    return _resize(x, size, "area")


def bicubic(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Real (..., H, W) to (..., *size) by cubic convolution; the border repeats outwards."""
    return _resize(x, size, "bicubic")


def _resize(x: Tensor, size: tuple[int, int], kind: str) -> Tensor:
    rows, columns = (_matrix(kind, old, new, x.device, x.dtype) for old, new in zip(x.shape[-2:], size, strict=True))
    if x.shape[-2] != size[0]:
        x = rows @ x
    if x.shape[-1] != size[1]:
        x = x @ columns.T
    return x


@lru_cache(maxsize=256)
def _matrix(kind: str, old: int, new: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(new, old): each row holds one new pixel's weights on the old ones."""
    weights = np.zeros((new, old))
    for i in range(new):
        if kind == "area":
            start, end = i * old // new, -(-(i + 1) * old // new)
            weights[i, start:end] = 1 / (end - start)
        else:
            centre = (i + 0.5) * old / new - 0.5
            first = math.floor(centre) - 1
            for j in range(first, first + 4):
                weights[i, min(max(j, 0), old - 1)] += _cubic(abs(centre - j))
    with torch.inference_mode(False):  # kept for whoever comes next, who may want gradients
        return torch.from_numpy(weights).to(device, dtype)


def _cubic(x: float) -> float:
    """Keys' kernel at distance x in [0, 2]."""
    if x <= 1:
        return (_A + 2) * x**3 - (_A + 3) * x**2 + 1
    return _A * (x**3 - 5 * x**2 + 8 * x - 4)
