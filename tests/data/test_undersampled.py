import numpy as np
import pytest
import torch

from rekon.config import MaskSettings
from rekon.config.sampling import ExactMaskSettings
from rekon.data.calibrate import calibrate
from rekon.data.images import ImageSet
from rekon.data.slices import SliceSet
from rekon.data.undersampled import pattern_of, spread, undersampled
from rekon.errors import UserError
from rekon.physics.coils import rss
from rekon.physics.fft import ifft2c
from rekon.physics.masks import make_mask
from rekon.physics.patterns import make_exact_mask

SIZE = (32, 40)


def exact(*patterns, size=SIZE):
    settings = (ExactMaskSettings(pattern=pattern, acceleration=8, variants=1) for pattern in patterns)
    return {one.pattern: make_exact_mask(one, size) for one in settings}


@pytest.fixture
def images(manifest, tmp_path):
    path = manifest((2, 4, *SIZE))
    calibrate(path.parent / "v0.h5", tmp_path / "maps/v0.h5", iterations=10)
    return ImageSet(path, SIZE, tmp_path / "maps")


def test_measured_kspace_keeps_its_columns_and_its_coils(manifest):
    slices, mask = SliceSet(manifest((2, 4, *SIZE)), SIZE), make_mask(MaskSettings(), 40)
    source = undersampled(slices, mask)
    assert len(source) == 2
    sample = source.training(1, seed=3, step=5, max_coils=2)
    expected = slices.training(1, 3, 5, 1, 2)
    assert torch.equal(sample.kspace, expected.kspace * torch.from_numpy(mask.columns))
    assert torch.equal(sample.mask, torch.from_numpy(mask.columns))
    assert torch.equal(sample.target, expected.target)
    whole = source.validation(1, 7)
    assert torch.equal(whole.kspace, slices.item(1).kspace * sample.mask) and len(whole.kspace) == 4


def test_images_are_undersampled_by_a_pattern_drawn_per_step(images):
    masks = exact("es-x", "radial", "gaussian")
    source = undersampled(images, masks)
    seen = set()
    for step in range(12):
        pattern = pattern_of(3, step, 1, list(masks))
        sample = source.training(1, seed=3, step=step)
        assert torch.equal(sample.mask, torch.from_numpy(masks[pattern].samples[0]))
        torch.testing.assert_close(sample.kspace, images.item(1).kspace * sample.mask)
        torch.testing.assert_close(sample.target, images.item(1).target)
        seen.add(pattern)
    assert seen == set(masks)
    for number in range(6):
        sample = source.validation(0, number)
        assert torch.equal(sample.mask, torch.from_numpy(list(masks.values())[number % 3].samples[0]))


def test_images_of_a_part_of_the_coils_agree_with_their_kspace(images):
    source = undersampled(images, {"es-y": make_exact_mask(ExactMaskSettings(pattern="es-y", acceleration=1), SIZE)})
    drawn = set()
    for step in range(6):
        sample = source.training(0, seed=1, step=step, max_coils=2)
        assert len(sample.kspace) == 2 and sample.target.max() < 1
        torch.testing.assert_close(sample.target, rss(ifft2c(sample.kspace), 0), atol=1e-5, rtol=1e-4)
        drawn.add(sample.kspace.abs().sum().item())
    assert len(drawn) > 1
    assert len(source.training(0, 1, 0, 4).kspace) == len(source.training(0, 1, 0).kspace) == 4


def test_sets_that_do_not_serve_are_refused(manifest, images):
    with pytest.raises(UserError, match=r"R8_64x64\.h5 is not for the matrix \(32, 40\)"):
        undersampled(images, exact("radial", size=(64, 64)))
    path = manifest((1, 3, *SIZE), attrs={"reference": False}, mask=np.arange(40) % 2 == 0)
    with pytest.raises(UserError, match="no fully sampled reference"):
        undersampled(SliceSet(path, SIZE), make_mask(MaskSettings(), 40))


def test_spread():
    assert spread(10, None) == list(range(10))
    assert spread(10, 2) == [2, 7]
    assert spread(3, 8) == [0, 1, 2]
    assert len(set(spread(1000, 37))) == 37
