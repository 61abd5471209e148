"""Looking inside untrained networks: shapes, and what must be so whatever the weights."""

import numpy as np
import pytest
import torch

from rekon.config import DataSettings, MaskSettings, Recipe, TrainingSettings
from rekon.data.slices import Example
from rekon.errors import UserError
from rekon.physics.coils import rss
from rekon.physics.fft import fft2c, ifft2c
from rekon.ueps.inspect import attend, coil_maps, measure, query_patches, similarity, with_patch
from rekon.ueps.inspection import Inspection, read_inspection, write_inspection
from rekon.ueps.unrolled import build

SIZE = (48, 48)
VIT = {"patch": 8, "width": 16, "layers": 3, "heads": 2, "hidden": 16}


def recipe(**model) -> Recipe:
    from rekon.config import UnrolledModel

    section = {"expanded": True, "cascades": 2, "schedule": None, "vit": VIT} | model
    checked = UnrolledModel.model_validate(section, strict=False)
    return Recipe(
        scale="demo", study="ueps", run="x", title="x", kind="unrolled", seed=0, model=checked.model_dump(mode="json"),
        mask=MaskSettings(), data=DataSettings(train="a", validation="a", size=SIZE),
        training=TrainingSettings(steps=1, batch=1, learning_rate=1e-3),
    )  # fmt: skip


@pytest.fixture(scope="module")
def example() -> Example:
    torch.set_num_threads(1)
    y, x = torch.meshgrid(torch.linspace(-1, 1, SIZE[0]), torch.linspace(-1, 1, SIZE[1]), indexing="ij")
    body = ((x / 0.8) ** 2 + (y / 0.9) ** 2 < 1) * (1 + 0.5 * torch.sin(12 * x) * torch.cos(9 * y))
    angles = torch.arange(6) * torch.pi / 3
    maps = torch.stack([torch.exp(-((x - a.cos()) ** 2) - (y - a.sin()) ** 2) for a in angles]).to(torch.complex64)
    kspace = fft2c(maps * body)
    target = rss(ifft2c(kspace), 0)
    box = (4, 44, 0, 48)
    return Example(kspace, target, None, float(target.max()), 1.0, (40, 48), box, "sim-x", "v", "s", "T1", 2)


def test_coil_maps_of_a_network(example):
    model = recipe(expanded=False, vit=None, unet={"channels": 2, "pools": 2}, sensitivity={"channels": 2, "pools": 2})
    network = build(_model(model), SIZE)
    found = coil_maps(network, example, model)
    assert found.coils == 6 and found.shown == (0, 2, 3, 5)
    assert found.image.shape == found.similarity.shape == (40, 48) and found.estimate.shape == (4, 40, 48)
    known = found.similarity[np.isfinite(found.similarity)]
    assert known.size and (known >= 0).all() and (known <= 1 + 1e-5).all()


def test_similarity_ignores_a_common_factor_and_needs_a_reference():
    random = np.random.default_rng(0)
    maps = random.standard_normal((3, 4, 5)) + 1j * random.standard_normal((3, 4, 5))
    maps[:, 0, 0] = 0
    agreement = similarity(maps, maps * 2 * np.exp(1j * random.random((4, 5))))
    assert np.isnan(agreement[0, 0]) and np.nansum(np.isnan(agreement)) == 1
    np.testing.assert_allclose(agreement[~np.isnan(agreement)], 1, atol=1e-6)
    assert np.nanmean(similarity(maps, maps[::-1])) < 0.9


def test_attention_sums_to_one_and_untrained_values_lie_near_even(example):
    model = recipe()
    torch.manual_seed(0)
    found = attend(build(_model(model), SIZE).eval(), example, model)
    np.testing.assert_allclose(found.scores.sum((1, 2)), 1, rtol=1e-4)
    assert found.scores.shape == (3, 6, 6) and found.rows.shape == found.columns.shape == (3,)
    assert found.uniform.tolist() == pytest.approx([0.5, 0.5])  # three of six rows, three of six columns
    assert (np.abs(found.rows - 0.5) < 0.2).all()


def test_row_sparse_layers_attend_to_rows_alone(example):
    model = recipe(vit=VIT | {"rows": 1, "sparse_from": 1})
    found = attend(build(_model(model), SIZE).eval(), example, model)
    assert found.rows[1] == pytest.approx(1, abs=1e-5) and found.rows[0] < 0.99


def test_query_patches_have_structure():
    image = np.zeros(SIZE, np.float32)
    image[:, 20:23] = 1
    assert query_patches(image, 8)[:, 1].tolist() == [2, 2, 2]


def test_a_smaller_patch_keeps_a_valid_schedule():
    model = recipe(schedule=[24, 40, 48])
    assert with_patch(model, 16).schedule == (32, 48, 48)
    assert with_patch(model, 2).schedule == (24, 40, 48)


def test_runtime_counts_patches():
    found = measure({"UE": recipe(), "UEP": recipe(schedule=[24, 40, 48])}, torch.device("cpu"))
    assert found.models == ("UE", "UEP") and found.patches.tolist() == [9, 36, 144, 576, 2304]
    assert np.isfinite(found.milliseconds[:, :3]).all() and (found.milliseconds[:, :3] > 0).all()


def test_round_trip_and_damage(tmp_path, example):
    model = recipe()
    attention = attend(build(_model(model), SIZE).eval(), example, model)
    write_inspection(tmp_path / "i.npz", Inspection(attention=attention))
    back = read_inspection(tmp_path / "i.npz")
    assert back.maps == () and back.runtime is None and back.attention is not None
    np.testing.assert_array_equal(back.attention.scores, attention.scores)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "i.npz").read_bytes()[:90])
    np.savez(tmp_path / "other.npz", x=np.ones(2))
    for name in ("cut.npz", "other.npz", "absent.npz"):
        with pytest.raises(UserError, match=name):
            read_inspection(tmp_path / name)


def _model(made: Recipe):
    from rekon.config.base import check
    from rekon.config.ueps import UnrolledModel

    return check(UnrolledModel, made.model, "test")
