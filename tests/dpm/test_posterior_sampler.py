"""The prior as a reconstruction: units, seeds, batches, scoring; the sweep of zeta."""

import json

import numpy as np
import priors
import pytest
import torch

from rekon.config import EvaluationSettings, MaskSettings, Recipe
from rekon.config.dpm import SamplerSettings
from rekon.dpm.prior import build
from rekon.dpm.reconstructor import PosteriorSampler, load
from rekon.dpm.tuning import Row, Sweep, measured_scale, read_rows, read_tuned, scan_of, sweep, write_sweep
from rekon.errors import UserError
from rekon.evaluation.metrics import nmse
from rekon.evaluation.reconstructor import Scan
from rekon.evaluation.score import Sampling, evaluate
from rekon.physics.fft import fft2c
from rekon.physics.masks import make_mask

MASK = MaskSettings(center_fraction=0.2)
COLUMNS = make_mask(MASK, priors.SIZE[1]).columns
QUICK = {"steps": 4, "zeta": {4: 0.1}, "sigma_max": 2.0}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return priors.volumes(tmp_path_factory.mktemp("volumes"))


def sampler(**settings):
    torch.manual_seed(0)
    denoiser = build(priors.model())
    with torch.no_grad():  # fresh, it would ignore labels
        for parameter in denoiser.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    chosen = SamplerSettings(**(QUICK | settings))
    return PosteriorSampler("prior", denoiser, priors.model(), torch.device("cpu"), chosen)


def slice_of(manifest, index=0):
    slices = priors.slices(manifest)
    example = slices.item(index)
    return example, slices.maps(example)


def reconstructed(reconstructor, example, maps, factor=1.0, **scan):
    mask = torch.from_numpy(COLUMNS)
    with torch.inference_mode():
        reconstructor.prepare(scan_of(example, 4)._replace(**scan))
        return reconstructor(factor * example.kspace * mask, mask, maps)


@pytest.mark.parametrize("method", ["dps", "dps-heun", "dds"])
def test_a_magnitude_in_the_unit_of_the_k_space(manifest, method):
    example, maps = slice_of(manifest)
    image = reconstructed(sampler(method=method), example, maps)
    assert image.shape == priors.SIZE and image.dtype == torch.float32 and (image >= 0).all()
    scaled = reconstructed(sampler(method=method), example, maps, factor=8.0)
    torch.testing.assert_close(scaled, 8 * image, rtol=1e-3, atol=1e-3)


def test_draws_follow_from_seed_volume_and_slice(manifest):
    example, maps = slice_of(manifest)
    once = reconstructed(sampler(), example, maps)
    assert torch.equal(once, reconstructed(sampler(), example, maps))
    for other in ({"volume": "another"}, {"slice": 1}, {"contrast": "AXFLAIR"}):
        assert not torch.equal(once, reconstructed(sampler(), example, maps, **other)), other
    assert not torch.equal(once, reconstructed(sampler(seed=1), example, maps))


def test_several_slices_and_draws_are_those_of_each_alone(manifest):
    slices, mask = priors.slices(manifest), torch.from_numpy(COLUMNS)
    examples = [slices.item(index) for index in (0, 3)]
    kspace = torch.stack([example.kspace for example in examples]) * mask
    maps = torch.stack([slices.maps(example) for example in examples])
    scans = [scan_of(example, 4) for example in examples]
    batches = []
    together = sampler(samples=2).draw(kspace, mask, maps, scans, watch=batches.append)
    assert together.shape == (2, 2, *priors.SIZE) and together.dtype == torch.complex64
    assert batches == [4] * 4
    for i in range(2):
        alone = sampler(samples=2).draw(kspace[i : i + 1], mask, maps[i : i + 1], scans[i : i + 1])
        torch.testing.assert_close(alone[0], together[i], rtol=1e-3, atol=1e-4)
    assert not torch.allclose(together[:, 0], together[:, 1])


def test_coils_of_zeros_change_nothing_and_every_slice_may_have_its_own_weight(manifest):
    example, maps = slice_of(manifest)
    mask, scan = torch.from_numpy(COLUMNS), scan_of(example, 4)
    kspace = example.kspace * mask
    weights = (0.5, 4.0)
    alone = [sampler(method="dds", zeta={4: zeta}).draw(kspace[None], mask, maps[None], [scan])[0] for zeta in weights]
    padded = [torch.cat([value, torch.zeros_like(value)])[None].expand(2, -1, -1, -1) for value in (kspace, maps)]
    together = sampler(method="dds").draw(padded[0], mask, padded[1], [scan, scan], zetas=weights)
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(together[0], together[1], rtol=1e-2)


def test_the_image_is_the_mean_magnitude_of_its_draws(manifest):
    example, maps = slice_of(manifest)
    several = sampler(samples=3)
    image = reconstructed(several, example, maps)
    mask = torch.from_numpy(COLUMNS)
    draws = several.draw((example.kspace * mask)[None], mask, maps[None], [scan_of(example, 4)])
    torch.testing.assert_close(image, draws[0].abs().mean(0))


@pytest.mark.parametrize("method", ["dps", "dds"])
def test_where_no_coil_sees_there_is_nothing(manifest, method):
    example, maps = slice_of(manifest)
    seen = maps.abs().square().sum(0) > 0
    image = reconstructed(sampler(method=method), example, maps)
    assert not seen.all() and not image[~seen].any() and image[seen].any()


