"""Small helpers for drawing anatomy: soft steps, distances, polygons. Lengths in mm, negative distance is inside."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rekon.data.phantom.grids import Floats


def inside(distance: Floats, soft: float = 0.6) -> Floats:
    """1 well inside, 0 well outside, a linear ramp of ± `soft` mm between: what a voxel that straddles an edge sees."""
    return np.clip(0.5 - distance / np.float32(2 * soft), 0, 1)


def ellipsoid(points: Floats, centre: ArrayLike, radii: ArrayLike) -> Floats:
    """Approximate signed distance (...) of points (..., 3) from an axis-aligned ellipsoid; exact on its surface."""
    q = (points - np.asarray(centre, np.float32)) / np.asarray(radii, np.float32)
    return (np.sqrt(np.sum(q * q, axis=-1)) - 1) * np.float32(np.min(radii))


def rod(points: Floats, start: ArrayLike, end: ArrayLike, radius: float, soft: float = 0.6) -> Floats:
    """Fraction (n) of points (n, 3) in a rod with round ends; only points in its bounding box cost time."""
    a, b = np.asarray(start, np.float32), np.asarray(end, np.float32)
    reach = np.float32(radius + soft)
    low, high = np.minimum(a, b) - reach, np.maximum(a, b) + reach
    box = np.ones(len(points), bool)
    for axis in range(3):
        box &= (points[:, axis] > low[axis]) & (points[:, axis] < high[axis])
    where = np.flatnonzero(box)
    p = points[where]
    along = np.clip((p - a) @ (b - a) / np.dot(b - a, b - a), 0, 1)
    r = p - a - along[:, None] * (b - a)
    out = np.zeros(len(points), np.float32)
    out[where] = inside(np.sqrt(np.sum(r * r, axis=1)) - np.float32(radius), soft)
    return out


def smooth_min(a: Floats, b: Floats, k: float) -> Floats:
    """Union of two distances, blended over `k` mm."""
    h = np.clip(0.5 + 0.5 * (b - a) / k, 0, 1)
    return (b + (a - b) * h - k * h * (1 - h)).astype(np.float32)


def polygon(corners: ArrayLike, y: NDArray, z: NDArray) -> NDArray[np.bool_]:
    """Mask (y, z) of the grid points inside a polygon with `corners` (n, 2), by the even-odd rule."""
    corner = np.asarray(corners, float)
    yy, zz = y[:, None], z[None, :]
    mask = np.zeros((len(y), len(z)), bool)
    for (y0, z0), (y1, z1) in zip(corner, np.roll(corner, -1, axis=0), strict=True):
        if z0 != z1:
            mask ^= ((z0 > zz) != (z1 > zz)) & (yy < (y1 - y0) * (zz - z0) / (z1 - z0) + y0)
    return mask


def over(stack: Floats, index: int, fraction: Floats) -> None:
    """Lay one tissue over the others, in place: stack (tissue, n) fractions, `fraction` (n) in [0, 1]."""
    stack *= 1 - fraction
    stack[index] += fraction
