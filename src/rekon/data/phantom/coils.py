"""Receive sensitivities of circular loops: Biot-Savart, and reciprocity."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SEGMENTS = 20  # of a loop's polygon; the field at a loop radius away is then right to about a per cent


def layout(count: int, distance: float, rng: np.random.Generator) -> tuple[NDArray, NDArray, float]:
    """Loops on a cylinder round the z axis, in one ring (up to 10), two (up to 20) or three.

    distance: of the loop centres from the axis, mm. Returns centres (coil, 3) mm, unit normals (coil, 3) that point
    to the axis, and the loops' radius in mm, such that neighbours overlap a little as in real arrays. Every subject
    lies a little differently in the coil: `rng` turns and tilts it.
    """
    rings = 1 if count <= 10 else 2 if count <= 20 else 3
    per_ring = [count // rings + (ring < count % rings) for ring in range(rings)]
    radius = 1.15 * np.pi * distance / max(per_ring)
    radius = min(radius, 0.75 * distance)
    start = rng.uniform(0, 2 * np.pi)
    centres, normals = [], []
    for ring, loops in enumerate(per_ring):
        z = (ring - (rings - 1) / 2) * 1.5 * radius
        angle = start + 2 * np.pi * (np.arange(loops) + 0.5 * (ring % 2)) / loops + rng.normal(0, 0.04, loops)
        reach = distance * (1 + rng.normal(0, 0.03, loops))
        # a head is longer than wide, and so are its coils
        spot = np.stack([0.94 * reach * np.cos(angle), 1.06 * reach * np.sin(angle), np.full(loops, z)], axis=1)
        centres.append(spot + rng.normal(0, 2.0, (loops, 3)))
        normals.append(-np.stack([np.cos(angle), np.sin(angle), 0.15 * np.sign(z) * np.ones(loops)], axis=1))
    normal = np.concatenate(normals)
    return np.concatenate(centres), normal / np.linalg.norm(normal, axis=1, keepdims=True), float(radius)


def loop_field(points: NDArray, centre: NDArray, normal: NDArray, radius: float) -> NDArray:
    """Magnetic field (..., 3) at `points` (..., 3) of unit current in a loop, in units of µ0/4π per mm.

    Points closer to the wire than a few mm are kept finite by a softened distance.
    """
    helper = np.array([0.0, 0.0, 1.0]) if abs(normal[2]) < 0.9 else np.array([1.0, 0.0, 0.0])
    first = np.cross(normal, helper)
    first /= np.linalg.norm(first)
    second = np.cross(normal, first)
    angle = 2 * np.pi * np.arange(SEGMENTS + 1) / SEGMENTS
    corners = centre + radius * (np.cos(angle)[:, None] * first + np.sin(angle)[:, None] * second)
    step, middle = np.diff(corners, axis=0), (corners[1:] + corners[:-1]) / 2
    field = np.zeros(points.shape)
    for dl, source in zip(step, middle, strict=True):
        r = points - source
        field += np.cross(dl, r) / (np.sum(r * r, axis=-1, keepdims=True) + 9.0) ** 1.5
    return field


def sensitivities(points: NDArray, count: int, distance: float, rng: np.random.Generator) -> NDArray[np.complex64]:
    """Complex receive sensitivities of `count` loops.

    points: (..., 3) mm, isocentre at the origin, B0 along z. distance: mm from the axis to the loops.
    Returns complex64 (coil, ...), scaled so that RSS over coils is 1 at the isocentre. By reciprocity the signal is
    proportional to the transverse field Bx - i By of a unit current (Hoult & Richards, J Magn Reson 24 (1976) 71).
    """
    centres, normals, radius = layout(count, distance, rng)
    where = np.concatenate([points.reshape(-1, 3), np.zeros((1, 3))]).astype(np.float64)
    maps = np.empty((count, len(where)), np.complex128)
    for coil in range(count):
        b = loop_field(where, centres[coil], normals[coil], radius)
        maps[coil] = b[:, 0] - 1j * b[:, 1]
    # preamplifiers differ in gain and in phase
    maps *= (np.exp(rng.normal(0, 0.08, count)) * np.exp(1j * rng.uniform(0, 2 * np.pi, count)))[:, None]
    maps /= np.sqrt(np.sum(np.abs(maps[:, -1]) ** 2))
    return maps[:, :-1].reshape(count, *points.shape[:-1]).astype(np.complex64)


def noise_factor(count: int, correlation: float = 0.15) -> NDArray[np.complex128]:
    """(coil, coil) Cholesky factor L of the noise covariance L Lᴴ: unit variances, neighbours correlated."""
    index = np.arange(count)
    apart = np.abs(index[:, None] - index[None, :])
    apart = np.minimum(apart, count - apart)
    sign = np.sign(index[None, :] - index[:, None])
    covariance = np.where(apart == 0, 1.0, correlation**apart * np.exp(0.6j * sign))
    return np.asarray(np.linalg.cholesky(covariance), np.complex128)
