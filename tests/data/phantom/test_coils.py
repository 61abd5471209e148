from __future__ import annotations

import numpy as np
import pytest

from rekon.data.phantom.coils import loop_field, noise_factor, sensitivities
from rekon.randomness import generator


def test_field_on_the_axis_of_a_loop() -> None:
    radius, z = 60.0, np.linspace(40, 200, 9)
    points = np.stack([0 * z, 0 * z, z], axis=1)
    field = loop_field(points, np.zeros(3), np.array([0.0, 0.0, 1.0]), radius)
    expected = 2 * np.pi * radius**2 / (radius**2 + z**2) ** 1.5  # in units of µ0 I / 4π
    assert np.allclose(field[:, 2], expected, rtol=0.03)
    assert np.abs(field[:, :2]).max() < 1e-9


@pytest.mark.parametrize("count", [4, 6, 8, 12, 32])
def test_maps_are_smooth_and_cover_the_head(count: int) -> None:
    axis = np.linspace(-80, 80, 33)
    points = np.stack([*np.meshgrid(axis, axis, indexing="ij"), np.zeros((33, 33))], axis=-1)
    maps = sensitivities(points, count, 160.0, generator(0, "coils", index=count))
    assert maps.shape == (count, 33, 33)
    assert maps.dtype == np.complex64
    total = np.sqrt(np.sum(np.abs(maps) ** 2, axis=0))
    assert total[16, 16] == pytest.approx(1, abs=1e-5)
    assert total.min() > 0.8
    assert total.max() < 8
    # second differences over 5 mm are small against the maps' size
    bend = np.abs(np.diff(maps, n=2, axis=-1)).max() / np.abs(maps).max()
    assert bend < 0.06


def test_coils_look_at_different_places() -> None:
    points = np.stack([*np.meshgrid(np.linspace(-70, 70, 15), np.linspace(-90, 90, 15)), np.zeros((15, 15))], axis=-1)
    maps = sensitivities(points, 8, 160.0, generator(0, "coils")).reshape(8, -1)
    assert np.linalg.cond(maps @ maps.conj().T) < 1e4
    assert len({int(np.argmax(np.abs(m))) for m in maps}) > 4


def test_noise_covariance_has_unit_variances_and_correlates_neighbours() -> None:
    factor = noise_factor(8)
    covariance = factor @ factor.conj().T
    assert np.allclose(np.diag(covariance), 1)
    assert 0.05 < abs(covariance[0, 1]) < 0.5
