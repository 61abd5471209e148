"""Arteries, veins and sinuses as tubes, in template coordinates (mm, RAS)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rekon.data.phantom.grids import Floats
from rekon.data.phantom.shapes import inside

STEP = 0.8  # mm between the beads of a tube
LOW, HIGH = np.array((-90, -126, -72)), np.array((90, 90, 100))  # mm, corners of the grid on which tubes are painted
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
        beads: list[NDArray] = []
        radii: list[NDArray] = []

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
        self.volume = _paint(np.concatenate(beads), np.concatenate(radii))

    def fraction(self, points: Floats) -> Floats:
        """Blood fraction (n) at points (n, 3)."""
        index = (points - LOW.astype(np.float32)).T  # the grid's step is 1 mm
        return ndimage.map_coordinates(self.volume, index, order=1, output=np.float32) / np.float32(255)


def _paint(beads: NDArray, radii: NDArray) -> NDArray[np.uint8]:
    """Blood fraction in 1/255 on a 1 mm grid from LOW to HIGH, of spheres at `beads` (n, 3) with `radii` (n) in mm."""
    shape = tuple((HIGH - LOW).tolist())
    volume = np.zeros(shape, np.uint8)
    reach = int(np.ceil(radii.max() + 0.5))
    # thick vessels are few: stamp each size class with as small a cube as holds it
    for size in range(1, reach + 1):
        chosen = (np.ceil(radii + 0.5) == size).nonzero()[0]
        if len(chosen) == 0:
            continue
        cube = np.stack(np.meshgrid(*[np.arange(-size, size + 1)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
        centre = (beads[chosen] - LOW).astype(np.float32)
        cell = np.rint(centre).astype(np.intp)
        gap = (cell - centre)[:, None] + cube.astype(np.float32)  # (bead, cell, 3)
        away = np.sqrt(np.einsum("bcx,bcx->bc", gap, gap))
        value = inside(away - radii[chosen, None].astype(np.float32), 0.7) * 255
        bead, spot = np.nonzero(value >= 1)
        where = cell[bead] + cube[spot]
        valid = np.all((where >= 0) & (where < shape), axis=1)
        np.maximum.at(volume, tuple(where[valid].T), value[bead, spot][valid].astype(np.uint8))
    return volume
