"""A raw matrix onto the networks' matrix, and where the raw image then lies.

    crop        image space: centre-crop or mirror outwards (UEPS): pixels keep their size
    downsample  first crop k-space until the whole field of view fits, with pixels as square as the raw matrix allows;
                then as `crop`. A matrix that fits as it is stays as it is.
    k-space     what sets without a reference get, whatever `fit` says: crop or zero-pad k-space, each axis by itself.
                The field of view stays whole and the acquired samples stay samples; pixels need not be square.

Image amplitudes are kept throughout: where k-space shrinks, it is multiplied by sqrt(new size / old size), since the
transform is orthonormal.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from rekon.physics.fft import centre_crop, centre_pad, fft2c, ifft2c, reflect_pad

Fit = Literal["crop", "downsample", "k-space"]
Size = tuple[int, int]


class Plan(NamedTuple):
    """How one raw matrix is fitted."""

    raw: Size  # matrix as stored
    sampled: Size  # after k-space is cropped or padded
    size: Size  # networks' matrix

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Top, bottom, left, right of the raw image within `size`: outside lies what was mirrored."""
        height, width = (min(a, b) for a, b in zip(self.sampled, self.size, strict=True))
        top, left = self.size[0] // 2 - height // 2, self.size[1] // 2 - width // 2
        return top, top + height, left, left + width


def plan(raw: Size, size: Size, fit: Fit, fov: tuple[float, float] | None = None) -> Plan:
    """Decide the sizes; fov in mm (readout, phase encoding), default square pixels."""
    match fit:
        case "crop":
            return Plan(raw, raw, size)
        case "k-space":
            return Plan(raw, size, size)
        case "downsample":
            height, width = fov or (float(raw[0]), float(raw[1]))
            pixel = max(height / size[0], width / size[1])
            sampled = (_even(height / pixel, min(raw[0], size[0])), _even(width / pixel, min(raw[1], size[1])))
            return Plan(raw, sampled, size)


def fit_kspace(kspace: np.ndarray, plan: Plan) -> np.ndarray:
    """k-space complex64 (coil, *plan.raw) to (coil, *plan.size)."""
    assert kspace.shape[-2:] == plan.raw, (kspace.shape, plan)
    kspace = _resize_kspace(kspace, plan)
    if plan.sampled == plan.size:
        return np.ascontiguousarray(kspace, dtype=np.complex64)
    return fft2c(_crop_or_mirror(ifft2c(kspace), plan))


def fit_image(image: np.ndarray, plan: Plan) -> np.ndarray:
    """Magnitude image float32 (h, w), centre crop of the raw matrix, to plan.size: as `fit_kspace` does with coils."""
    whole = centre_pad(image, plan.raw)
    if plan.sampled != plan.raw:
        whole = np.abs(ifft2c(_resize_kspace(fft2c(whole), plan)))
    return np.ascontiguousarray(_crop_or_mirror(whole, plan), dtype=np.float32)


def fit_maps(maps: np.ndarray, plan: Plan) -> np.ndarray:
    """Coil sensitivity maps complex64 (coil, *plan.raw) to (coil, *plan.size): interpolated, then cropped or mirrored.

    Where k-space changed size the maps are interpolated linearly and normalised again to sum |S|^2 = 1, or to 0 where
    less than half of the neighbourhood has a map.
    """
    if plan.sampled != plan.raw:
        maps = _interpolate(maps, plan.sampled)
    return np.ascontiguousarray(_crop_or_mirror(maps, plan), dtype=np.complex64)


def _resize_kspace(kspace: np.ndarray, plan: Plan) -> np.ndarray:
    if plan.sampled == plan.raw:
        return kspace
    (rows, columns), (h, w) = plan.raw, plan.sampled
    kspace = centre_crop(kspace, (min(rows, h), min(columns, w)))
    scale = np.float32(np.sqrt(h * w / (rows * columns)))
    return centre_pad(kspace * scale, (h, w))


def _crop_or_mirror(image: np.ndarray, plan: Plan) -> np.ndarray:
    smaller = (min(plan.sampled[0], plan.size[0]), min(plan.sampled[1], plan.size[1]))
    return reflect_pad(centre_crop(image, smaller), plan.size)


def _interpolate(maps: np.ndarray, size: Size) -> np.ndarray:
    from scipy.ndimage import map_coordinates

    # both grids span the same field of view and meet at n // 2
    axes = [
        np.clip((np.arange(new) - new // 2) * (old / new) + old // 2, 0, old - 1)
        for old, new in zip(maps.shape[-2:], size, strict=True)
    ]
    grid = np.meshgrid(*axes, indexing="ij")
    fine = np.stack([map_coordinates(coil, grid, order=1) for coil in maps])
    power = np.sqrt((fine.real**2 + fine.imag**2).sum(0))
    return np.where(power > 0.5, fine / np.maximum(power, 0.5), 0)


def _even(value: float, largest: int) -> int:
    """The even number nearest to `value`, at least 2 and at most `largest` (even)."""
    return min(max(2, 2 * round(value / 2)), largest)
