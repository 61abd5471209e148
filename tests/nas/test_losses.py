"""SSIM by an independent implementation, least squares by hand, the perceptual term's inputs and remedies."""

import sys
import types

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from rekon.errors import UserError
from rekon.evaluation import metrics
from rekon.nas.losses import PerceptualLoss, adversarial_loss, discriminator_loss, ssim


def pair(size=(24, 31)):
    rng = np.random.default_rng(0)
    down, across = np.meshgrid(*(np.linspace(0, 3, n) for n in size), indexing="ij")
    x = 0.5 + 0.4 * np.sin(down * across)
    return x, np.clip(x + rng.normal(size=size) * 0.1, 0, 1)


def value(x, y, window):
    return float(ssim(*(torch.from_numpy(image).float()[None] for image in (x, y)), window))


def test_ssim_gaussian_is_wangs():
    x, y = pair()
    _, full = structural_similarity(
        x, y, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )  # its truncated window is 11 wide
    assert value(x, y, "gaussian") == pytest.approx(full[5:-5, 5:-5].mean(), abs=1e-5)


def test_ssim_uniform_is_the_metric():
    x, y = pair()
    assert value(x, y, "uniform") == pytest.approx(metrics.ssim(x, y, 1.0), abs=1e-5)


@pytest.mark.parametrize("window", ["gaussian", "uniform"])
def test_ssim_of_equal_and_of_black_images(window):
    x = torch.rand(3, 16, 16)
    torch.testing.assert_close(ssim(x, x, window), torch.ones(3))
    black = torch.zeros(1, 16, 16, requires_grad=True)
    ssim(black, black.detach(), window).sum().backward()
    assert black.grad.isfinite().all()


def test_least_squares():
    real, fake = torch.tensor([1.0, 3.0]), torch.tensor([0.0, 2.0])
    assert float(discriminator_loss(real, fake)) == pytest.approx((2 + 2) / 2)
    assert float(adversarial_loss(fake)) == pytest.approx(1)
    assert float(discriminator_loss(torch.ones(4), torch.zeros(4))) == 0


class FakeLpips(torch.nn.Module):
    def __init__(self, network, backbone, heads):
        super().__init__()
        self.made = (network, backbone, heads)
        self.weight = torch.nn.Parameter(torch.ones(()))

    def forward(self, x, y):
        self.seen = x
        return self.weight * (x - y).abs().mean(dim=(1, 2, 3))


def test_perceptual_loss(monkeypatch):
    module = types.ModuleType("rekon.evaluation.perceptual")
    module.LPIPS = FakeLpips
    monkeypatch.setitem(sys.modules, module.__name__, module)
    loss = PerceptualLoss("lpips-alex", {"alexnet": "a", "lpips-alex": "b"})
    assert loss.distance.made == ("alex", "a", "b")
    x = torch.tensor([0.0, 0.5, 1.0]).reshape(1, 1, 3).requires_grad_()
    value = loss(x, torch.zeros(1, 1, 3))
    assert loss.distance.seen[0, :, 0].tolist() == [[-1, 0, 1]] * 3
    value.backward()
    assert x.grad.any()
    assert not any(p.requires_grad for p in loss.parameters())


@pytest.mark.parametrize(("name", "missing"), [("lpips-vgg", "vgg16"), ("lpips-alex", "alexnet")])
def test_missing_weights_are_named_with_a_remedy(name, missing):
    with pytest.raises(UserError, match=rf"'model.losses.perceptual': needs the weights '{missing}'.*set it to 0"):
        PerceptualLoss(name, {})
    with pytest.raises(UserError, match=rf"'{name}'"):
        PerceptualLoss(name, {missing: "x"})
