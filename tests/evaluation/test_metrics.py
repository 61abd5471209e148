"""The metrics against skimage and against formulas written out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from rekon.evaluation.metrics import nmse, psnr, score, ssim


def images(seed: int, shape: tuple[int, int] = (24, 31)) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    target = random.random(shape).astype(np.float32)
    return target, (target + 0.1 * random.standard_normal(shape)).astype(np.float32)


def plain_ssim(x: np.ndarray, y: np.ndarray, data_range: float) -> float:
    """Wang et al. 2004 with a 7x7 uniform window, window by window."""
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    values = []
    for i in range(x.shape[0] - 6):
        for j in range(x.shape[1] - 6):
            a, b = (z[i : i + 7, j : j + 7].astype(np.float64).ravel() for z in (x, y))
            (va, cov), (_, vb) = np.cov(a, b, ddof=1)
            ma, mb = a.mean(), b.mean()
            values.append((2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2)))
    return float(np.mean(values))


@pytest.mark.parametrize("data_range", [1.0, 3.7])
def test_parity_with_skimage_and_formulas(data_range):
    target, image = images(0)
    x, y = target.astype(np.float64), image.astype(np.float64)
    result = score(target, image, data_range)
    assert result.psnr == pytest.approx(peak_signal_noise_ratio(x, y, data_range=data_range), abs=1e-9)
    assert result.psnr == pytest.approx(10 * np.log10(data_range**2 / np.mean((x - y) ** 2)), abs=1e-9)
    assert result.ssim == pytest.approx(structural_similarity(x, y, data_range=data_range), abs=1e-9)
    assert result.ssim == pytest.approx(plain_ssim(x, y, data_range), abs=1e-9)
    assert result.nmse == pytest.approx(np.linalg.norm(x - y) ** 2 / np.linalg.norm(x) ** 2, abs=1e-12)
    assert result.nrmse == pytest.approx(np.linalg.norm(x - y) / np.linalg.norm(x), abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(1e-6, 1e9))
def test_scaling_images_and_range_together_changes_nothing(seed, scale):
    target, image = (x.astype(np.float64) for x in images(seed, (9, 11)))
    assert score(target * scale, image * scale, scale) == pytest.approx(score(target, image, 1.0), rel=1e-6)


def test_equal_images():
    target, _ = images(1)
    assert score(target, target, 1.0) == (float("inf"), pytest.approx(1.0), 0.0, 0.0)


def test_doubling_the_range_adds_six_decibels():
    target, image = images(2)
    assert psnr(target, image, 2.0) - psnr(target, image, 1.0) == pytest.approx(20 * np.log10(2))


def test_nmse_of_an_empty_target_is_not_a_number():
    assert np.isnan(nmse(np.zeros((8, 8)), np.ones((8, 8))))


@pytest.mark.parametrize("shapes", [((8, 8), (8, 9)), ((1, 8, 8), (1, 8, 8))])
def test_shapes_are_checked(shapes):
    with pytest.raises(AssertionError):
        psnr(np.ones(shapes[0]), np.ones(shapes[1]), 1.0)


def test_ssim_needs_a_window():
    with pytest.raises(AssertionError, match="7 x 7"):
        ssim(np.ones((6, 20)), np.ones((6, 20)), 1.0)
