"""Zero-filled and SENSE on a phantom with known coil maps."""

import numpy as np
import pytest
import torch

from rekon.classical.sense import Sense, sense
from rekon.classical.zero_filled import ZeroFilled
from rekon.config.classical import ClassicalModel
from rekon.physics.coils import rss
from rekon.physics.fft import fft2c, ifft2c

H, W, COILS = 32, 48, 6
MASK = np.arange(W) % 3 == 1
MASK[20:28] = True


@pytest.fixture(scope="module")
def phantom():
    """Image (H, W), normalised maps (coil, H, W) and full k-space, complex64."""
    y, x = np.meshgrid(np.linspace(-1, 1, H), np.linspace(-1, 1, W), indexing="ij")
    body = (x / 0.8) ** 2 + (y / 0.9) ** 2 < 1
    image = (body * (1 + 0.5 * np.sin(9 * x) * np.cos(7 * y))).astype(np.complex64)
    angles = 2 * np.pi * np.arange(COILS) / COILS
    maps = np.stack([np.exp(-((x - np.cos(a)) ** 2 + (y - np.sin(a)) ** 2) + 1j * (a + x * np.cos(a))) for a in angles])
    maps = (maps / np.sqrt((np.abs(maps) ** 2).sum(0))).astype(np.complex64)
    return image, maps, fft2c(maps * image)


def model(**changes) -> ClassicalModel:
    return ClassicalModel(**{"method": "sense", "iterations": 60, "ridge": 0.0} | changes)


def error(image, reference) -> float:
    return float(np.linalg.norm(np.abs(image) - np.abs(reference)) / np.linalg.norm(reference))


def test_zero_filled_of_everything_is_the_reference(phantom):
    image, _, kspace = phantom
    result = ZeroFilled()(torch.from_numpy(kspace), torch.ones(W, dtype=torch.bool))
    np.testing.assert_allclose(result.numpy(), np.abs(image), atol=1e-5)
    assert result.dtype == torch.float32


def test_sense_unfolds_what_zero_filling_cannot(phantom):
    image, maps, kspace = phantom
    undersampled = kspace * MASK
    zero_filled = rss(ifft2c(undersampled), 0)
    assert error(sense(undersampled, MASK, maps, model()), image) < 0.02 < 0.1 < error(zero_filled, image)


def test_sense_solves_the_normal_equations(phantom):
    """Against a dense solve of one readout line's problem: the readout axis is not undersampled."""
    _, maps, kspace = phantom
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(kspace.shape) + 1j * rng.standard_normal(kspace.shape)
    noisy = (kspace + 0.02 * noise).astype(np.complex64) * MASK
    result = sense(noisy, MASK, maps, model(ridge=0.05, iterations=200))
    hybrid = np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(noisy, axes=1), axis=1, norm="ortho"), axes=1)
    dft = np.fft.fftshift(np.fft.fft(np.fft.ifftshift(np.eye(W), axes=0), axis=0, norm="ortho"), axes=0)
    row = H // 2
    system = np.concatenate([MASK[:, None] * dft * maps[c, row] for c in range(COILS)])
    normal = system.conj().T @ system + 0.05 * np.eye(W)
    expected = np.linalg.solve(normal, system.conj().T @ hybrid[:, row].reshape(-1))
    np.testing.assert_allclose(result[row], np.abs(expected), atol=2e-3)


def test_the_ridge_shrinks(phantom):
    _, maps, kspace = phantom
    free, strong = (sense(kspace * MASK, MASK, maps, model(ridge=r)) for r in (0.0, 10.0))
    assert np.linalg.norm(strong) < 0.2 * np.linalg.norm(free)


def test_scaling_the_maps_changes_neither_image_nor_ridge(phantom):
    _, maps, kspace = phantom
    one, three = (sense(kspace * MASK, MASK, maps * s, model(ridge=0.05)) for s in (1, 3))
    np.testing.assert_allclose(one, three, atol=1e-4)


def test_two_dimensional_masks_and_the_reconstructor(phantom):
    _, maps, kspace = phantom
    grid = np.broadcast_to(MASK, (H, W)).copy()
    arguments = [torch.from_numpy(kspace * MASK), torch.from_numpy(grid), torch.from_numpy(maps)]
    result = Sense(model(iterations=5))(*arguments)
    np.testing.assert_allclose(result.numpy(), sense(kspace * MASK, MASK, maps, model(iterations=5)), atol=1e-6)
    assert result.shape == (H, W) and result.dtype == torch.float32


def test_an_empty_slice_gives_zeros(phantom):
    _, maps, kspace = phantom
    assert not sense(kspace * 0, MASK, maps * 0, model()).any()
