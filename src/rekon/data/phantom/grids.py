"""Sampling positions, and the matrices that carry functions from one set of positions to another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.floating[Any]]  # float32 where it is large
Complex = NDArray[np.complex64]


def image_positions(n: int, fov: float) -> NDArray[np.float64]:
    """Positions (n) in mm of image samples; sample n // 2 is at 0."""
    return (np.arange(n) - n // 2) * fov / n


def fine_positions(n: int, fov: float, grid: float, beyond: float) -> Floats:
    """Positions in mm of the object's samples, `grid` times denser than the image's n, over `beyond` × fov."""
    count = round(grid * n * beyond)
    return ((np.arange(count) - (count - 1) / 2) * fov / (n * grid)).astype(np.float32)


def dft(n: int, positions: Floats, fov: float) -> Complex:
    """Matrix (n, positions) of the Fourier sum to n centred k-space samples of spacing 1 / fov."""
    k = (np.arange(n) - n // 2) / fov
    return np.exp(-2j * np.pi * np.outer(k, positions)).astype(np.complex64)


def centred_image(kspace: Complex, height: int) -> Complex:
    """Image (..., height, W) of k-space (..., H0, W): inverse orthonormal centred FFT, readout oversampling removed."""
    axes = (-2, -1)
    out = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace, axes), norm="ortho"), axes)
    start = kspace.shape[-2] // 2 - height // 2
    return np.asarray(out[..., start : start + height, :], np.complex64)


def spline_matrix(source: NDArray, target: NDArray) -> Floats:
    """(target, source) matrix of cubic spline interpolation from samples at `source`, evenly spaced, to `target`."""
    n = len(source)
    index = (np.asarray(target, float) - source[0]) / (source[1] - source[0])
    # coefficients of the spline through a unit sample, mirrored beyond the ends, then the four basis functions
    coefficients = ndimage.spline_filter1d(np.eye(n), order=3, axis=0, mode="mirror")
    cell = np.floor(index).astype(np.intp)
    out = np.zeros((len(index), n))
    for step in (-1, 0, 1, 2):
        knot = np.abs(cell + step)
        knot = np.where(knot > n - 1, 2 * (n - 1) - knot, knot)
        away = np.abs(index - (cell + step))
        basis = np.where(away < 1, 2 / 3 - away**2 + away**3 / 2, np.clip(2 - away, 0, None) ** 3 / 6)
        out += basis[:, None] * coefficients[knot]
    return out.astype(np.float32)


def wider(first: float, last: float, count: int) -> NDArray[np.float64]:
    """`count` even positions that reach three beyond each end: what a spline does at its own ends stays outside."""
    step = (last - first) / (count - 7)
    return np.asarray(first + step * (np.arange(count) - 3), np.float64)


def carry(values: NDArray, along_h: Floats, along_w: Floats) -> NDArray:
    """Interpolate (..., m, n), float32 or complex64, to (..., h, w) with matrices (h, m) and (w, n)."""
    matrices = along_h.astype(values.dtype), np.ascontiguousarray(along_w.T).astype(values.dtype)
    # BLAS only takes over when both factors have one type and lie in one piece
    return matrices[0] @ (np.ascontiguousarray(values) @ matrices[1])


def on_plane(function: Callable[[Floats], Floats], points: Floats, step: int) -> Floats:
    """Evaluate a smooth function of position on a plane, at every `step`-th sample and by splines in between.

    function: (m, n, 3) mm → (m, n, ...) or (m, n); points: (h, w, 3) mm, evenly spaced on a plane. Returns (h, w, ...).
    """
    h, w = points.shape[:2]
    at_h, at_w = (wider(0, n - 1, -(-n // step) + 7) for n in (h, w))
    down, right = points[1, 0] - points[0, 0], points[0, 1] - points[0, 0]
    coarse = points[0, 0] + at_h[:, None, None] * down + at_w[None, :, None] * right
    values = function(coarse.astype(np.float32))
    stacked = np.moveaxis(values[..., None] if values.ndim == 2 else values, -1, 0)
    out = carry(stacked.astype(np.float32), spline_matrix(at_h, np.arange(h)), spline_matrix(at_w, np.arange(w)))
    return out[0] if values.ndim == 2 else np.moveaxis(out, 0, -1)
