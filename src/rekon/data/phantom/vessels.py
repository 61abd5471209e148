"""Arteries, veins and sinuses as tubes, in template coordinates (mm, RAS)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from rekon.data.phantom.grids import Floats
from rekon.data.phantom.shapes import inside

STEP = 0.8  # mm between the beads of a tube
Path = list[tuple[float, float, float]]

# radius in mm, and corners of the course; those marked with True have a twin on the other side
TREE: list[tuple[float, bool, Path]] = [
    (1.9, False, [(0, -30, -45), (0, -24, -32), (0, -20, -20)]),  # basilar
    (1.2, True, [(0, -20, -20), (12, -24, -17), (22, -34, -10), (20, -60, -4), (12, -80, 2)]),  # posterior cerebral
    (2.2, True, [(14, 0, -40), (13, 4, -26), (12, 0, -18)]),  # internal carotid
    (1.6, True, [(12, 0, -18), (28, 0, -18), (42, -4, -12), (44, -14, 0), (46, -28, 12), (50, -38, 22)]),  # middle
    (1.1, True, [(42, -4, -12), (44, 8, 2), (48, 14, 14), (54, 6, 26)]),
    (1.1, True, [(12, 0, -18), (3, 12, -14), (3, 36, -4), (3, 42, 10), (3, 30, 24), (3, 5, 34), (3, -20, 36)]),
    (1.2, True, [(16, 8, 20), (6, 0, 16), (3, -14, 13), (2, -32, 12)]),  # internal cerebral
    (2.2, False, [(0, -36, 8), (0, -44, 10), (0, -52, 14)]),  # great vein of Galen
    (2.8, False, [(0, -52, 14), (0, -72, 4), (0, -92, -8)]),  # straight sinus
    (3.6, True, [(0, -97, -8), (25, -94, -16), (48, -76, -24), (58, -50, -30), (54, -38, -46)]),  # transverse, sigmoid
    (4.2, False, [(0, 76, 10), (0, 74, 34), (0, 56, 58), (0, 30, 76), (0, -5, 84), (0, -38, 82), (0, -66, 66),
                  (0, -88, 42), (0, -102, 12), (0, -97, -8)]),  # superior sagittal sinus
]  # fmt: skip


def _curve(corners: NDArray) -> NDArray:
    """Points every STEP along a rounded polyline."""
    for _ in range(2):  # Chaikin: cut the corners
        a, b = corners[:-1], corners[1:]
        cut = np.stack([0.75 * a + 0.25 * b, 0.25 * a + 0.75 * b], axis=1).reshape(-1, 3)
        corners = np.concatenate([corners[:1], cut, corners[-1:]])
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(corners, axis=0), axis=1))])
    where = np.arange(0, length[-1], STEP)
    return np.stack([np.interp(where, length, corners[:, axis]) for axis in range(3)], axis=1)


class Vessels:
    """One subject's vessels: the named ones with jitter, and small cortical and medullary veins at random."""

    def __init__(self, rng: np.random.Generator, cortical: int = 60) -> None:
        beads, radii = [], []

        def add(corners: NDArray, radius: float) -> None:
            beads.append(_curve(corners))
            radii.append(np.full(len(beads[-1]), radius))

        for radius, twin, path in TREE:
            for side in (1, -1) if twin else (1,):
                corners = np.array(path, float) * (side, 1, 1)
                wander = rng.normal(0, 1.0, corners.shape)
                if not twin:
                    wander[:, 0] *= 0.4
                add(corners + wander, radius * np.exp(rng.normal(0, 0.1)))
        for _ in range(cortical):
            # from the brain's surface inwards, roughly along a sulcus
            u = rng.normal(size=3)
            u /= np.linalg.norm(u)
            u[2] = abs(u[2]) - 0.25
            start = np.array([0, -18, 8]) + u * (70, 88, 74)
            end = start * rng.uniform(0.62, 0.82) + rng.normal(0, 7, 3)
            middle = (start + end) / 2 + rng.normal(0, 6, 3)
            add(np.stack([start, middle, end]), float(rng.uniform(0.35, 0.8)))
        self.tree = cKDTree(np.concatenate(beads))
        self.radii = np.concatenate(radii).astype(np.float32)

    def fraction(self, points: Floats) -> Floats:
        """Blood fraction (n) at points (n, 3)."""
        distance, bead = self.tree.query(points, distance_upper_bound=6.0)
        radius = np.append(self.radii, 0)[bead]
        return inside((np.minimum(distance, 50) - radius).astype(np.float32), 0.5)