def test_an_empty_slice_stays_empty(manifest):
    example, maps = slice_of(manifest)
    image = reconstructed(sampler(), example, maps, factor=0.0)
    assert torch.equal(image, torch.zeros(priors.SIZE))


def test_measured_samples_are_kept(manifest):
    example, maps = slice_of(manifest)
    mask = torch.from_numpy(COLUMNS)
    strong = sampler(method="dds", zeta={4: 1e5}, iterations=30, steps=8)
    draw = strong.draw((example.kspace * mask)[None], mask, maps[None], [scan_of(example, 4)])[0, 0]
    inside = maps.abs().square().sum(0) > 0.5
    again = fft2c(draw * inside * maps)[..., mask]
    assert float((again - example.kspace[..., mask]).norm() / example.kspace[..., mask].norm()) < 0.05


@pytest.fixture(scope="module")
def weights(manifest, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prior")
    priors.run(folder, manifest, steps=2)
    return priors.outputs(folder).weights


def varied(**changes):
    """The recipe of `weights` with another sampler section, or other keys of its own."""
    plain = priors.recipe(steps=2).model_dump(mode="json")
    plain["model"]["sampler"] |= changes.pop("sampler", {})
    return Recipe.model_validate_json(json.dumps(plain | changes))


def test_weights_serve_every_sampler(weights):
    made = load(varied(), weights, torch.device("cpu"), {4: 0.5})
    assert made.settings.zeta == {4: 0.5} and made.name == "prior" and made.needs_maps
    other = varied(sampler={"method": "dds", "steps": 7}, mask=MaskSettings(acceleration=6).model_dump())
    assert load(other, weights, torch.device("cpu")).settings.steps == 7
    alone = varied(run="faster", training=None, sampler={"method": "dds"})
    assert load(alone, weights, torch.device("cpu")).settings.method == "dds"
    assert load(alone, weights, torch.device("cpu")).name == "faster"


def test_weights_of_another_prior_are_refused(weights):
    with pytest.raises(UserError, match=r"made by another recipe \('seed' is 42 there, 43 here\)"):
        load(varied(seed=43), weights, torch.device("cpu"))


def test_oracle_scaling_needs_images(weights):
    with pytest.raises(UserError, match=r"scaling: oracle' needs k-space made from images"):
        load(varied(sampler={"scaling": "oracle"}), weights, torch.device("cpu"))


def test_the_factor_of_the_measured_scale(manifest):
    slices = priors.slices(manifest)
    factor = measured_scale(slices, [lambda example: COLUMNS], range(4))
    assert 1 < factor < 2
    assert measured_scale(slices, [lambda example: np.ones_like(COLUMNS)], range(4)) == pytest.approx(1)


def test_scored_like_any_other_method(manifest):
    slices = priors.slices(manifest)
    result = evaluate(
        sampler(method="dds"), slices, [Sampling(MASK, lambda example: COLUMNS)], EvaluationSettings(),
        dataset="sim-tiny", maps=slices.maps,
    )  # fmt: skip
    assert len(result.rows) == len(slices)
    assert result.rows["psnr"].notna().all() and (result.rows["acceleration"] == 4).all()


def test_sweep(manifest, tmp_path):
    slices, reconstructor = priors.slices(manifest), sampler()
    counted = []
    found = sweep(
        reconstructor, slices, {6: lambda _: COLUMNS, 4: lambda _: COLUMNS}, (0.0, 0.1), [0, 1, 2],
        progress=lambda done, total: counted.append((done, total)),
    )  # fmt: skip
    assert [(row.acceleration, row.zeta, row.slices) for row in found.rows] == [
        (4, 0.0, 3), (4, 0.1, 3), (6, 0.0, 3), (6, 0.1, 3),
    ]  # fmt: skip
    assert counted[-1] == (12, 12)
    example, maps = slice_of(manifest)
    alone = sweep(reconstructor, slices, {4: lambda _: COLUMNS}, (0.1,), [0]).rows[0].nrmse
    image = reconstructed(reconstructor, example, maps)
    assert alone == pytest.approx(np.sqrt(nmse(example.target.numpy(), image.numpy())), rel=1e-3)
    write_sweep(tmp_path / "zeta.json", found)
    assert read_tuned(tmp_path / "zeta.json") == (found.best, found.settings.scale)
    assert read_rows(tmp_path / "zeta.json") == found.rows


def test_the_best_of_a_sweep_is_the_smallest_error_and_then_the_smallest_weight():
    rows = [Row(4, 1.0, 0.2, 9), Row(4, 2.0, 0.1, 9), Row(4, 0.5, 0.1, 9), Row(5, 1.0, 0.3, 9)]
    assert Sweep(rows, SamplerSettings(), "run", "set").best == {4: 0.5, 5: 1.0}


def test_mistakes_of_a_sweep(manifest, tmp_path):
    with pytest.raises(UserError, match="no slices to tune zeta on"):
        sweep(sampler(), priors.slices(manifest), {4: lambda _: COLUMNS}, (0.1,), [])
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(UserError, match=r"other\.json: holds no sweep"):
        read_tuned(tmp_path / "other.json")


def test_a_scan_knows_nothing_of_the_reference(manifest):
    example, _ = slice_of(manifest)
    assert isinstance(scan_of(example, 4), Scan)
