import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from samples import head, image_of, make_dataset, undersampled

from rekon.config import MaskSettings
from rekon.data.calibrate import calibrate, read_maps
from rekon.data.slices import SliceSet
from rekon.data.summarise import summarise
from rekon.data.volume import Volume, write_volume
from rekon.errors import UserError
from rekon.physics.coils import coil_combine, rss
from rekon.physics.fft import ifft2c
from rekon.physics.masks import make_mask

SHAPES = ((2, 3, 32, 40), (3, 4, 48, 36))


def test_manifest(manifest):
    content = json.loads(manifest(*SHAPES, fit="downsample", normalisation="volume_max").read_text())
    assert [volume["shape"] for volume in content["volumes"]] == [list(shape) for shape in SHAPES]
    assert content["mean_max"] == np.mean([volume["max"] for volume in content["volumes"]])
    assert (content["dataset"], content["split"], content["fit"]) == ("set", "test", "downsample")
    assert content["reference"] is True
    assert [volume["subject"] for volume in content["volumes"]] == ["p0", "p1"]


def test_hash_follows_the_bytes_not_the_place(tmp_path):
    def hash_of(folder, scale):
        write_volume(tmp_path / folder / "v.h5", scale * head())
        summarise("set", "test", make_dataset(), [tmp_path / folder / "v.h5"], tmp_path / "m.json")
        return json.loads((tmp_path / "m.json").read_text())["hash"]

    assert hash_of("a", 1) == hash_of("b", 1) != hash_of("c", 2)


def test_manifest_refusals(tmp_path):
    with pytest.raises(UserError, match="no volumes"):
        summarise("set", "test", make_dataset(), [], tmp_path / "m.json")
    for name, reference in (("a/v", True), ("b/v", True), ("c/w", False)):
        write_volume(tmp_path / f"{name}.h5", head(), attrs={"reference": reference})
    with pytest.raises(UserError, match="same name"):
        summarise("set", "test", make_dataset(), [tmp_path / "a/v.h5", tmp_path / "b/v.h5"], tmp_path / "m.json")
    with pytest.raises(UserError, match="fully sampled and others are not"):
        summarise("set", "test", make_dataset(), [tmp_path / "a/v.h5", tmp_path / "c/w.h5"], tmp_path / "m.json")
    assert not (tmp_path / "m.json").exists()


@pytest.mark.parametrize("normalisation", ["mean_max", "volume_max", 2.5])
def test_item_is_normalised_and_fitted(manifest, normalisation):
    path = manifest(*SHAPES, normalisation=normalisation)
    slices = SliceSet(path, (40, 40), make_mask(MaskSettings(), 40))
    assert len(slices) == 5
    assert slices.items[3] == ("v1", 1)
    example = slices.item(3)
    scale = {"mean_max": slices._mean_max, "volume_max": slices.volumes["v1"]["max"], 2.5: 2.5}[normalisation]
    assert example.scale == scale
    assert example.kspace.shape == (4, 40, 40) and example.kspace.dtype == torch.complex64
    assert example.target is not None and example.target.dtype == torch.float32 and example.mask is None
    torch.testing.assert_close(example.target, rss(ifft2c(example.kspace), 0))
    assert np.isclose(example.data_range, slices.volumes["v1"]["max"] / scale)
    assert (example.volume, example.slice, example.subject, example.contrast) == ("v1", 1, "p1", "AXT1")
    assert example.raw_shape == (48, 36)
    assert example.crop_box == (0, 40, 2, 38)
    with Volume(path.parent / "v1.h5") as volume:
        raw = image_of(volume.kspace(1))[4:44] / scale
    top, bottom, left, right = example.crop_box
    np.testing.assert_allclose(example.target[top:bottom, left:right], raw, atol=1e-5 * raw.max())


def test_black_border_of_the_raw_image_is_left_out(tmp_path):
    from rekon.physics.fft import centre_pad, fft2c

    images = centre_pad(ifft2c(head(1, 2, 24, 28)), (32, 40))
    write_volume(tmp_path / "v.h5", fft2c(images))
    summarise("set", "test", make_dataset(), [tmp_path / "v.h5"], tmp_path / "m.json")
    assert SliceSet(tmp_path / "m.json", (48, 48)).item(0).crop_box == (12, 36, 10, 38)


def test_downsampled_data_range_is_that_of_the_target(manifest):
    slices = SliceSet(manifest((3, 2, 64, 48), fit="downsample"), (32, 32))
    example = slices.item(2)
    assert example.raw_shape == (64, 48)
    assert example.crop_box == (0, 32, 4, 28)
    largest = max(float(slices.item(i).target.max()) for i in range(3))
    assert np.isclose(example.data_range, largest, rtol=1e-5)


def test_training_draws_coils_by_position_only(manifest):
    path = manifest((1, 8, 32, 32))
    slices = SliceSet(path, (32, 32))
    full = slices.item(0)
    first = slices.training(0, seed=1, step=5, position=2, max_coils=3)
    again = SliceSet(path, (32, 32), cache_mb=0).training(0, seed=1, step=5, position=2, max_coils=3)
    assert torch.equal(first.kspace, again.kspace)
    chosen = [i for i in range(8) if any(torch.equal(full.kspace[i], coil) for coil in first.kspace)]
    assert len(chosen) == 3
    torch.testing.assert_close(first.target, rss(ifft2c(first.kspace), 0))
    others = {slices.training(0, 1, step, 2, 3).kspace[0, 0, 0].item() for step in range(10)}
    assert len(others) > 1
    assert torch.equal(slices.training(0, 1, 5, 2, 8).kspace, full.kspace)
    assert torch.equal(slices.training(0, 1, 5, 2).kspace, full.kspace)


