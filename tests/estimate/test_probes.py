"""The probes do what the studies do: as many operations as a real training step on the CPU."""

from __future__ import annotations

from pathlib import Path

import chain
import cohort
import mixtures
import priors
import pytest
import rungs
import torch
from test_network import unet
from torch.utils.flop_counter import FlopCounterMode

from rekon.config import Recipe
from rekon.estimate.cost import Recipes
from rekon.estimate.network import _Fused, _step, measure
from rekon.estimate.probes import probe
from rekon.nas.baseline import UnetObjective
from rekon.nas.distil_objective import DistilObjective
from rekon.nas.tokenizer_objective import TokenizerObjective
from rekon.nas.transformer_objective import TransformerObjective

SHORT = {"depth": 2}  # of a transformer
CRITIC = {"image": 32, "patch": 8, "width": 16, "depth": 2, "heads": 2, "levels": (0, 1)}


def counted(objective, size: int) -> int:
    """Operations of a real training step on the CPU."""
    objective.networks.train()
    batch = objective.batch(list(range(size)), 0)
    with _Fused(), FlopCounterMode(display=False) as counter:
        objective.step(batch, 0, lambda name, loss: loss.backward())
    return counter.get_total_flops()


def step(recipe: Recipe, recipes: Recipes, coils: int = 1) -> tuple[float, int]:
    """Operations of a probe's training step on one slice, and its trained parameters."""
    with torch.device("meta"):
        found = probe(recipe, recipes)
    trained = {p for module in found.trained for p in module.parameters() if p.requires_grad}
    return _step(found, coils)[0], sum(p.numel() for p in trained)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("volumes")


@pytest.mark.parametrize("name", ["e2e-varnet", "ue-unet", "ueps"])
def test_unrolled_networks_cost_what_their_training_does(folder, name):
    recipe = rungs.recipe(name)
    if name == "ueps":  # of small grids a CPU computes all scores, which a GPU does not
        recipe = recipe.model_copy(update={"model": recipe.model | {"vit": recipe.model["vit"] | {"rows": None}}})
    path = folder / "rungs"
    path.mkdir(exist_ok=True)
    made = rungs.objective(recipe, rungs.volumes(path), torch.device("cpu"))
    coils = made.batch([0, 1], 0)["kspace"].shape[1]
    flops, parameters = step(recipe, {}, coils)
    assert 2 * flops == pytest.approx(counted(made, 2), rel=0.01)
    assert parameters == sum(p.numel() for p in made.network.parameters())


@pytest.mark.parametrize("name", mixtures.DELTAS)
def test_experts_cost_what_their_training_does_with_a_full_cache(folder, name):
    recipe = mixtures.recipe(name)
    path = folder / "mixtures"
    path.mkdir(exist_ok=True)
    made = mixtures.objective(recipe, mixtures.volumes(path))
    made.networks.train()
    for number in range(made.cache.length):
        made.step(made.batch([number % 4], number), number, lambda name, loss: None)
    coils = made.batch([0], 0)["kspace"].shape[1]
    flops, parameters = step(recipe, {}, coils)
    assert flops == pytest.approx(counted(made, 1), rel=0.01)
    assert parameters == sum(p.numel() for p in made.network.parameters() if p.requires_grad)


def test_the_unet_costs_what_its_training_does(folder):
    images = cohort.hierarchy(cohort.volumes(folder))
    recipe = unet(channels=4, pools=2)
    made = UnetObjective(recipe, images, images, torch.device("cpu"))
    assert 2 * step(recipe, {})[0] == pytest.approx(counted(made, 2), rel=0.01)


def test_the_tokenizer_costs_what_its_training_does(folder):
    changes = {"losses": {"perceptual": 0.0, "adversarial": 0.1}, "discriminator": CRITIC}
    recipe = chain.recipe("aqvae", "tokenizer", changes)
    images = cohort.hierarchy(cohort.volumes(folder))
    made = TokenizerObjective(recipe, images, images, torch.device("cpu"), {})
    flops, parameters = step(recipe, {})
    assert 2 * flops == pytest.approx(counted(made, 2), rel=0.02)
    trained = [p for name in made.optimisers for group in made.optimisers[name].param_groups for p in group["params"]]
    assert parameters == sum(p.numel() for p in trained)


def test_transformers_cost_what_their_training_does(folder):
    tokenizer, tokens, _ = chain.tokens(folder)
    recipe, parent = chain.recipe(model=SHORT), chain.recipe("aqvae", "tokenizer")
    recipes = {("nas", "aqvae"): parent, ("nas", "base"): recipe}
    made = TransformerObjective(recipe, tokens, tokens, tokenizer, torch.device("cpu"))
    flops, parameters = step(recipe, recipes)
    assert 2 * flops == pytest.approx(counted(made, 2), rel=0.02)
    assert parameters == sum(p.numel() for p in made.transformer.parameters())
    frozen = step(chain.recipe(model=SHORT | {"context": chain.CONTEXT | {"trainable": False}}), recipes)
    assert frozen[0] < flops and frozen[1] < parameters


def test_distillation_costs_what_its_training_does(folder):
    tokenizer, tokens, _ = chain.tokens(folder)
    contexts = {"base": chain.CONTEXT, "teacher": chain.CONTEXT | {"image": "full"}}
    base, teacher = (chain.recipe(run, model=SHORT | {"context": context}) for run, context in contexts.items())
    files = {
        one.run: chain.weights(folder, chain.transformer(tokenizer, **SHORT, context=contexts[one.run]), one)
        for one in (base, teacher)
    }
    student = chain.recipe("distilled", "distilled", SHORT).model_copy(
        update={"parents": {"tokenizer": "aqvae", "base": "base", "teacher": "teacher"}}
    )
    made = DistilObjective(
        student, tokens, tokens, tokenizer, torch.device("cpu"), base=files["base"], teacher=files["teacher"]
    )
    recipes = {("nas", one.run): one for one in (base, teacher, chain.recipe("aqvae", "tokenizer"))}
    flops, parameters = step(student, recipes)
    assert 2 * flops == pytest.approx(counted(made, 2), rel=0.02)
    assert parameters == sum(p.numel() for p in made.transformer.parameters())


def test_priors_cost_what_their_training_does(folder):
    path = folder / "priors"
    path.mkdir(exist_ok=True)
    recipe = priors.recipe()
    made = priors.objective(recipe, priors.volumes(path))
    cost = measure(recipe, {})
    assert 2 * cost.train.fixed == pytest.approx(counted(made, 2), rel=0.01)
    assert cost.held == cost.parameters == sum(p.numel() for p in made.network.parameters())
    # a gradient in the image alone costs what the evaluation does once more, and attention's scores again
    assert 2 <= cost.guided.fixed / cost.forward.fixed < 2.2
    assert cost.validate.fixed == 4 * cost.forward.fixed
