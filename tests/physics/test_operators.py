import numpy as np
import pytest
import sigpy.mri
import torch

from rekon.config import MaskSettings
from rekon.physics.coils import coil_combine, expand, rss
from rekon.physics.espirit import espirit_maps
from rekon.physics.fft import fft2c, ifft2c
from rekon.physics.masks import make_mask
from rekon.physics.operator import SenseOperator

torch.set_num_threads(1)


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def smooth_maps(coils: int, size: int) -> np.ndarray:
    y, x = np.mgrid[:size, :size] / size - 0.5
    angles = 2 * np.pi * np.arange(coils) / coils
    maps = np.stack([np.exp(-2 * ((y - np.sin(a)) ** 2 + (x - np.cos(a)) ** 2) + 1j * (x + a)) for a in angles])
    return (maps / rss(maps, 0)).astype(np.complex64)


def disc(size: int) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - size / 2
    return (y**2 + x**2 < (0.35 * size) ** 2).astype(np.complex64)


@pytest.mark.parametrize("mask_shape", [(20,), (16, 20)])
def test_adjointness(mask_shape):
    maps = torch.from_numpy(draw(2, 3, 16, 20))
    mask = torch.from_numpy(np.random.default_rng(1).random(mask_shape) < 0.4)
    operator = SenseOperator(maps, mask)
    x, y = torch.from_numpy(draw(2, 16, 20, seed=2)), torch.from_numpy(draw(2, 3, 16, 20, seed=3))
    left, right = torch.vdot(y.ravel(), operator(x).ravel()), torch.vdot(operator.adjoint(y).ravel(), x.ravel())
    assert abs(left - right) < 1e-5 * abs(left)
    torch.testing.assert_close(operator.normal(x), operator.adjoint(operator.forward(x)))


def test_equals_sigpy():
    maps, x = draw(3, 16, 20), draw(16, 20, seed=1)
    mask = np.random.default_rng(1).random((16, 20)) < 0.4
    theirs = sigpy.mri.linop.Sense(maps, weights=mask.astype(np.float32))
    ours = SenseOperator(torch.from_numpy(maps), torch.from_numpy(mask))
    k = ours(torch.from_numpy(x))
    np.testing.assert_allclose(k.numpy(), theirs(x), atol=1e-5)
    np.testing.assert_allclose(ours.adjoint(k).numpy(), theirs.H(theirs(x)), atol=1e-5)


@pytest.mark.parametrize("shape", [(16,), (20, 16), (1, 20)])
def test_mask_of_another_size_is_refused(shape):
    with pytest.raises(ValueError, match="does not fit"):
        SenseOperator(torch.ones(3, 16, 20, dtype=torch.complex64), torch.ones(shape, dtype=torch.bool))


def test_combination_undoes_expansion_where_there_is_sensitivity():
    maps, x = smooth_maps(4, 16), draw(16, 16)
    maps[:, :3] = 0
    back = coil_combine(expand(x, maps), maps)
    np.testing.assert_allclose(back[3:], x[3:], atol=1e-5)
    assert not back[:3].any()
    np.testing.assert_allclose(coil_combine(*map(torch.from_numpy, (expand(x, maps), maps))).numpy(), back, atol=1e-6)


def test_rss():
    x = np.array([3 + 0j, 4j], np.complex64).reshape(2, 1, 1)
    assert rss(x, 0).item() == 5
    assert rss(np.array([3.0, 4.0]).reshape(2, 1, 1)).item() == 5
    assert rss(torch.from_numpy(x), 0).item() == 5
    batch = draw(2, 5, 4, 4)
    np.testing.assert_allclose(rss(torch.from_numpy(batch), dim=1).numpy(), rss(batch), rtol=1e-5)
    assert rss(torch.from_numpy(batch).real, dim=1).shape == (2, 4, 4)


def test_rss_has_a_gradient_at_zero():
    x = torch.zeros(2, 3, 3, dtype=torch.complex64, requires_grad=True)
    rss(x, 0).sum().backward()
    assert x.grad is not None and not x.grad.isnan().any()


def test_espirit_finds_the_maps_up_to_a_phase():
    size = 48
    truth, image = smooth_maps(4, size), disc(size)
    maps = espirit_maps(fft2c(expand(image, truth)), width=24, iterations=40)
    assert maps.shape == truth.shape and maps.dtype == np.complex64
    inside = (np.abs(image) > 0) & (rss(maps, 0) > 0)
    assert inside.sum() > 0.9 * np.abs(image).sum()
    np.testing.assert_allclose(rss(maps, 0)[inside], 1, atol=1e-3)
    relative = truth * np.exp(-1j * np.angle(truth[0]))
    assert np.abs(maps - relative)[:, inside].mean() < 0.03


def test_espirit_uses_only_the_centre():
    k = fft2c(expand(disc(48), smooth_maps(4, 48)))
    centre = np.zeros_like(k)
    centre[:, 12:36, 12:36] = k[:, 12:36, 12:36]
    inside = disc(48) > 0
    ours, theirs = espirit_maps(k), espirit_maps(centre)
    assert np.abs(ours - theirs)[:, inside].max() < 1e-3


def test_espirit_of_many_coils_survives_compression():
    """24 coils through 12 virtual ones: the same profiles, up to a phase, as without compression."""
    image = disc(48)
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    rows, columns = np.meshgrid(np.linspace(-1, 1, 48), np.linspace(-1, 1, 48), indexing="ij")
    distance = (rows - 1.3 * np.sin(angles)[:, None, None]) ** 2 + (columns - 1.3 * np.cos(angles)[:, None, None]) ** 2
    coils = (np.exp(-distance / 1.5) * np.exp(1j * angles)[:, None, None]).astype(np.complex64)
    k = fft2c(expand(image, coils))
    compressed, full = espirit_maps(k), espirit_maps(k, virtual_coils=24)
    inside = (np.abs(full).sum(0) > 0) & (np.abs(compressed).sum(0) > 0)
    assert inside.sum() > 0.9 * (np.abs(full).sum(0) > 0).sum()
    agreement = np.abs(np.sum(np.conj(full) * compressed, axis=0))[inside]
    assert agreement.min() > 0.999
    assert np.allclose(np.sum(np.abs(compressed) ** 2, axis=0)[inside], 1, atol=1e-4)


def test_espirit_of_one_coil_and_of_nothing():
    assert np.array_equal(espirit_maps(fft2c(disc(32))[None]), np.ones((1, 32, 32)))
    assert not espirit_maps(np.zeros((3, 32, 32), np.complex64)).any()


def test_zero_filling_of_everything_is_the_image():
    maps, x = smooth_maps(4, 16), draw(16, 16)
    operator = SenseOperator(torch.from_numpy(maps), torch.ones(16, dtype=torch.bool))
    np.testing.assert_allclose(operator.normal(torch.from_numpy(x)).numpy(), x, atol=1e-5)


def test_undersampling_folds_along_the_phase_encoding_only():
    x = np.zeros((16, 16), np.complex64)
    x[5, 5] = 1
    settings = MaskSettings(acceleration=2, center_fraction=0.01, offset=0)
    folded = np.abs(ifft2c(fft2c(x) * make_mask(settings, 16).columns))
    assert {tuple(place) for place in np.argwhere(folded > 0.1)} == {(5, 5), (5, 13)}