@pytest.mark.parametrize("workers", [0, 1])
def test_prefetch_keeps_the_order(manifest, workers):
    slices = SliceSet(manifest(*SHAPES), (32, 32))
    slices.item(0)  # a handle opened before the workers start
    requests = [(i, 0, 7, n) for n, i in enumerate((4, 0, 3, 1))]
    read = list(slices.prefetch(requests, max_coils=2, workers=workers))
    assert [(e.volume, e.slice) for e in read] == [tuple(slices.items[i]) for i, *_ in requests]
    for example, request in zip(read, requests, strict=True):
        assert torch.equal(example.kspace, slices.training(*request, 2).kspace)


def test_prospectively_undersampled_columns(manifest):
    mask = np.arange(40) % 2 == 0
    slices = SliceSet(manifest((1, 3, 32, 40), attrs={"reference": False}, mask=mask), (32, 40))
    example = slices.item(0)
    assert example.target is None
    assert example.mask is not None and example.mask.shape == (40,)
    assert torch.equal(example.mask, torch.from_numpy(mask))
    assert example.crop_box == (0, 32, 0, 40)


def test_prospectively_undersampled_points_survive_the_fit(manifest):
    mask = np.random.default_rng(0).random((32, 40)) < 0.4
    slices = SliceSet(manifest((1, 3, 32, 40), attrs={"reference": False}, mask=mask, fit="downsample"), (24, 24))
    example = slices.item(0)
    assert example.mask is not None
    assert torch.equal(example.mask, torch.from_numpy(mask[4:28, 8:32]))
    assert torch.equal(example.mask, (example.kspace != 0).any(0))


def test_mask_of_another_matrix_is_refused(manifest):
    path = manifest((1, 3, 32, 40))
    with pytest.raises(UserError, match="the mask has 40 phase encodings, the networks' matrix 32"):
        SliceSet(path, (32, 32), make_mask(MaskSettings(), 40))


@pytest.mark.parametrize("key", ["volumes", "mean_max", "fit", "hash"])
def test_damaged_manifest(manifest, key):
    path = manifest((1, 3, 32, 40))
    content = json.loads(path.read_text())
    del content[key]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"{key}.*summarise"):
        SliceSet(path, (32, 40))


def test_volume_that_changed_after_the_manifest(manifest):
    path = manifest((1, 3, 32, 40))
    write_volume(path.parent / "v0.h5", 3 * head(1, 3, 32, 40))
    with pytest.raises(UserError, match=r"v0\.h5: not the volume"):
        SliceSet(path, (32, 40)).item(0)


def test_open_files_are_bounded_and_shared(manifest):
    slices = SliceSet(manifest(*[(1, 1, 8, 8)] * 40), (8, 8), cache_mb=0)
    for index in range(len(slices)):
        slices.item(index)
    assert len(slices._open) == 32
    descriptors = Path("/proc/self/fd")
    before = len(list(descriptors.iterdir())) if descriptors.is_dir() else None
    for index in range(len(slices)):
        slices.item(index)
    assert before is None or len(list(descriptors.iterdir())) == before


# ---- coil maps


def test_maps_follow_the_fit(tmp_path, manifest):
    path = manifest((2, 4, 48, 48))
    calibrate(path.parent / "v0.h5", tmp_path / "maps" / "v0.h5", iterations=20)
    maps, mvue = read_maps(tmp_path / "maps" / "v0.h5")
    assert maps.shape == (2, 4, 48, 48) and mvue.shape == (2, 48, 48)
    slices = SliceSet(path, (40, 56), maps=tmp_path / "maps")
    example = slices.item(1)
    fitted = slices.maps(example)
    assert fitted.shape == example.kspace.shape and fitted.dtype == torch.complex64
    combined = coil_combine(ifft2c(example.kspace), fitted).numpy() * example.scale
    np.testing.assert_allclose(combined[:, 4:52], mvue[1, 4:44], atol=1e-4 * np.abs(mvue).max())
    first = (tmp_path / "maps" / "v0.h5").read_bytes()
    calibrate(path.parent / "v0.h5", tmp_path / "maps" / "v0.h5", iterations=20)
    assert (tmp_path / "maps" / "v0.h5").read_bytes() == first


def test_damaged_maps(tmp_path, manifest):
    path = manifest((1, 3, 32, 40))
    out = tmp_path / "maps" / "v0.h5"
    slices = SliceSet(path, (32, 40), maps=out.parent)
    example = slices.item(0)
    with pytest.raises(UserError, match="no such coil maps"):
        slices.maps(example)
    calibrate(path.parent / "v0.h5", out, iterations=2)
    content = out.read_bytes()
    out.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="not a readable HDF5"):
        slices.maps(example)
    out.write_bytes(content)
    with h5py.File(out, "r+") as file:
        del file["maps"]
    with pytest.raises(UserError, match="'maps' is missing"):
        slices.maps(example)
    with h5py.File(out, "r+") as file:
        file["maps"] = np.ones((1, 2, 32, 40), np.complex64)
    with pytest.raises(UserError, match="calibrate again"):
        slices.maps(example)


def test_undersampling_helper_is_what_it_says():
    k = undersampled(head())
    assert not k[..., 1::2].any() and k[..., ::2].any()
