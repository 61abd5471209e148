"""Scans that were repeated are scored with the mean over repetitions, and still enter as one of them."""

import numpy as np
import pytest
from samples import head, make_dataset

from rekon.data.fitting import fit_image, fit_kspace, plan
from rekon.data.slices import SliceSet
from rekon.data.summarise import summarise
from rekon.data.volume import write_volume
from rekon.physics.coils import rss
from rekon.physics.fft import fft2c, ifft2c


@pytest.fixture
def repeated(tmp_path):
    """Manifest of a volume whose target is the mean of its own and another repetition's RSS image; and that mean."""

    def make(fit="crop"):
        one, other = head(seed=0), head(seed=1)
        mean = (rss(ifft2c(one), 1) + rss(ifft2c(other), 1)) / 2
        write_volume(
            tmp_path / "v.h5", one, attrs={"target": "multi-rep"}, reconstruction_rss=lambda index: mean[index]
        )
        summarise("set", "test", make_dataset(fit=fit), [tmp_path / "v.h5"], tmp_path / "m.json")
        return tmp_path / "m.json", mean

    return make


@pytest.mark.parametrize("size", [(32, 40), (24, 24), (48, 64)])
def test_target_is_the_volume_s_own(repeated, size):
    path, mean = repeated()
    slices = SliceSet(path, size)
    example = slices.item(1)
    fitting = plan((32, 40), size, "crop")
    np.testing.assert_allclose(example.target, fit_image(mean[1], fitting) / mean.max(), rtol=1e-5)
    assert example.data_range == pytest.approx(1.0)
    assert np.abs(example.target.numpy() - rss(ifft2c(example.kspace.numpy()))).max() > 1e-3
    np.testing.assert_allclose(example.kspace, SliceSet(path, size).training(1, 0, 0, 0).kspace)


def test_downsampled_target_and_its_range(repeated):
    path, mean = repeated("downsample")
    slices = SliceSet(path, (16, 20))
    targets = [slices.item(index).target for index in range(2)]
    assert slices.item(0).data_range == pytest.approx(max(float(one.max()) for one in targets))
    # the same field of view with half the samples: amplitudes stay
    np.testing.assert_allclose(float(targets[0].mean()), mean[0].mean() / mean.max(), rtol=0.02)


def test_training_draws_its_target_from_its_own_coils(repeated):
    path, _ = repeated()
    example = SliceSet(path, (32, 40)).training(0, 0, 0, 0, max_coils=2)
    np.testing.assert_allclose(example.target, rss(ifft2c(example.kspace.numpy())), rtol=1e-5, atol=1e-6)


def test_fitted_image_is_the_image_of_fitted_kspace_for_one_coil():
    image = np.abs(ifft2c(head(coils=1)[0]))
    fitting = plan((32, 40), (24, 24), "downsample")
    by_kspace = np.abs(ifft2c(fit_kspace(fft2c(image), fitting)))
    np.testing.assert_allclose(fit_image(image[0], fitting), by_kspace[0], atol=1e-5)
