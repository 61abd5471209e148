import numpy as np
import pytest
import sigpy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rekon.physics.fft import centre_crop, centre_pad, crop_fov, fft2c, fftc, ifft2c, ifftc, reflect_pad

sizes = st.integers(1, 20)


def image(*shape: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


@pytest.mark.parametrize("shape", [(8, 6), (9, 7), (3, 8, 5)])
def test_equals_sigpy(shape):
    x = image(*shape)
    np.testing.assert_allclose(fft2c(x), sigpy.fft(x, axes=(-2, -1)), atol=1e-5)
    np.testing.assert_allclose(ifft2c(x), sigpy.ifft(x, axes=(-2, -1)), atol=1e-5)


@settings(deadline=None, max_examples=30)
@given(rows=sizes, columns=sizes)
def test_numpy_and_torch_agree_and_invert(rows, columns):
    x = image(2, rows, columns)
    k = fft2c(x)
    assert k.dtype == np.complex64
    np.testing.assert_allclose(k, fft2c(torch.from_numpy(x)).numpy(), atol=1e-5)
    np.testing.assert_allclose(ifft2c(k), x, atol=1e-5)
    np.testing.assert_allclose(ifft2c(torch.from_numpy(k)).numpy(), x, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(k), np.linalg.norm(x), rtol=1e-5)  # orthonormal
    np.testing.assert_allclose(fftc(fftc(x, -1), -2), k, atol=1e-5)
    np.testing.assert_allclose(ifftc(ifftc(x, -1), -2), ifft2c(x), atol=1e-5)


@pytest.mark.parametrize("size", [(8, 6), (7, 9)])
def test_zero_frequency_sits_at_half(size):
    k = fft2c(np.ones(size, np.complex64))
    assert np.unravel_index(np.abs(k).argmax(), size) == (size[0] // 2, size[1] // 2)
    assert np.isclose(k[size[0] // 2, size[1] // 2].real, np.sqrt(size[0] * size[1]))


def test_input_is_left_alone():
    x = image(4, 6)
    before = x.copy()
    for function in (fft2c, ifft2c):
        function(x)
    fftc(x, -1), ifftc(x, 0)
    np.testing.assert_array_equal(x, before)


def test_single_precision_under_autocast_and_for_real_input():
    with torch.autocast("cpu", torch.bfloat16):
        assert fft2c(torch.ones(4, 4, dtype=torch.bfloat16)).dtype == torch.complex64
    assert fft2c(torch.ones(4, 4, dtype=torch.complex128)).dtype == torch.complex128
    assert fft2c(np.ones((4, 4))).dtype == np.complex64


@settings(deadline=None, max_examples=50)
@given(small=st.tuples(sizes, sizes), more=st.tuples(st.integers(0, 9), st.integers(0, 9)))
def test_crop_undoes_pad_and_keeps_the_centre(small, more):
    large = (small[0] + more[0], small[1] + more[1])
    x = image(2, *small)
    for padded in (centre_pad(x, large), reflect_pad(x, large)):
        assert padded.shape[-2:] == large
        np.testing.assert_array_equal(centre_crop(padded, small), x)
        np.testing.assert_array_equal(padded[:, large[0] // 2, large[1] // 2], x[:, small[0] // 2, small[1] // 2])
    np.testing.assert_array_equal(centre_pad(torch.from_numpy(x), large).numpy(), centre_pad(x, large))
    assert np.isclose(np.abs(centre_pad(x, large)).sum(), np.abs(x).sum())


def test_reflection_mirrors_without_repeating_the_edge():
    x = np.arange(4.0)[None].repeat(2, 0)
    np.testing.assert_array_equal(reflect_pad(x, (2, 8))[0], [2, 1, 0, 1, 2, 3, 2, 1])


def test_low_pass_by_cropping_k_space_keeps_the_picture_in_place():
    x = np.zeros((32, 32), np.complex64)
    x[16, 16] = 1
    small = np.abs(ifft2c(np.ascontiguousarray(centre_crop(fft2c(x), (16, 16)))))
    assert np.unravel_index(small.argmax(), small.shape) == (8, 8)


@settings(deadline=None, max_examples=40)
@given(n=st.integers(1, 24), fraction=st.floats(0, 1), axis=st.sampled_from([-1, -2]))
def test_field_of_view_is_cropped_in_image_space(n, fraction, axis):
    size = max(1, round(fraction * n))
    k = image(2, n, 6) if axis == -2 else image(2, 6, n)
    kept = np.take(ifftc(k, axis), range(n // 2 - size // 2, n // 2 - size // 2 + size), axis)
    before = k.copy()
    np.testing.assert_allclose(crop_fov(k, size, axis), fftc(kept, axis), atol=1e-5)
    np.testing.assert_array_equal(k, before)
