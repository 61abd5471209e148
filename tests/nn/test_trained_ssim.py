"""Structural similarity as a loss: the same number as in tables, and a gradient."""

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from rekon.evaluation.metrics import ssim as scored
from rekon.nn.ssim import ssim


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    target = rng.uniform(0, 3, (2, 24, 20)).astype(np.float32)
    return target, (target + rng.normal(0, 0.3, target.shape)).astype(np.float32)


def test_uniform_window_is_the_evaluation_s(images):
    target, image = images
    full_scale = torch.tensor([3.0, 5.0])
    found = ssim(torch.from_numpy(image), torch.from_numpy(target), "uniform", full_scale)
    expected = [scored(target[i], image[i], float(full_scale[i])) for i in range(2)]
    assert found.tolist() == pytest.approx(expected, abs=1e-4)


def test_gaussian_window_is_wang_s(images):
    target, image = images
    found = ssim(torch.from_numpy(image), torch.from_numpy(target))
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0, "full": True}
    for i in range(2):
        whole = structural_similarity(target[i].astype(float), image[i].astype(float), **settings)[1]
        assert float(found[i]) == pytest.approx(whole[5:-5, 5:-5].mean(), abs=1e-4)


def test_equal_images_have_one_and_gradients_are_finite(images):
    target = torch.from_numpy(images[0])
    image = torch.from_numpy(images[1]).requires_grad_()
    assert ssim(target, target, "uniform").tolist() == pytest.approx([1, 1], abs=1e-5)
    ssim(image, target, "uniform").sum().backward()
    assert image.grad.isfinite().all() and image.grad.any()


def test_half_precision_around_it_does_not_reach_it(images):
    target, image = (torch.from_numpy(x) for x in images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = ssim(image, target, "uniform")
    assert torch.equal(found, ssim(image, target, "uniform"))
