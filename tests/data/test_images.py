import json

import h5py
import numpy as np
import pytest
import torch
from samples import head

from rekon.data.calibrate import calibrate
from rekon.data.images import ImageSet
from rekon.data.slices import SliceSet
from rekon.data.volume import write_volume
from rekon.errors import UserError
from rekon.physics.coils import coil_combine, expand
from rekon.physics.fft import fft2c, ifft2c
from rekon.physics.operator import SenseOperator

SHAPES = ((2, 3, 32, 40), (3, 4, 48, 36))


@pytest.fixture
def split(manifest, tmp_path):
    """Function that writes volumes, their manifest and their maps, and gives manifest and maps."""

    def make(*shapes, **dataset):
        path = manifest(*shapes, **dataset)
        for number in range(len(shapes)):
            calibrate(path.parent / f"v{number}.h5", tmp_path / "maps" / f"v{number}.h5", iterations=20)
        return path, tmp_path / "maps"

    return make


def test_image_and_maps_are_normalised_and_fitted(split):
    images = ImageSet((parts := split(*SHAPES))[0], (40, 40), parts[1])
    assert (len(images), images.items[3], images.dataset, images.reference) == (5, ("v1", 1), "set", True)
    for index in range(5):
        x, maps = images.image(index), images.sensitivities(index)
        assert (x.shape, x.dtype) == ((40, 40), torch.complex64)
        assert (maps.shape, maps.dtype) == ((3 if index < 2 else 4, 40, 40), torch.complex64)
        assert x.abs().max().item() == pytest.approx(1, abs=1e-6)
        power = maps.abs().square().sum(0)
        assert (((power - 1).abs() < 1e-5) | (power == 0)).all()
        assert 0.1 < (power > 0).float().mean() <= 1
        assert not x[power == 0].any()


@pytest.mark.parametrize("fit", ["crop", "downsample"])
def test_synthesised_kspace_combined_again_gives_the_image(split, fit):
    images = ImageSet((parts := split((2, 3, 48, 64), fit=fit))[0], (32, 36), parts[1])
    example = images.item(1)
    assert example.kspace.shape == (3, 32, 36) and example.kspace.dtype == torch.complex64
    back = coil_combine(ifft2c(example.kspace), images.maps(example))
    torch.testing.assert_close(back, images.image(1), atol=1e-6, rtol=0)
    torch.testing.assert_close(back.abs(), example.target, atol=1e-6, rtol=0)


def test_synthesis_and_combination_are_adjoint(split):
    images = ImageSet((parts := split((1, 3, 32, 40)))[0], (32, 40), parts[1])
    maps, mask = images.sensitivities(0).to(torch.complex128), torch.rand(32, 40) < 0.3
    operator = SenseOperator(maps, mask)
    x, y = torch.randn(32, 40, dtype=torch.complex128), torch.randn(3, 32, 40, dtype=torch.complex128)
    torch.testing.assert_close(
        torch.vdot(operator(x).ravel(), y.ravel()), torch.vdot(x.ravel(), operator.adjoint(y).ravel())
    )
    torch.testing.assert_close(operator(x), fft2c(expand(x, maps)) * mask)


@pytest.mark.parametrize(("fit", "size"), [("crop", (40, 56)), ("downsample", (24, 24))])
def test_magnitude_is_the_root_sum_of_squares_where_maps_cover(split, fit, size):
    path, maps = split((2, 4, 48, 48), fit=fit)
    images, slices = ImageSet(path, size, maps), SliceSet(path, size)
    example, kspace = images.item(1), slices.item(1)
    assert example.crop_box[2:] == ((4, 52) if fit == "crop" else (0, 24))
    assert (example.raw_shape, example.subject, example.contrast) == ((48, 48), "p0", "AXT1")
    covered = images.sensitivities(1).abs().sum(0) > 0
    ours, theirs = example.target * example.scale, kspace.target * kspace.scale
    bright = covered & (theirs > 0.3 * theirs.max())
    assert bright.float().mean() > 0.1
    error = (ours - theirs)[bright].abs().mean() / theirs[bright].mean()
    assert error < (0.02 if fit == "crop" else 0.06), "noise and interpolation"
    assert (ours <= theirs * 1.001 + 0.1 * theirs.max()).all()


