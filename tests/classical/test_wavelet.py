"""l1-wavelet reconstruction on a piecewise constant phantom with known coil maps."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rekon.classical.wavelet import L1Wavelet, l1_wavelet
from rekon.config.classical import ClassicalModel
from rekon.files import read_yaml
from rekon.physics.coils import rss
from rekon.physics.fft import fft2c, ifft2c
from rekon.plan import plan
from rekon.studies.classical import reconstructor
from rekon.studies.kinds import Trained

ROOT = Path(__file__).resolve().parents[2]
H, W, COILS = 64, 80, 4
MASK = np.random.default_rng(0).random(W) < 0.3
MASK[36:44] = True


@pytest.fixture(scope="module")
def phantom():
    """Image (H, W) with few wavelet coefficients, normalised maps (coil, H, W) and full k-space, complex64."""
    y, x = np.meshgrid(np.linspace(-1, 1, H), np.linspace(-1, 1, W), indexing="ij")
    image = 1.0 * ((x / 0.8) ** 2 + (y / 0.9) ** 2 < 1) - 0.4 * (np.abs(x + 0.2) + np.abs(y) < 0.4)
    image = (image * np.exp(0.5j)).astype(np.complex64)
    angles = 2 * np.pi * np.arange(COILS) / COILS
    maps = np.stack([np.exp(-((x - np.cos(a)) ** 2 + (y - np.sin(a)) ** 2) + 1j * (a + x * np.cos(a))) for a in angles])
    maps = (maps / rss(maps)).astype(np.complex64)
    return image, maps, fft2c(maps * image)


def model(**changes) -> ClassicalModel:
    return ClassicalModel(**{"method": "l1-wavelet", "iterations": 50, "regularisation": 0.001} | changes)


def error(image, reference) -> float:
    return float(np.linalg.norm(np.abs(image) - np.abs(reference)) / np.linalg.norm(reference))


def test_everything_measured_and_hardly_regularised_gives_the_image(phantom):
    image, maps, kspace = phantom
    result = l1_wavelet(kspace, np.ones(W, bool), maps, model(regularisation=1e-6))
    np.testing.assert_allclose(result, np.abs(image), atol=1e-3)
    assert result.dtype == np.float32


def test_sparsity_recovers_what_zero_filling_and_least_squares_cannot(phantom):
    image, maps, kspace = phantom
    undersampled = kspace * MASK
    sparse, free = (error(l1_wavelet(undersampled, MASK, maps, model(regularisation=r)), image) for r in (0.002, 0))
    assert sparse < 0.75 * free < 0.75 * error(rss(ifft2c(undersampled), 0), image)


def test_the_regularisation_denoises(phantom):
    image, maps, kspace = phantom
    rng = np.random.default_rng(0)
    noise = 0.2 * (rng.standard_normal(kspace.shape) + 1j * rng.standard_normal(kspace.shape))
    noisy = (kspace + noise).astype(np.complex64)
    plain, sparse = (l1_wavelet(noisy, np.ones(W, bool), maps, model(regularisation=r)) for r in (0, 0.2))
    assert error(sparse, image) < 0.6 * error(plain, image)


def test_a_weight_above_every_coefficient_leaves_nothing(phantom):
    _, maps, kspace = phantom
    assert l1_wavelet(kspace, np.ones(W, bool), maps, model(regularisation=1.0)).any()
    # three levels of wavelets in two dimensions: no coefficient is more than 2^3 times the image's maximum, about
    assert not l1_wavelet(kspace, np.ones(W, bool), maps, model(regularisation=16.0)).any()


def test_the_image_scales_with_kspace(phantom):
    _, maps, kspace = phantom
    one, many = (l1_wavelet(kspace * MASK * np.float32(c), MASK, maps, model()) for c in (1, 3e-4))
    np.testing.assert_allclose(many / 3e-4, one, atol=1e-4)


def test_scaling_the_maps_changes_neither_image_nor_regularisation(phantom):
    _, maps, kspace = phantom
    one, three = (l1_wavelet(kspace * MASK, MASK, maps * s, model(regularisation=0.02)) for s in (1, 3))
    np.testing.assert_allclose(one, three, atol=1e-4)


def test_equal_inputs_give_equal_bytes_whatever_the_global_random_state(phantom):
    _, maps, kspace = phantom
    results = []
    for seed in (1, 2):
        np.random.seed(seed)  # noqa: NPY002 -- the state that must not matter
        results.append(l1_wavelet(kspace * MASK, MASK, maps, model(iterations=5)))
    np.testing.assert_array_equal(*results)


def test_two_dimensional_masks_and_the_reconstructor(phantom):
    _, maps, kspace = phantom
    grid = np.broadcast_to(MASK, (H, W)).copy()
    arguments = [torch.from_numpy(kspace * MASK), torch.from_numpy(grid), torch.from_numpy(maps)]
    result = L1Wavelet(model(iterations=5))(*arguments)
    np.testing.assert_array_equal(result.numpy(), l1_wavelet(kspace * MASK, MASK, maps, model(iterations=5)))
    assert result.shape == (H, W) and result.dtype == torch.float32


def test_only_measured_samples_count(phantom):
    _, maps, kspace = phantom
    np.testing.assert_array_equal(
        l1_wavelet(kspace, MASK, maps, model(iterations=3)), l1_wavelet(kspace * MASK, MASK, maps, model(iterations=3))
    )


def test_empty_slices_give_zeros(phantom):
    _, maps, kspace = phantom
    assert not l1_wavelet(kspace, MASK, maps * 0, model()).any()
    assert not l1_wavelet(kspace * 0, MASK, maps, model()).any()


def test_the_workflow_knows_the_method():
    demo = plan(read_yaml(ROOT / "config/demo.yaml"), ROOT)
    sense = demo.recipes["classical", "sense"]
    recipe = sense.model_copy(update={"model": {"method": "l1-wavelet", "regularisation": 0.01}})
    assert demo.uses_maps(recipe)
    made = reconstructor(recipe, Trained(), torch.device("cpu"))
    assert isinstance(made, L1Wavelet) and made.model.regularisation == 0.01
