"""The inspection of the priors: what is computed from a tiny trained one; its file, where what is damaged is named."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import priors
import pytest
import torch
from test_uncertainty import made as made_posterior

from rekon.config import Compute, MaskSettings
from rekon.dpm import inspect
from rekon.dpm.inspection import Case, Inspection, PriorDraws, read_inspection, write_inspection
from rekon.dpm.prior import build
from rekon.dpm.reconstructor import PosteriorSampler
from rekon.dpm.tuning import Row, Sweep, scan_of, write_sweep
from rekon.dpm.uncertainty import calibration
from rekon.errors import UserError
from rekon.physics.masks import make_mask, write_mask
from rekon.training.loop import train

MASK = MaskSettings(pattern="random", center_fraction=0.1, offset=None)
QUICK = {"method": "dds", "steps": 4, "sigma_max": 1.0, "zeta": {4: 30.0}, "start": "sense"}


def made_up(size=(6, 5)) -> Inspection:
    """Numbers are invented."""
    random = np.random.default_rng(0)
    one = made_posterior(size=size)
    case = Case("fine-tuned", "sim-set", 4, "volume", 1, one, 3, 0.05, calibration([one]))
    drawn = random.random((2, 3, 4, *size)).astype(np.float32)
    seen = np.array([[True, True, False], [False, False, True]])
    prior = PriorDraws(("pretrained", "fine-tuned"), ("T1", "T2", "FLAIR"), seen, drawn, drawn[0, :, 0], 20)
    return Inspection(prior, (case, Case("stroke-tuned", "sim-other", 2, "other", 0, one, 3, 0.05, case.calibration)))


def same(one, other) -> None:
    assert type(one) is type(other)
    if isinstance(one, np.ndarray):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype
    elif hasattr(one, "__dataclass_fields__"):
        for name in vars(one):
            same(getattr(one, name), getattr(other, name))
    else:
        assert one == other


def test_what_is_written_comes_back_and_equal_input_gives_equal_bytes(tmp_path):
    path, first = tmp_path / "inspect.npz", made_up()
    write_inspection(path, first)
    written, second = path.read_bytes(), read_inspection(path)
    same(first.prior, second.prior)
    assert len(second.cases) == 2
    for one, other in zip(first.cases, second.cases, strict=True):
        same(one, other)
    write_inspection(path, second)
    assert path.read_bytes() == written


def test_absent_parts_stay_absent(tmp_path):
    write_inspection(tmp_path / "inspect.npz", Inspection())
    assert read_inspection(tmp_path / "inspect.npz") == Inspection()


def test_damage_is_named_with_the_remedy(tmp_path):
    path = tmp_path / "inspect.npz"
    with pytest.raises(UserError, match=r"inspect\.npz: no such file; run the rule inspect_dpm"):
        read_inspection(path)
    path.write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"not a readable .*run inspect_dpm again"):
        read_inspection(path)
    write_inspection(path, made_up())
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UserError, match="not a readable"):
        read_inspection(path)
    write_inspection(path, made_up())
    with np.load(path) as stored:
        arrays = dict(stored)
    for lost in ("cases", "prior.seen", "case1.posterior.std"):
        np.savez(path, **{name: value for name, value in arrays.items() if name != lost})
        with pytest.raises(UserError, match=rf"'{lost}' is missing; delete the file and run inspect_dpm again"):
            read_inspection(path)
    np.savez(path, **arrays | {"case0.slices": np.array("many")})
    with pytest.raises(UserError, match="not a readable"):
        read_inspection(path)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return priors.volumes(tmp_path_factory.mktemp("volumes"))


def sampler(**settings) -> PosteriorSampler:
    """With random weights."""
    torch.manual_seed(0)
    model = priors.model(sampler=QUICK | settings)
    denoiser = build(model)
    with torch.no_grad():  # fresh, it would ignore labels
        for parameter in denoiser.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return PosteriorSampler("fine-tuned", denoiser, model, torch.device("cpu"))


def columns(example):
    return make_mask(MASK, priors.SIZE[1]).columns


def test_a_case_summarises_the_samplers_own_draws(manifest, monkeypatch):
    monkeypatch.setattr(inspect, "SLICES", 2)
    monkeypatch.setattr(inspect, "DRAWS", 3)
    slices, drawer = priors.slices(manifest), sampler()
    case = inspect.judge(drawer, slices, columns, 4)
    example = slices.item(1)  # the middle one of two in the first volume
    assert (case.run, case.dataset, case.acceleration) == ("fine-tuned", "sim-tiny", 4)
    assert (case.volume, case.slice) == (example.volume, example.slice)
    sampled = torch.from_numpy(columns(example))
    draws = drawer.draw((example.kspace * sampled)[None], sampled, slices.maps(example)[None], [scan_of(example, 4)])[0]
    assert case.posterior.draws == len(draws) == 3
    np.testing.assert_allclose(case.posterior.mean, draws.abs().mean(0), rtol=1e-5)
    np.testing.assert_allclose(case.posterior.std, draws.abs().std(0), atol=1e-5)
    np.testing.assert_array_equal(case.posterior.target, example.target)
    assert case.slices == 3  # two spread over the set, and the pictured one
    bright = [slices.item(index).target for index in (1, 2, 6)]
    counted = sum(int((target > inspect.FLOOR * target.max()).sum()) for target in bright)
    assert case.calibration.pixels.sum() == counted


def test_slices_without_signal_or_reference_are_passed_over(manifest):
    slices = priors.slices(manifest)
    whole = slices.item

    def item(index):
        example = whole(index)
        return SimpleNamespace(**vars(example) | {"target": [None, 0 * example.target][index % 2]})

    slices.item = item
    with pytest.raises(UserError, match="no slice has a reference"):
        inspect.judge(sampler(), slices, columns, 4)


def trained(recipe, manifest, outputs, work) -> None:
    made, inputs = lambda device: priors.objective(recipe, manifest, device), {"train": "1" * 64}
    train(made, recipe, outputs, work, Compute(device="cpu", threads=1, workers=0), None, inputs, 60.0)


@pytest.fixture
def workspace(tmp_path, monkeypatch, manifest):
    """A folder with the cohort, masks, and a plan whose runs are trained for two steps; what is trained is listed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(inspect, "SLICES", 1)
    monkeypatch.setattr(inspect, "DRAWS", 2)
    monkeypatch.setattr(inspect, "PRIOR_STEPS", 2)
    for split in ("train", "test"):
        for place, source in ((f"runs/tiny/data/sim-tiny/{split}.json", manifest),
                              (f"data/maps/sim-tiny/{split}", manifest.parent / "maps")):  # fmt: skip
            (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / place).symlink_to(source)
    selections = {"pretrained": {"T1": None, "T2": None}, "fine-tuned": {"T1": 0, "FLAIR": 1}, "stroke-tuned": None}

    def made(*runs):
        recipes = {}
        for run in runs:
            accelerations = (2,) if run == "stroke-tuned" else (4, 6)
            recipe = priors.recipe(run, selections[run], {"sampler": QUICK}, steps=2, validations=1)
            mask = MASK.model_copy(update={"acceleration": accelerations[0]})
            recipe = recipe.model_copy(update={"accelerations": accelerations, "mask": mask})
            recipes["dpm", run] = recipe
            for mask in recipe.masks:
                write_mask(mask.path(priors.SIZE), make_mask(mask, priors.SIZE[1]), priors.SIZE)
            folder = tmp_path / f"runs/tiny/dpm/{run}"
            outputs = replace(priors.outputs(folder), weights=tmp_path / f"weights/tiny/dpm/{run}.safetensors")
            if not outputs.weights.exists():
                trained(recipe, manifest, outputs, folder / "work")
            found = Sweep([Row(r, 30.0, 0.1, 1) for r in accelerations], priors.model(sampler=QUICK).sampler, run, "x")
            write_sweep(folder / "zeta.json", found)
        return SimpleNamespace(
            scale=SimpleNamespace(scale="tiny", compute=SimpleNamespace(gpus=0)), recipes=recipes,
            inspected=lambda study: list(runs), tuned=lambda study, run: True,
            scored=lambda study: [(study, run, "sim-tiny") for run in runs],
        )  # fmt: skip

    return made