def test_item_says_what_the_image_was_divided_by(split):
    images = ImageSet((parts := split(*SHAPES))[0], (40, 40), parts[1])
    items = [images.item(index) for index in range(len(images))]
    for item in items:
        assert item.mask is None and item.target.max().item() == pytest.approx(1, abs=1e-6)
        largest = max(other.scale for other in items if other.volume == item.volume)
        assert item.data_range == pytest.approx(largest / item.scale)
    assert items[0].scale > items[1].scale, "the second slice of a volume is half as bright"
    assert ImageSet(*(parts[0], (40, 40), parts[1])).item(4).data_range == items[4].data_range


def test_an_empty_slice_stays_empty(manifest, tmp_path):
    path = manifest((2, 3, 32, 40))
    calibrate(path.parent / "v0.h5", tmp_path / "maps/v0.h5", iterations=2)
    with h5py.File(tmp_path / "maps/v0.h5", "r+") as file:
        file["maps"][1], file["mvue"][1] = 0, 0
    images = ImageSet(path, (32, 40), tmp_path / "maps")
    assert not images.image(1).any() and not images.sensitivities(1).any()
    example = images.item(1)
    assert (example.scale, example.data_range) == (0, 0) and not example.kspace.any() and not example.target.any()


def test_undersampled_sets_are_refused(manifest, tmp_path):
    path = manifest((1, 3, 32, 40), attrs={"reference": False}, mask=np.arange(40) % 2 == 0)
    with pytest.raises(UserError, match=r"test\.json: 'set' was undersampled when it was acquired"):
        ImageSet(path, (32, 40), tmp_path)


@pytest.mark.parametrize("cache_mb", [0, 512])
def test_memory_and_forked_workers_change_nothing(split, cache_mb):
    path, maps = split(*SHAPES)
    images = ImageSet(path, (32, 32), maps, cache_mb=cache_mb)
    expected = [images.item(index) for index in range(5)]
    loader = torch.utils.data.DataLoader(
        images_of(images), batch_size=None, num_workers=2, multiprocessing_context="fork"
    )
    for one, other in zip(expected, loader, strict=True):
        assert torch.equal(one.kspace, other[0]) and torch.equal(one.target, other[1])
    assert len(images._cache) == (5 if cache_mb else 0)
    assert images._room >= 0


def images_of(images):
    class Items(torch.utils.data.Dataset):
        def __len__(self):
            return len(images)

        def __getitem__(self, index):
            return images.item(index).kspace, images.image(index).abs()

    return Items()


def test_damaged_maps_and_volumes(split):
    path, maps = split((1, 3, 32, 40))
    content = (maps / "v0.h5").read_bytes()
    with h5py.File(maps / "v0.h5", "r+") as file:
        del file["maps"]
        file["maps"] = np.ones((1, 2, 32, 40), np.complex64)
    with pytest.raises(UserError, match=r"v0\.h5: dataset 'maps' has slices of shape \(2, 32, 40\).*calibrate again"):
        ImageSet(path, (32, 40), maps).image(0)
    (maps / "v0.h5").write_bytes(content)
    with h5py.File(maps / "v0.h5", "r+") as file:
        del file["mvue"]
    with pytest.raises(UserError, match="'mvue' is missing"):
        ImageSet(path, (32, 40), maps).image(0)
    (maps / "v0.h5").unlink()
    with pytest.raises(UserError, match="no such coil maps"):
        ImageSet(path, (32, 40), maps).image(0)
    write_volume(path.parent / "v0.h5", 3 * head(1, 3, 32, 40))
    with pytest.raises(UserError, match=r"v0\.h5: not the volume"):
        ImageSet(path, (32, 40), maps).image(0)


def test_damaged_manifest(split):
    path, maps = split((1, 3, 32, 40))
    content = json.loads(path.read_text())
    del content["fit"]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="'fit' is missing"):
        ImageSet(path, (32, 40), maps)
