"""Mean, spread and calibration of several draws."""

import numpy as np
import pytest

from rekon.dpm.uncertainty import LEVELS, Posterior, calibration, posterior


def made(draws=8, sure=1.0, size=(80, 90), seed=0):
    """Draws of a Gaussian posterior whose deviation differs by pixel; the truth is one more. sure: over-confidence."""
    rng = np.random.default_rng(seed)
    deviation = rng.uniform(0.01, 0.2, size)
    centre = rng.uniform(1, 2, size)
    truth, *several = centre + deviation * rng.normal(size=(draws + 1, *size))
    return posterior(centre + (np.array(several) - centre) / sure, truth)


def test_mean_and_deviation():
    draws = np.array([[[1.0, 2.0]], [[3.0, 2.0]]], dtype=np.float32)
    one = posterior(draws, np.array([[1.5, 2.0]], dtype=np.float32))
    assert one.mean.tolist() == [[2.0, 2.0]] and one.draws == 2
    assert one.std[0] == pytest.approx([np.sqrt(2), 0.0])
    assert one.error.tolist() == [[0.5, 0.0]]
    assert one.predicted[0, 0] == pytest.approx(np.sqrt(2 * 1.5))


def test_draws_of_the_true_posterior_are_calibrated():
    found = calibration([made(draws=40, seed=seed) for seed in range(3)])
    assert len(found.predicted) == 10 and found.pixels.sum() == 3 * 80 * 90
    np.testing.assert_allclose(found.rmse, found.predicted, rtol=0.1)
    np.testing.assert_allclose(found.coverage, LEVELS, atol=0.02)
    assert found.ratio == pytest.approx(1, rel=0.02)
    assert (np.diff(found.predicted) > 0).all()


def test_too_sure_shows():
    found = calibration([made(draws=40, sure=2.0)])
    assert found.ratio == pytest.approx(0.5, rel=0.05)
    assert (found.coverage < np.array(LEVELS) - 0.1).all()


def test_dark_pixels_may_be_left_out():
    one = made()
    dark = Posterior(one.mean, one.std, np.where(np.arange(90) < 30, 0, one.target).astype(np.float32), one.draws)
    assert calibration([dark], floor=0.05).pixels.sum() == 80 * 60
    assert calibration([dark]).pixels.sum() == 80 * 90
