from __future__ import annotations

import numpy as np
import pytest

from rekon.data.phantom.warp import LEVELS, Warp, rotation
from rekon.randomness import generator


def determinants(warp: Warp) -> np.ndarray:
    h = 1.5
    axis = np.arange(-90, 91, 6.0)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).astype(np.float32)
    columns = [(warp(points + step) - warp(points - step)) / (2 * h) for step in np.eye(3, dtype=np.float32) * h]
    return np.linalg.det(np.stack(columns, axis=-1).astype(float))


@pytest.mark.parametrize("subject", range(3))
def test_no_subject_folds(subject: int) -> None:
    assert determinants(Warp(generator(0, "warp", index=subject))).min() > 0.15


def test_clipping_keeps_wild_deformations_from_folding() -> None:
    wild = tuple((spacing, 5 * spacing) for spacing, _ in LEVELS)
    assert determinants(Warp(generator(0, "wild"), levels=wild)).min() > 0


def test_rotation_is_proper() -> None:
    turn = rotation(np.array([0.1, -0.2, 0.3]))
    assert np.allclose(turn @ turn.T, np.eye(3))
    assert np.linalg.det(turn) == pytest.approx(1)
