"""EDM's formulas, averaged weights, contrast labels."""

import math

import pytest
import torch
from torch import nn

from rekon.dpm import edm, ema
from rekon.dpm.edm import Denoiser

SIGMA_DATA = 0.5
LEVELS = torch.logspace(-4, 3, 29, dtype=torch.float64)


def test_limits_without_noise_and_in_noise_alone():
    small, large = torch.tensor([1e-6, 1e6], dtype=torch.float64)
    assert float(edm.c_skip(small, SIGMA_DATA)) == pytest.approx(1)
    assert float(edm.c_out(small, SIGMA_DATA)) == pytest.approx(0, abs=2e-6)
    assert float(edm.c_skip(large, SIGMA_DATA)) == pytest.approx(0, abs=1e-9)
    assert float(edm.c_out(large, SIGMA_DATA)) == pytest.approx(SIGMA_DATA)


def test_every_level_counts_alike():
    product = edm.weight(LEVELS, SIGMA_DATA) * edm.c_out(LEVELS, SIGMA_DATA) ** 2
    torch.testing.assert_close(product, torch.ones_like(LEVELS))


def test_the_network_sees_unit_variance():
    variance = edm.c_in(LEVELS, SIGMA_DATA) ** 2 * (SIGMA_DATA**2 + LEVELS**2)
    torch.testing.assert_close(variance, torch.ones_like(LEVELS))
    assert float(edm.c_noise(torch.tensor(math.e))) == pytest.approx(0.25)


def test_the_network_is_asked_for_noise_and_signal_in_unit_variance():
    # what F has to give so that D is the clean image has unit variance at every level: Karras et al., Appendix B.6
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 200_000, generator=generator, dtype=torch.float64)
    for sigma in LEVELS[::7]:
        noisy = SIGMA_DATA * clean + sigma * noise
        target = (SIGMA_DATA * clean - edm.c_skip(sigma, SIGMA_DATA) * noisy) / edm.c_out(sigma, SIGMA_DATA)
        assert float(target.std()) == pytest.approx(1, rel=0.01)


def test_noise_levels_of_training_are_log_normal():
    levels = edm.noise_level(torch.randn(100_000, generator=torch.Generator().manual_seed(0)), -1.2, 1.2).log()
    assert float(levels.mean()) == pytest.approx(-1.2, abs=0.02)
    assert float(levels.std()) == pytest.approx(1.2, abs=0.02)


def test_validation_levels_spread_over_the_same_distribution():
    levels = edm.spread_levels(torch.full((4,), 0.5), -1.2, 1.2).log()
    quantiles = torch.special.ndtri(torch.tensor([0.125, 0.375, 0.625, 0.875])) * 1.2 - 1.2
    torch.testing.assert_close(levels, quantiles, atol=1e-5, rtol=1e-5)
    edge = edm.spread_levels(torch.tensor([0.0, 1.0]), -1.2, 1.2)
    assert torch.isfinite(edge).all() and (edge > 0).all()


class Fixed(nn.Module):
    """A network that always gives the same, and keeps what it was given."""

    def forward(self, x, noise, label, augment):
        self.seen = x, noise, label, augment
        return torch.ones_like(x)


def test_denoiser_by_hand():
    network = Fixed()
    noisy = torch.tensor([[[3 + 4j]], [[0.0 + 1j]]], dtype=torch.complex64)
    sigma, label = torch.tensor([1.0, 0.5]), torch.eye(2)
    estimate = Denoiser(network, 0.5)(noisy, sigma, label)
    assert estimate[0, 0, 0].item() == pytest.approx((3 + 4j) * 0.2 + (1 + 1j) * 0.5 / math.sqrt(1.25))
    assert estimate[1, 0, 0].item() == pytest.approx(1j * 0.5 + (1 + 1j) * 0.25 / math.sqrt(0.5))
    x, noise, given, augment = network.seen
    torch.testing.assert_close(x[0, :, 0, 0], torch.tensor([3.0, 4.0]) / math.sqrt(1.25))
    torch.testing.assert_close(noise, sigma.log() / 4)
    assert torch.equal(given, label) and augment is None


def test_loss_by_hand():
    clean, noise = torch.zeros(1, 2, 2, dtype=torch.complex64), torch.full((1, 2, 2), 1 + 1j)
    sigma = torch.tensor([0.5])
    losses = Denoiser(Fixed(), 0.5).losses(clean, noise, sigma, torch.zeros(1, 2), None)
    error = 0.5 * 0.5 + 0.25 / math.sqrt(0.5)  # of each of 8 numbers
    assert float(losses) == pytest.approx(8 * error**2 * 0.5 / 0.0625, rel=1e-5)


def test_complex_noise_has_unit_variance_in_each_part():
    parts = torch.view_as_real(edm.complex_noise((100_000,), torch.Generator().manual_seed(0)))
    torch.testing.assert_close(parts.std(0), torch.ones(2), rtol=0.02, atol=0)
    torch.testing.assert_close(parts.mean(0), torch.zeros(2), rtol=0, atol=0.02)


def test_average_by_hand():
    average, network = (nn.Linear(1, 1).requires_grad_(False) for _ in range(2))
    with torch.no_grad():
        average.weight.fill_(1.0)
        network.weight.fill_(3.0)
    ema.update(average, network, 0.75)
    assert float(average.weight) == pytest.approx(0.75 * 1 + 0.25 * 3)
    ema.update(average, network, 0.0)
    assert float(average.weight) == 3.0


def test_half_life_counts_images():
    assert ema.decay(10**9, 100, 100, None) == pytest.approx(0.5)
    assert ema.decay(10**9, 25, 100, None) ** 4 == pytest.approx(0.5)
    # the ramp: at most 5 % of what has been seen, nothing at the start
    assert ema.decay(0, 8, 100, 0.05) == 0.0
    assert ema.decay(200, 10, 100, 0.05) == pytest.approx(0.5)
    assert ema.decay(10**6, 10, 100, 0.05) == pytest.approx(0.5**0.1)
    assert ema.decay(0, 10, 100, None) == pytest.approx(0.5**0.1)
