"""Training of experts: what a batch holds, golden loss curves, who is moved by the optimiser, validation.

The golden curves (tests/golden/more.json) hold what a refactoring must reproduce. After a change that is meant to
change training, write them anew with `REKON_WRITE_GOLDEN=1 pytest tests/more/test_experts_training.py` and say so in
the commit.
"""

import json
import os
from pathlib import Path

import mixtures
import pytest
import torch
import yaml

from rekon.config import Recipe
from rekon.errors import UserError
from rekon.more.inspect import observe
from rekon.more.reconstructor import ExpertsReconstructor, load
from rekon.physics.coils import rss
from rekon.physics.fft import ifft2c
from rekon.physics.masks import make_mask
from rekon.plan import plan
from rekon.training.history import read_history
from rekon.training.weights import load_weights

GOLDEN = Path(__file__).parents[1] / "golden/more.json"
CURVES = ("loss", "reconstruction", "router_balance", "router_sparsity", "router_z", "temperature", "gradient_norm",
          "val_loss", "val_psnr", "val_routing_entropy", "val_load_entropy")  # fmt: skip


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return mixtures.volumes(tmp_path_factory.mktemp("volumes"))


def made(manifest, name="more", changes=None, **options):
    torch.manual_seed(0)
    return mixtures.objective(mixtures.recipe(name, changes, **options), manifest)


def descend(objective, step=0, items=(0, 1)):
    """One step as the loop does it, without a schedule."""
    optimiser = objective.optimisers["network"]

    def update(name, loss):
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    return objective.step(objective.batch(list(items), step), step, update)


def choosing(objective, *experts):
    """From now on every sample of every cascade goes to these experts."""
    wanted = torch.tensor([expert in experts for expert in range(3)])
    make = objective.batch

    def batch(indices, step):
        values = make(indices, step)
        values["noise"] = torch.where(wanted, 1e6, 0.0).expand(values["noise"].shape)
        return values

    objective.batch = batch


# --- curves -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["more", "dense", "prompted"])
def test_golden_loss_curve(manifest, tmp_path, name):
    mixtures.run(tmp_path, manifest, name)
    rows = read_history(mixtures.outputs(tmp_path).metrics)
    curve = {key: [row[key] for row in rows if key in row] for key in CURVES if any(key in row for row in rows)}
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if os.environ.get("REKON_WRITE_GOLDEN"):
        GOLDEN.write_text(json.dumps(golden | {name: curve}, indent=1, sort_keys=True) + "\n")
        pytest.skip("written")
    assert set(curve) == set(golden[name])
    for key, values in golden[name].items():
        assert curve[key] == pytest.approx(values, rel=1e-4), key
    assert curve["val_loss"] == sorted(curve["val_loss"], reverse=True), "it learns"


def test_loss_is_the_weighted_sum_of_its_parts_and_they_decay(manifest):
    objective = made(manifest, steps=11, changes={"router": {"balance": {"start": 0.4, "end": 0.1}}})
    for step, temperature, balance in ((0, 1.0, 0.4), (5, 0.1, 0.2), (10, 0.01, 0.1)):
        batch = objective.batch([0, 1], step)
        expected = balance * popularity(objective, batch, temperature)
        values = objective.step(batch, step, lambda *_: None)
        parts = [values[f"router_{name}"] for name in ("balance", "sparsity", "z")]
        torch.testing.assert_close(values["loss"], values["reconstruction"] + sum(parts))
        assert values["temperature"] == pytest.approx(temperature)
        torch.testing.assert_close(values["router_sparsity"], 0.005 * values["router_entropy"])
        torch.testing.assert_close(parts[0].detach(), expected)


@torch.no_grad()
def popularity(objective, batch, temperature):
    """Sum of p g, mean over rows and routers, of the samples and of the kept inputs."""
    routes = objective.network(batch["kspace"], batch["mask"], temperature * batch["noise"]).routes
    terms = []
    for number, (router, route) in enumerate(zip(objective.network.routers, routes, strict=True)):
        gates, chosen = route.logits_MN.softmax(1), route.chosen_MN
        if (kept := objective.cache.items) is not None:
            more = router.logits(router.embed(kept[:, number])).softmax(1)
            scores = more + temperature * batch["cached_noise"][: len(kept), number]
            gates = torch.cat([gates, more])
            chosen = torch.cat([chosen, scores >= scores.topk(2, dim=1).values[:, 1:]])
        terms.append((chosen.sum(0) / chosen.sum() * gates).sum(1).mean())
    return torch.stack(terms).mean()


@pytest.mark.parametrize("off", [{"balance": None}, {"sparsity": 0.0}, {"z": 0.0}, {"noise": None}, {"cache": 0}])
def test_each_part_can_be_switched_off(manifest, off):
    objective = made(manifest, changes={"router": off})
    values = descend(objective)
    (name,) = off
    assert f"router_{name}" not in values
    assert {f"router_{part}" for part in ("balance", "sparsity", "z")} - {f"router_{name}"} <= set(values)
    assert bool(values["temperature"]) == (name != "noise")
    assert len(objective.cache) == (0 if name == "cache" else 2)


