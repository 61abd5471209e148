"""A subject's shape: a random affine map after two random B-spline deformations, each invertible."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rekon.data.phantom.grids import Floats

EXTENT = 160.0  # mm; lattices cover [-EXTENT, EXTENT]³
INJECTIVE = 0.40  # of the spacing: a cubic B-spline deformation in 3D whose coefficients stay below is one-to-one
LEVELS = ((44.0, 4.5), (20.0, 1.8))  # (lattice spacing, standard deviation of the coefficients) in mm


def lattice(rng: np.random.Generator, spacing: float) -> Floats:
    """Standard normal coefficients (n, n, n) of a random field with `spacing` mm between the knots."""
    n = _knots(spacing)
    return rng.standard_normal((n, n, n), dtype=np.float32)


def _knots(spacing: float) -> int:
    return int(np.ceil(2 * EXTENT / spacing)) + 4


def evaluate(coefficients: Floats, spacing: float, points: Floats) -> Floats:
    """Value at `points` (..., 3) in mm of the cubic B-spline with `coefficients` (n, n, n), centred on the origin."""
    n = coefficients.shape[0]
    index = np.moveaxis(points / np.float32(spacing) + np.float32((n - 1) / 2), -1, 0)
    return ndimage.map_coordinates(coefficients, index, order=3, prefilter=False, mode="nearest", output=np.float32)


def rotation(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation matrix (3, 3) about x, then y, then z; angles in radians."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


class Warp:
    """Maps positions in the scanner to positions in the template, both in mm, one-to-one.

    Every deformation is x + u(x) with u a cubic B-spline whose coefficients are clipped to INJECTIVE × spacing, which
    suffices for a positive Jacobian (Choi & Lee, "Injectivity conditions of 2D and 3D uniform cubic B-spline
    functions", 2000); a composition of such maps with an affine map of positive determinant keeps it.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        *,
        mean: float = 1.0,
        scale: float = 0.045,
        angle: float = 3.5,
        shift: float = 3.0,
        levels: tuple[tuple[float, float], ...] = LEVELS,
    ) -> None:
        """Draw a subject's shape.

        mean: size relative to the template; scale: relative standard deviation of the size, and of each axis;
        angle: degrees; shift: mm; levels: see LEVELS.
        """
        size = mean + np.clip(rng.normal(0, scale / 1.5), -0.08, 0.08)  # the whole head ...
        axes = 1 + np.clip(rng.normal(0, scale / 1.5, 3), -0.08, 0.08)  # ... and each axis
        turn = rotation(np.deg2rad(np.clip(rng.normal(0, angle, 3), -3 * angle, 3 * angle)))
        self.matrix = (turn / (size * axes)).astype(np.float32)
        self.shift = rng.normal(0, shift, 3).astype(np.float32)
        self.lattices: list[tuple[float, Floats]] = []
        for spacing, sigma in levels:
            n = _knots(spacing)
            limit = INJECTIVE * spacing
            self.lattices.append((spacing, np.clip(rng.normal(0, sigma, (3, n, n, n)), -limit, limit).astype("f4")))

    def __call__(self, points: Floats) -> Floats:
        """Template positions (..., 3) of scanner positions (..., 3), float32, mm."""
        out = (points - self.shift) @ self.matrix.T
        for spacing, lattice in self.lattices:
            out = out + np.stack([evaluate(component, spacing, out) for component in lattice], axis=-1)
        return out
