"""Centred orthonormal Fourier transforms, and the crops and pads that keep the centre where it is.

Convention (fastMRI's): ifftshift -> transform with norm="ortho" -> fftshift, so the zero frequency and the image
centre sit at index n // 2. Functions accept NumPy arrays and torch tensors and return the same kind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np
import scipy.fft

if TYPE_CHECKING:
    import torch

Array = TypeVar("Array", np.ndarray, "torch.Tensor")
_LAST_TWO = (-2, -1)


def fft2c(x: Array) -> Array:
    """Image (..., H, W) to k-space: centred orthonormal FFT over the last two axes.

    Complex128 stays complex128; everything else is computed in complex64, also under autocast.
    """
    if isinstance(x, np.ndarray):
        return np.fft.fftshift(scipy.fft.fft2(_shifted(x), norm="ortho", overwrite_x=True), axes=_LAST_TWO)
    import torch

    x = torch.fft.ifftshift(_single(x), dim=_LAST_TWO)
    return torch.fft.fftshift(torch.fft.fft2(x, norm="ortho"), dim=_LAST_TWO)


def ifft2c(k: Array) -> Array:
    """k-space (..., H, W) to image: centred orthonormal inverse FFT over the last two axes; precision as `fft2c`."""
    if isinstance(k, np.ndarray):
        return np.fft.fftshift(scipy.fft.ifft2(_shifted(k), norm="ortho", overwrite_x=True), axes=_LAST_TWO)
    import torch

    k = torch.fft.ifftshift(_single(k), dim=_LAST_TWO)
    return torch.fft.fftshift(torch.fft.ifft2(k, norm="ortho"), dim=_LAST_TWO)


def fftc(x: np.ndarray, axis: int) -> np.ndarray:
    """Centred orthonormal FFT of a NumPy array along one axis; complex64 stays complex64."""
    spectrum = scipy.fft.fft(np.fft.ifftshift(_complex(x), axes=axis), axis=axis, norm="ortho", overwrite_x=True)
    return np.fft.fftshift(spectrum, axes=axis)


def ifftc(x: np.ndarray, axis: int) -> np.ndarray:
    """Centred orthonormal inverse FFT of a NumPy array along one axis; complex64 stays complex64."""
    signal = scipy.fft.ifft(np.fft.ifftshift(_complex(x), axes=axis), axis=axis, norm="ortho", overwrite_x=True)
    return np.fft.fftshift(signal, axes=axis)


def crop_fov(kspace: np.ndarray, size: int, axis: int) -> np.ndarray:
    """k-space of the central `size` pixels along one axis: what removing readout oversampling means.

    Equals `fftc` of the cropped `ifftc`, with fewer passes over the data.
    """
    n = kspace.shape[axis]
    assert 0 < size <= n, f"cannot crop {n} pixels to {size}"
    image = scipy.fft.ifft(np.fft.ifftshift(_complex(kspace), axes=axis), axis=axis, norm="ortho", overwrite_x=True)
    # not shifted back: the centre is at 0, so the crop is both ends, already in the order that the FFT wants
    ends = (_take(image, slice(0, size - size // 2), axis), _take(image, slice(n - size // 2, n), axis))
    cropped = np.concatenate(ends, axis=axis)
    return np.fft.fftshift(scipy.fft.fft(cropped, axis=axis, norm="ortho", overwrite_x=True), axes=axis)


def centre_crop(x: Array, size: tuple[int, int]) -> Array:
    """Central `size` of the last two axes; the sample at n // 2 becomes the sample at m // 2. A view, not a copy.

    Equals fastMRI's centre crop, (n - m) // 2, wherever n is even or m is odd.
    """
    (rows, columns), (h, w) = (int(n) for n in x.shape[-2:]), size
    assert h <= rows and w <= columns, f"cannot crop {(rows, columns)} to {size}"
    top, left = rows // 2 - h // 2, columns // 2 - w // 2
    return x[..., top : top + h, left : left + w]


def centre_pad(x: Array, size: tuple[int, int]) -> Array:
    """Zeros around the last two axes up to `size`; the inverse of `centre_crop`, with the same centre."""
    before, after = _margins((int(x.shape[-2]), int(x.shape[-1])), size)
    if isinstance(x, np.ndarray):
        return np.pad(x, [(0, 0)] * (x.ndim - 2) + list(zip(before, after, strict=True)))
    import torch

    return torch.nn.functional.pad(x, (before[1], after[1], before[0], after[0]))


def reflect_pad(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Mirror a NumPy image (..., H, W) outwards up to `size` (the edge pixel is not repeated), centred as above.

    An image smaller than its margin is mirrored repeatedly.
    """
    before, after = _margins((x.shape[-2], x.shape[-1]), size)
    return np.pad(x, [(0, 0)] * (x.ndim - 2) + list(zip(before, after, strict=True)), mode="reflect")


def _take(x: np.ndarray, part: slice, axis: int) -> np.ndarray:
    index = [slice(None)] * x.ndim
    index[axis] = part
    return x[tuple(index)]


def _margins(shape: tuple[int, int], size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Samples to add before and after each of two axes."""
    assert size[0] >= shape[0] and size[1] >= shape[1], f"cannot pad {shape} to {size}"
    before = (size[0] // 2 - shape[0] // 2, size[1] // 2 - shape[1] // 2)
    return before, (size[0] - shape[0] - before[0], size[1] - shape[1] - before[1])


def _complex(x: np.ndarray) -> np.ndarray:
    return x if x.dtype in (np.complex64, np.complex128) else x.astype(np.complex64)


def _shifted(x: np.ndarray) -> np.ndarray:
    # the copy that ifftshift makes is ours, so the transform may overwrite it
    return np.fft.ifftshift(_complex(x), axes=_LAST_TWO)


def _single(x: torch.Tensor) -> torch.Tensor:
    """Complex64 unless already complex128: half precision has no FFT worth having."""
    import torch

    return x if x.dtype in (torch.complex64, torch.complex128) else x.to(torch.complex64)