@pytest.mark.parametrize("clipping", [{"clip": 1.0}, {"clips": {"network": 1.0}}])
def test_a_norm_common_to_router_and_backbone_is_refused(manifest, clipping):
    with pytest.raises(UserError, match=r"recipe of more/more: key 'training.clip': .* write clip: null"):
        made(manifest, **clipping)
    made(manifest, "dense", **clipping)  # nothing but a backbone


def test_it_is_refused_before_any_job_starts():
    root = Path(__file__).parents[2]
    scale = yaml.safe_load((root / "config/full.yaml").read_text())
    scale["studies"]["more"]["runs"] = {"more": {"training": {"clip": 1.0}}}
    with pytest.raises(UserError, match=r"study more/more at scale full\): key 'training.clip'"):
        plan(scale, root)


# --- batches ------------------------------------------------------------------------------------------------------


def test_batch(manifest):
    objective = made(manifest)
    batch = objective.batch([0, 4], 7)  # a slice with four coils, of which three are drawn, and one with two
    assert batch["kspace"].shape == (2, 3, 32, 32) and batch["mask"].shape == (1, 32)
    assert not batch["kspace"][..., ~batch["mask"][0]].any() and not batch["kspace"][1, 2].any()
    example = objective.train.slices.item(4)
    torch.testing.assert_close(batch["target"][1], rss(ifft2c(example.kspace), 0))
    assert batch["full_scale"][1] == pytest.approx(example.data_range)
    assert batch["noise"].shape == (2, 2, 3) and batch["cached_noise"].shape == (3, 2, 3)
    assert "noise" not in made(manifest, "dense").batch([0], 0)


def test_noise_is_a_function_of_seed_step_and_item_whoever_asks(manifest):
    objective = made(manifest)
    together = objective.batch([0, 1, 5], 3)
    for row, index in enumerate((0, 1, 5)):
        alone = objective.batch([index], 3)
        assert torch.equal(together["noise"][row], alone["noise"][0])
        assert torch.equal(together["cached_noise"], alone["cached_noise"])
    assert not torch.equal(together["noise"][0], together["noise"][1])
    for key in ("noise", "cached_noise"):
        assert not torch.equal(together[key][0], objective.batch([0], 4)[key][0])


def test_only_slices_of_a_modality_are_seen(manifest):
    objective = made(manifest, select={"knee": 1})
    assert objective.chosen.indices == [4, 5]
    assert objective.model.names == ("T1", "T2", "knee") and objective.validated == [(4, 2), (5, 2)]
    with pytest.raises(UserError, match=r"asks for 3 subjects"):
        made(manifest, select={"knee": 3})


def test_a_set_without_reference_is_refused(manifest, tmp_path):
    other = tmp_path / "prospective.json"
    other.write_text(json.dumps(json.loads(manifest.read_text()) | {"reference": False}))
    with pytest.raises(UserError, match=r"prospective\.json: has no fully sampled reference"):
        made(other)


# --- sparse for the optimiser too ---------------------------------------------------------------------------------


def test_experts_that_nobody_chose_stay_as_they_are(manifest):
    objective = made(manifest, changes={"router": {"top_k": 1}})
    choosing(objective, 0)
    descend(objective, 0)
    choosing(objective, 1)
    unet, state = objective.network.unets[1], objective.optimisers["network"].state
    resting = {key: value.clone() for key, value in unet.decoders[0].state_dict().items()}
    moments = [state[parameter]["exp_avg"].clone() for parameter in unet.decoders[0].parameters()]
    for step in (1, 2, 3):
        descend(objective, step)
    for key, value in unet.decoders[0].state_dict().items():
        assert torch.equal(value, resting[key]), f"{key}: neither decayed nor carried on by momentum"
    for parameter, moment in zip(unet.decoders[0].parameters(), moments, strict=True):
        assert parameter.grad is None and torch.equal(state[parameter]["exp_avg"], moment)
        assert float(state[parameter]["step"]) == 1
    assert all(float(state[parameter]["step"]) == 3 for parameter in unet.decoders[1].parameters())
    assert not any(parameter in state for parameter in unet.decoders[2].parameters()), "never chosen, no moments"