def test_what_a_study_lists_is_inspected(workspace, tmp_path):
    inspect.inspect_dpm(workspace("pretrained", "fine-tuned", "stroke-tuned"), "dpm", tmp_path / "inspect.npz")
    found = read_inspection(tmp_path / "inspect.npz")
    assert [(case.run, case.acceleration) for case in found.cases] == [
        ("fine-tuned", 4), ("fine-tuned", 6), ("stroke-tuned", 2),
    ]  # fmt: skip
    prior = found.prior
    assert prior.runs == ("pretrained", "fine-tuned") and prior.labels == ("FLAIR", "T1", "T2")
    assert prior.seen.tolist() == [[False, True, True], [True, False, False]]
    assert prior.images.shape == (2, 3, inspect.PRIOR_DRAWS, *priors.SIZE) and np.isfinite(prior.images).all()
    assert prior.training.shape == (3, *priors.SIZE) and prior.training.max() == pytest.approx(1)
    assert len({image.tobytes() for image in prior.training}) == 3
    first = (tmp_path / "inspect.npz").read_bytes()
    inspect.inspect_dpm(workspace("pretrained", "fine-tuned", "stroke-tuned"), "dpm", tmp_path / "inspect.npz")
    assert (tmp_path / "inspect.npz").read_bytes() == first


def test_what_is_not_listed_is_left_out(workspace, tmp_path):
    inspect.inspect_dpm(workspace("pretrained"), "dpm", tmp_path / "inspect.npz")
    found = read_inspection(tmp_path / "inspect.npz")
    assert found.cases == () and found.prior.runs == ("pretrained",)
    inspect.inspect_dpm(workspace(), "dpm", tmp_path / "inspect.npz")
    assert read_inspection(tmp_path / "inspect.npz") == Inspection()


def test_missing_weights_are_named(workspace, tmp_path):
    plan = workspace("fine-tuned")
    (tmp_path / "weights/tiny/dpm/fine-tuned.safetensors").unlink()
    with pytest.raises(UserError, match=r"fine-tuned\.safetensors"):
        inspect.inspect_dpm(plan, "dpm", tmp_path / "inspect.npz")
