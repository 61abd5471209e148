"""The readers on the real open sets; needs REKON_REAL_DATA, the folder that `--config mirror=DIR` takes too."""

import numpy as np
import pytest
import torch

from rekon.config import Catalogue
from rekon.config.base import load
from rekon.data.convert import convert
from rekon.data.slices import SliceSet
from rekon.data.summarise import summarise
from rekon.data.volume import Volume
from rekon.files import sha256


@pytest.fixture
def convert_set(real_data, tmp_path, pytestconfig):
    def make(name):
        dataset = load(Catalogue, pytestconfig.rootpath / "config" / "datasets.yaml")[name]
        paths = []
        for file in dataset.files:
            raw = real_data / (file.mirror or f"{name}/{file.path}")
            assert sha256(raw) == file.sha256
            paths.append(tmp_path / name / f"{file.volume}.h5")
            convert(raw, paths[-1], name, dataset, file.volume, file.contrast, file.subject)
        summarise(name, "test", dataset, paths, tmp_path / f"{name}.json")
        return paths, tmp_path / f"{name}.json"

    return make


def signal_to_background(image):
    """Brightness of the middle over that of the corners."""
    h, w = image.shape
    corners = [image[a, b].mean() for a in (slice(8), slice(-8, None)) for b in (slice(8), slice(-8, None))]
    return image[h // 4 : -h // 4, w // 4 : -w // 4].mean() / np.mean(corners)


def test_ulf_brain(convert_set):
    paths, manifest = convert_set("ulf-brain")
    assert len(paths) == 9
    for path in paths:
        with Volume(path) as volume:
            assert volume.shape in {(4, 1, 128, 126), (4, 1, 128, 196)}
            assert volume.reference and volume.header.encoded_fov[0] == volume.header.encoded_fov[1]
            assert all(signal_to_background(volume.target(index)) > 3 for index in range(4))
    assert {SliceSet(manifest, (96, 96)).item(i).contrast for i in range(36)} == {"T1w", "T2w", "FLAIR"}
    assert len({entry["subject"] for entry in SliceSet(manifest, (96, 96)).volumes.values()}) == 3


def test_brain_7ch(convert_set):
    _, manifest = convert_set("brain-7ch")
    example = SliceSet(manifest, (96, 96)).item(0)
    assert example.raw_shape == (256, 216) and example.kspace.shape == (7, 96, 96)
    top, bottom, left, right = example.crop_box
    assert (bottom - top, right - left) == (96, 80)
    assert signal_to_background(example.target.numpy()[top:bottom, left:right]) > 10


def test_brain_8ch_poisson(convert_set):
    (path,), manifest = convert_set("brain-8ch-poisson")
    with Volume(path) as volume:
        assert not volume.reference
        share = (volume.kspace(0) != 0).any(0).mean()
        assert abs(share - 0.124) < 0.001
    example = SliceSet(manifest, (128, 128)).item(0)
    assert example.target is None and example.mask.shape == (128, 128)
    assert example.mask[52:76, 52:76].all()  # the fully sampled centre, 24 x 24
    assert torch.equal(example.mask, (example.kspace != 0).any(0))
