import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import head, image_of

from rekon.data.fitting import fit_kspace, fit_maps, plan
from rekon.physics.coils import rss
from rekon.physics.fft import fft2c, ifft2c

even = st.integers(4, 24).map(lambda n: 2 * n)
matrix = st.tuples(even, even)


def same(a, b):
    np.testing.assert_allclose(a, b, atol=2e-5 * np.abs(b).max())


@settings(deadline=None, max_examples=40)
@given(raw=matrix, size=matrix)
def test_crop_keeps_every_pixel_that_fits(raw, size):
    k = head(1, 2, *raw)[0]
    fitting = plan(raw, size, "crop")
    out = ifft2c(fit_kspace(k, fitting))
    assert out.shape == (2, *size)
    top, bottom, left, right = fitting.box
    assert (bottom - top, right - left) == (min(raw[0], size[0]), min(raw[1], size[1]))
    y, x = raw[0] // 2 - size[0] // 2, raw[1] // 2 - size[1] // 2  # where the new image starts in the raw one
    same(
        out[:, top:bottom, left:right],
        ifft2c(k)[:, max(y, 0) : max(y, 0) + bottom - top, max(x, 0) : max(x, 0) + right - left],
    )


def test_border_is_the_mirrored_image():
    raw = ifft2c(head(1, 2, 16, 16)[0])
    out = ifft2c(fit_kspace(fft2c(raw), plan((16, 16), (24, 16), "crop")))
    same(out[:, 3], raw[:, 1])
    same(out[:, 20], raw[:, 14])


@settings(deadline=None, max_examples=60)
@given(raw=matrix, size=matrix, fov=st.none() | st.tuples(st.floats(100, 400), st.floats(100, 400)))
def test_downsampling_fits_the_whole_field_of_view(raw, size, fov):
    fitting = plan(raw, size, "downsample", fov)
    assert all(
        new <= min(old, limit) and new % 2 == 0 for new, old, limit in zip(fitting.sampled, raw, size, strict=True)
    )
    if all(a <= b for a, b in zip(raw, size, strict=True)) and fov is None and raw[0] == raw[1]:
        assert fitting.sampled == raw
    assert fit_kspace(head(1, 1, *raw)[0], fitting).shape == (1, *size)


@pytest.mark.parametrize(
    ("raw", "fov", "size", "sampled"),
    [
        ((256, 216), None, (96, 96), (96, 80)),
        ((128, 196), (196.0, 196.0), (96, 96), (96, 96)),  # one field of view, finer along W
        ((128, 196), (196.0, 196.0), (320, 320), (128, 196)),
        ((128, 126), (128.0, 128.0), (128, 128), (128, 126)),
    ],
)
def test_downsampled_sizes(raw, fov, size, sampled):
    assert plan(raw, size, "downsample", fov).sampled == sampled


def test_downsampling_keeps_amplitude_and_place():
    k = head(1, 3, 128, 96)[0]
    fitting = plan((128, 96), (64, 64), "downsample")
    small, large = image_of(fit_kspace(k, fitting)), image_of(k)
    top, bottom, left, right = fitting.box
    assert (bottom - top, right - left) == (64, 48)
    blocks = large.reshape(64, 2, 48, 2).mean((1, 3))
    inner = small[top:bottom, left:right]
    assert np.corrcoef(blocks.ravel(), inner.ravel())[0, 1] > 0.97
    bright = blocks > 0.5 * blocks.max()
    assert abs(inner[bright].mean() / blocks[bright].mean() - 1) < 0.02


@pytest.mark.parametrize("size", [(24, 24), (40, 48), (24, 48)])
def test_k_space_fit_keeps_samples_samples(size):
    k = head(1, 2, 32, 40)[0]
    pattern = np.random.default_rng(0).random((32, 40)) < 0.3
    out = fit_kspace(k * pattern, plan((32, 40), size, "k-space"))
    assert out.shape == (2, *size)
    rows, columns = min(32, size[0]), min(40, size[1])
    a, b = 16 - rows // 2, 20 - columns // 2
    y, x = size[0] // 2 - rows // 2, size[1] // 2 - columns // 2
    scale = np.sqrt(size[0] * size[1] / (32 * 40))
    same(out[:, y : y + rows, x : x + columns], scale * (k * pattern)[:, a : a + rows, b : b + columns])
    assert np.count_nonzero(out) == np.count_nonzero((k * pattern)[:, a : a + rows, b : b + columns])


@pytest.mark.parametrize(("size", "fit"), [((32, 64), "crop"), ((24, 32), "downsample"), ((60, 60), "k-space")])
def test_maps_stay_with_their_images(size, fit):
    y, x = np.mgrid[:32, :40] / 40 - 0.4
    maps = np.stack([np.exp(-(y**2) + 1j * x), np.exp(-(x**2) - 1j * y), 1 + y])
    maps = (maps / rss(maps, 0)).astype(np.complex64)
    maps[:, :3] = 0
    image = head(1, 1, 32, 40)[0]
    image = ifft2c(image)[0]
    fitting = plan((32, 40), size, fit)
    fitted = fit_maps(maps, fitting)
    assert fitted.shape == (3, *size)
    power = rss(fitted, 0)
    assert np.all((np.abs(power - 1) < 1e-3) | (power == 0))
    # the coil images, fitted, are the fitted image times the fitted maps
    coils, one = (ifft2c(fit_kspace(fft2c(z), fitting)) for z in (maps * image, image[None]))
    inside = power > 0
    error = np.abs(coils - fitted * one)[:, inside]
    assert error.mean() < 0.02 * np.abs(one).max()
