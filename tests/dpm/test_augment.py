"""Augmentation of complex images."""

import math

import pytest
import torch

from rekon.config.dpm import AugmentSettings
from rekon.dpm.augment import _resampled, augment
from rekon.randomness import torch_generator

SIZE = (24, 30)


@pytest.fixture
def image():
    down, across = torch.meshgrid(torch.linspace(-1, 1, SIZE[0]), torch.linspace(-1, 1, SIZE[1]), indexing="ij")
    smooth = torch.exp(-4 * ((down - 0.2) ** 2 + (across + 0.1) ** 2))
    return torch.polar(smooth, down + 2 * across)


def made(image, settings, seed):
    return augment(image, settings, torch_generator(42, "augmentation", seed, 0))


def test_a_function_of_image_and_generator(image):
    always = AugmentSettings(probability=1.0)
    one, again, other = (made(image, always, seed) for seed in (1, 1, 2))
    assert torch.equal(one[0], again[0]) and torch.equal(one[1], again[1])
    assert not torch.equal(one[1], other[1])
    assert one[0].shape == image.shape and one[0].dtype == torch.complex64 and one[1].shape == (7,)


def test_nothing_happens_at_probability_zero(image):
    never = AugmentSettings(probability=0.0, mirror=False)
    for seed in range(20):
        same, numbers = made(image, never, seed)
        assert torch.equal(same, image) and not numbers.any()


def test_half_of_the_images_are_mirrored_whatever_the_probability(image):
    settings = AugmentSettings(probability=0.0)
    results = [made(image, settings, seed) for seed in range(400)]
    mirrored = [bool(numbers[0]) for _, numbers in results]
    assert sum(mirrored) / 400 == pytest.approx(0.5, abs=0.08)
    for changed, numbers in results[:20]:
        assert torch.equal(changed, image.flip(-1) if numbers[0] else image)
        assert not numbers[1:].any()


def test_each_happens_as_often_as_asked_and_says_so(image):
    settings = AugmentSettings(probability=0.25)
    numbers = torch.stack([made(image, settings, seed)[1] for seed in range(1000)])
    share = (numbers != 0).float().mean(0)
    assert share[1] == pytest.approx(0.125, abs=0.03)  # upside down: half of those that are drawn
    for which in (2, 3, 4, 5, 6):
        assert share[which] == pytest.approx(0.25, abs=0.05)
    turned = numbers[numbers[:, 4] != 0]
    torch.testing.assert_close((turned[:, 3] + 1) ** 2 + turned[:, 4] ** 2, torch.ones(len(turned)))
    assert float(numbers[:, 2][numbers[:, 2] != 0].std()) == pytest.approx(0.2, abs=0.03)
    assert float(numbers[:, 5][numbers[:, 5] != 0].std()) == pytest.approx(0.125, abs=0.02)


def test_no_change_is_no_change(image):
    torch.testing.assert_close(_resampled(image, 1.0, 0.0, [0.0, 0.0]), image, atol=1e-5, rtol=0)


def test_whole_pixels_are_moved_exactly(image):
    moved = _resampled(image, 1.0, 0.0, [2 / SIZE[0], -3 / SIZE[1]])
    torch.testing.assert_close(moved[2:, :-3], image[:-2, 3:], atol=1e-5, rtol=0)


def test_half_a_turn_is_two_flips(image):
    torch.testing.assert_close(_resampled(image, 1.0, math.pi, [0.0, 0.0]), image.flip(0, 1), atol=1e-5, rtol=0)


def test_a_quarter_turn_keeps_pixels_square():
    image = torch.zeros(21, 31, dtype=torch.complex64)
    image[10, 20] = 1  # five to the right of the centre
    turned = _resampled(image, 1.0, math.pi / 2, [0.0, 0.0])
    torch.testing.assert_close(turned[5, 15], torch.tensor(1 + 0j), atol=1e-5, rtol=0)  # five above it
    assert float(turned.abs().sum()) == pytest.approx(1, abs=1e-3)


def test_enlarged_twice_from_the_centre():
    image = torch.zeros(21, 21, dtype=torch.complex64)
    image[10, 14] = 1j
    larger = _resampled(image, 2.0, 0.0, [0.0, 0.0])
    assert int(larger.abs().argmax()) == 10 * 21 + 18


def test_there_and_back(image):
    back = _resampled(_resampled(image, 1.1, 0.3, [0.0, 0.0]), 1 / 1.1, -0.3, [0.0, 0.0])
    inside = (slice(6, -6), slice(8, -8))
    torch.testing.assert_close(back[inside], image[inside], atol=0.02, rtol=0)
