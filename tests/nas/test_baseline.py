"""The methods that NAS is held against, on its inputs: the U-Net, and E2EVarNet under the patterns of a hierarchy.

The golden curves (tests/golden/nas_baseline.json) hold what a refactoring must reproduce. After a change that is meant
to change training, write them anew with `REKON_WRITE_GOLDEN=1 pytest tests/nas/test_baseline.py` and say so in the
commit.
"""

import json
import os
from pathlib import Path

import cohort
import pytest
import torch

from rekon.config import Compute, DataSettings, Recipe, TrainingSettings
from rekon.config.sampling import PATTERNS
from rekon.errors import UserError
from rekon.nas.baseline import ImageUnet, UnetObjective, UnetReconstructor, build, load
from rekon.nas.inputs import pattern_of
from rekon.physics.coils import rss
from rekon.physics.fft import ifft2c
from rekon.training.history import read_history
from rekon.training.loop import BudgetReached, TrainOutputs, train
from rekon.ueps.objective import UnrolledObjective

GOLDEN = Path(__file__).parents[1] / "golden/nas_baseline.json"
MODELS = {
    "unet": ("image_unet", {"channels": 4, "pools": 2}),
    "e2e-varnet": (
        "unrolled",
        {
            "expanded": False, "cascades": 2, "schedule": None, "unet": {"channels": 4, "pools": 2},
            "sensitivity": {"channels": 2, "pools": 2},
        },
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return cohort.volumes(tmp_path_factory.mktemp("volumes"))


def recipe(run, max_coils=None, pools=None, **training):
    settings = {"steps": 16, "batch": 2, "learning_rate": 3e-3, "validations": 4, "validation_slices": 4} | training
    kind, model = MODELS[run]
    return Recipe(
        scale="tiny", study="nas", run=run, title=run, kind=kind, seed=42,
        model=model if pools is None else model | {"pools": pools}, sampling=cohort.sampling(),
        training=TrainingSettings(**settings),
        data=DataSettings(train="sim-tiny", validation="sim-tiny", size=cohort.SIZE, max_coils=max_coils),
    )  # fmt: skip


def objective(settings, manifest):
    device = torch.device("cpu")
    if settings.kind == "image_unet":
        return UnetObjective(settings, *(cohort.hierarchy(manifest) for _ in range(2)), device)
    highest = {pattern: mask for (pattern, r), mask in cohort.masks(settings.sampling).items() if r == 32}
    return UnrolledObjective(settings, *(cohort.images(manifest) for _ in range(2)), highest, device)


def made(manifest, run, **changes):
    torch.manual_seed(0)
    return objective(recipe(run, **changes), manifest)


def outputs(folder):
    return TrainOutputs(folder / "weights.safetensors", folder / "metrics.jsonl", folder / "run.json")


def trained(folder, manifest, run, minutes=None, workers=0, **training):
    settings = recipe(run, **training)
    train(
        lambda device: objective(settings, manifest), settings, outputs(folder), folder / "work",
        Compute(device="cpu", threads=1, workers=workers), minutes, {"train": "1" * 64},
    )  # fmt: skip
    return outputs(folder).weights.read_bytes(), outputs(folder).metrics.read_bytes()


@pytest.mark.parametrize("run", MODELS)
def test_golden_loss_curve(manifest, tmp_path, run):
    trained(tmp_path, manifest, run)
    rows = read_history(outputs(tmp_path).metrics)
    curve = {key: [row[key] for row in rows if key in row] for key in ("loss", "gradient_norm", "val_mae")}
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if os.environ.get("REKON_WRITE_GOLDEN"):
        GOLDEN.write_text(json.dumps(golden | {run: curve}, indent=1, sort_keys=True) + "\n")
        pytest.skip("written")
    for key, values in golden[run].items():
        assert curve[key] == pytest.approx(values, rel=1e-4), key
    assert curve["val_mae"] == sorted(curve["val_mae"], reverse=True), "it learns"


@pytest.mark.parametrize("run", MODELS)
def test_budget_exits_and_workers_leave_no_trace(manifest, tmp_path, run):
    whole = trained(tmp_path / "whole", manifest, run, steps=6)
    for _ in range(2):
        with pytest.raises(BudgetReached):
            trained(tmp_path / "parts", manifest, run, minutes=0, steps=6)
    assert trained(tmp_path / "parts", manifest, run, workers=1, steps=6) == whole


# --- U-Net on combined images ---------------------------------------------------------------------------------------


def test_unet_batch(manifest):
    ours = made(manifest, "unet")
    batch = ours.batch([0, 4, 8], 7)
    hierarchy = cohort.hierarchy(manifest)
    for place, index in enumerate((0, 4, 8)):
        pattern = pattern_of(42, 7, index, PATTERNS)
        assert torch.equal(batch["measured"][place], hierarchy.measured(index, pattern))
        assert torch.equal(batch["target"][place], hierarchy.images.image(index).abs())


def test_unet_scales_with_its_input():
    torch.manual_seed(0)
    network, image = ImageUnet(4, 2), torch.randn(2, 24, 20, dtype=torch.complex64)
    torch.testing.assert_close(network(3 * image), 3 * network(image), rtol=1e-4, atol=1e-5)
    assert network(image).shape == (2, 24, 20) and network(image).dtype == torch.float32
    assert not network(torch.zeros(1, 16, 16, dtype=torch.complex64)).isnan().any()


@pytest.mark.parametrize("run", MODELS)
def test_every_parameter_learns(manifest, run):
    ours = made(manifest, run)
    ours.step(ours.batch([0, 1], 0), 0, lambda _, loss: loss.backward())
    for key, parameter in ours.networks.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), key


@pytest.mark.parametrize("run", MODELS)
def test_validation_lets_the_patterns_take_turns(manifest, run, monkeypatch):
    ours, seen = made(manifest, run), []
    forward = ours.network.forward
    monkeypatch.setattr(ours.network, "forward", lambda *inputs: seen.append(inputs) or forward(*inputs))
    with torch.no_grad():
        ours.validate()
    hierarchy = cohort.hierarchy(manifest)
    assert len(seen) == 4
    for (number, index), pattern, inputs in zip(ours.validated, PATTERNS, seen, strict=True):
        if run == "unet":
            assert torch.equal(inputs[0][0], hierarchy.measured(index, pattern)), number
        else:
            assert torch.equal(inputs[1][0], hierarchy.mask(index, pattern, 32)), number


def test_unet_reconstructs_what_it_was_trained_on(manifest, tmp_path):
    trained(tmp_path, manifest, "unet", steps=2)
    settings = recipe("unet", steps=2)
    reconstructor = load(settings, outputs(tmp_path).weights, torch.device("cpu"))
    assert isinstance(reconstructor, UnetReconstructor) and reconstructor.needs_maps and reconstructor.name == "unet"
    hierarchy = cohort.hierarchy(manifest)
    example, mask = hierarchy.images.item(3), hierarchy.mask(3, "gaussian", 32)
    image = reconstructor(example.kspace * mask, mask, hierarchy.images.maps(example))
    assert (image.shape, image.dtype, image.requires_grad) == ((32, 32), torch.float32, False)
    expected = reconstructor.network(hierarchy.measured(3, "gaussian")[None])[0]
    torch.testing.assert_close(image, expected, atol=1e-5, rtol=1e-4)
    with pytest.raises(UserError, match="recipe"):
        load(recipe("unet", steps=3), outputs(tmp_path).weights, torch.device("cpu"))


def test_too_many_poolings_are_refused():
    with pytest.raises(UserError, match=r"model\.pools 5 is too many for data\.size \(32, 32\)"):
        build(recipe("unet", pools=5))


def test_an_empty_split_is_refused(manifest, tmp_path):
    empty = tmp_path / "empty.json"
    empty.write_text(json.dumps(json.loads(manifest.read_text()) | {"volumes": []}))
    for run in MODELS:
        with pytest.raises(UserError, match=r"empty\.json: no slices"):
            objective(recipe(run), empty)


# --- E2EVarNet on the k-space of combined images --------------------------------------------------------------------


def test_varnet_batch(manifest):
    ours = made(manifest, "e2e-varnet")
    batch = ours.batch([0, 4], 7)
    assert (batch["kspace"].shape, batch["mask"].shape, batch["target"].shape) == (
        (2, 4, 32, 32), (2, 32, 32), (2, 32, 32)
    )  # fmt: skip
    hierarchy = cohort.hierarchy(manifest)
    for place, index in enumerate((0, 4)):
        mask, example = hierarchy.mask(index, pattern_of(42, 7, index, PATTERNS), 32), hierarchy.images.item(index)
        assert torch.equal(batch["mask"][place], mask)
        torch.testing.assert_close(batch["kspace"][place], example.kspace * mask)
        torch.testing.assert_close(batch["target"][place], example.target)
        assert not batch["kspace"][place][:, ~mask].any()


def test_varnet_learns_from_a_part_of_the_coils(manifest):
    ours = made(manifest, "e2e-varnet", max_coils=3)
    full = ours.train.images.item(5).kspace
    sizes = set()
    for step in range(4):
        sample = ours.train.training(5, 42, step, 3)
        chosen = [i for i in range(4) if any(torch.equal(full[i] * sample.mask, coil) for coil in sample.kspace)]
        sizes.add(tuple(chosen))
        torch.testing.assert_close(sample.target, rss(ifft2c(full[chosen]), 0), atol=1e-6, rtol=1e-4)
    assert len(sizes) > 1 and all(len(chosen) == 3 for chosen in sizes)