def test_zeros_from_averaging_over_processes_do_not_move_them_either(manifest):
    objective = made(manifest, changes={"router": {"top_k": 1}})
    choosing(objective, 2)
    before = {key: value.clone() for key, value in objective.network.state_dict().items()}
    optimiser = objective.optimisers["network"]

    def update(name, loss):
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        for parameter in objective.network.parameters():  # what `distributed.average_gradients` does
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        optimiser.step()

    objective.step(objective.batch([0, 1], 0), 0, update)
    for key, value in objective.network.state_dict().items():
        resting = any(f"decoders.{expert}." in key for expert in (0, 1))
        assert not resting or torch.equal(value, before[key]), key
    assert not torch.equal(objective.network.unets[0].decoders[2].last.weight, before[
        "cascades.0.denoiser.unet.decoders.2.last.weight"])  # fmt: skip


def test_router_losses_leave_the_backbone_s_step_alone(manifest):
    steps = []
    for weight in (0.0, 10.0):
        objective = made(manifest, changes={"router": {"sparsity": weight, "z": weight, "balance": None}})
        descend(objective)
        steps.append({key: value for key, value in objective.network.state_dict().items() if ".router." not in key})
    assert all(torch.equal(value, steps[1][key]) for key, value in steps[0].items())


# --- validation ---------------------------------------------------------------------------------------------------


def test_validation_reports_the_routing_without_noise(manifest):
    objective = made(manifest)
    objective.networks.eval()
    with torch.no_grad():
        metrics, again = objective.validate(), objective.validate()
        assert set(made(manifest, "dense").validate()) == {"val_loss", "val_psnr"}
    assert metrics == again
    usage = [[metrics[f"val_usage_{r}_{e}"] for e in range(3)] for r in range(2)]
    assert [sum(row) for row in usage] == pytest.approx([2, 2]), "two experts a sample"
    assert metrics["val_largest_share"] == pytest.approx(max(max(row) for row in usage))
    assert {"val_favourite_T1", "val_favourite_T2", "val_favourite_knee", "val_nmi"} <= set(metrics)
    assert 0 <= metrics["val_nmi_chance"] <= 1


def test_validation_tells_of_the_sets_that_chose_as_an_observation_does(manifest):
    objective = made(manifest)
    objective.networks.eval()
    with torch.no_grad():
        metrics = objective.validate()
    reconstructor = ExpertsReconstructor(mixtures.recipe(), objective.network, objective.model, torch.device("cpu"))
    seen = observe(reconstructor, objective.validation.slices, make_mask(mixtures.MASK, 32))
    assert metrics["val_nmi"] == pytest.approx(seen.information_R.mean())
    assert metrics["val_nmi_chance"] == pytest.approx(seen.chance_R.mean())
    assert metrics["val_favourite_knee"] == pytest.approx(seen.usage_GRN[2].max(axis=1).mean())


def test_a_collapsed_run_carries_its_flag(manifest):
    objective = made(manifest, "one")
    with torch.no_grad():
        for router in objective.network.routers:
            router.mlp[-1].weight.zero_()
            router.mlp[-1].bias.fill_(1.0)  # the same embedding for all
            router.gate.weight[0].fill_(5.0)
        assert objective.validate()["val_collapsed"] == 1
        objective.network.routers[1].gate.weight.copy_(objective.network.routers[0].gate.weight)
        metrics = objective.validate()
    assert metrics["val_collapsed_routers"] == 2 and metrics["val_largest_share"] == 1
    assert metrics["val_load_entropy"] == pytest.approx(0)


def test_validation_scores_the_image_as_tables_do(manifest):
    from rekon.evaluation.metrics import psnr, ssim

    objective = made(manifest, "dense", changes={"loss": {"l1": 0.0}}, validation_slices=1)
    ((index, _),) = objective.validated
    with torch.no_grad():
        metrics = objective.validate()
        example = objective.validation.slices.item(index)
        image = objective.network(example.kspace[None] * objective.validation.columns,
                                  objective.validation.columns[None]).image[0]  # fmt: skip
    target, image = example.target.numpy(), image.numpy()
    assert metrics["val_psnr"] == pytest.approx(psnr(target, image, example.data_range), abs=1e-3)
    assert metrics["val_loss"] == pytest.approx(1 - ssim(target, image, example.data_range), abs=1e-4)


# --- product ------------------------------------------------------------------------------------------------------


def test_weights_make_a_reconstructor(manifest, tmp_path):
    mixtures.run(tmp_path, manifest, steps=2)
    weights = mixtures.outputs(tmp_path).weights
    _, recipe = load_weights(weights)
    reconstructor = load(Recipe.model_validate(recipe, strict=False), weights, torch.device("cpu"))
    kspace, mask = mixtures.scan(batch=2)
    with torch.inference_mode():
        image = reconstructor(kspace[1], mask[0])
        assert image.shape == mixtures.SIZE and image.dtype == torch.float32
        torch.testing.assert_close(reconstructor.many(kspace, mask[0], None, [None, None])[1], image)
    with pytest.raises(UserError, match=r"'model.experts' is 3 there, 4 here"):
        load(mixtures.recipe(changes={"experts": 4}, steps=2), weights, torch.device("cpu"))
