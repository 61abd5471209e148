"""What every job of a plan has to compute: how many slices, how many operations each."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from rekon.config import Recipe
from rekon.config.base import check
from rekon.config.datasets import Split
from rekon.config.dpm import DiffusionModel, SamplerSettings
from rekon.estimate.cost import Cost
from rekon.estimate.sets import Sets, SetSize, trained_on, validated_on
from rekon.plan import Plan
from rekon.training.schedule import total_steps

Stage = Literal["training", "validation", "tokens", "tuning", "scoring"]
# kind of run -> its network is used in bf16 where it was trained so
_HALF = ("unrolled", "transformer", "distilled", "experts")


@dataclass(frozen=True)
class Work:
    """Equal pieces of work: `items` x `flops` operations. None where nobody knows how many."""

    study: str
    run: str
    stage: Stage
    what: str  # what an item is, and how their number comes about
    items: int | None
    flops: float  # per item
    precision: str = "fp32"
    job: str = ""  # test set or split, where a run has several such jobs

    @property
    def total(self) -> float | None:
        """Operations in all."""
        return None if self.items is None else self.items * self.flops


def works(plan: Plan, sets: Sets, cost: Callable[[Recipe], Cost | None]) -> list[Work]:
    """All work of a plan that networks do. cost: of a run's network, None for one without."""
    found: list[Work] = []
    for recipe in plan.recipes.values():
        network = cost(recipe)
        if network is not None:
            train, validation = sets.size(recipe.data.train, "train"), sets.size(recipe.data.validation, "validation")
            found += [*_training(recipe, network, train, validation), *_uses(plan, recipe, network, sets)]
        elif recipe.training is not None:
            found.append(
                Work(recipe.study, recipe.run, "training", "a kind of run that nobody has measured", None, 0.0)
            )
    return found + _tokens(plan, sets, cost)


def steps_of(recipe: Recipe, size: SetSize | None) -> int | None:
    """Steps of a run on a training set; None where they follow from slices that nobody can count."""
    assert recipe.training is not None, "nothing to train in this recipe"
    if recipe.training.steps is None and size is None:
        return None
    return total_steps(recipe.training, trained_on(recipe, size) if size else 1)


def training_flops(recipe: Recipe, cost: Cost, train: SetSize | None, validation: SetSize | None) -> float | None:
    """Operations of a run's training and validations; None where nobody knows how many slices there are."""
    made = _training(recipe, cost, train, validation)
    totals = [one.total for one in made if one.total is not None]
    return sum(totals) if len(totals) == len(made) else None


def evaluations(sampler: SamplerSettings) -> tuple[int, int]:
    """Evaluations of a prior for one slice: how many with a gradient in the image, how many without."""
    count = sampler.steps * sampler.samples
    match sampler.method:
        case "dps":
            return count, 0
        case "dps-heun":
            return count, count - sampler.samples  # the last step has one evaluation alone
        case "dds":
            return 0, count


def use_flops(recipe: Recipe, cost: Cost, coils: float) -> float:
    """Operations of one reconstructed slice."""
    if recipe.kind != "diffusion":
        return cost.forward.at(coils)
    sampler = check(DiffusionModel, recipe.model, f"recipe of {recipe.study}/{recipe.run}, section 'model'").sampler
    guided, plain = evaluations(sampler)
    return guided * cost.guided.fixed + plain * cost.forward.fixed


def scored_items(recipe: Recipe, size: SetSize | None) -> int | None:
    """Images that scoring a run on a test set makes: slices under each of its masks."""
    return None if size is None else size.of(recipe.data.contrasts) * len(recipe.scored)


def _training(recipe: Recipe, cost: Cost, train: SetSize | None, validation: SetSize | None) -> list[Work]:
    training = recipe.training
    if training is None:
        return []
    steps = steps_of(recipe, train)
    if training.steps is not None:
        what = f"{training.steps} steps of {training.batch} slices"
    else:
        slices = trained_on(recipe, train) if train else "?"
        what = f"{training.epochs} epochs of {slices} slices, {training.batch} a step"
    coils = min(recipe.data.max_coils or math.inf, train.coils) if train else recipe.data.max_coils or 0
    seen = None if steps is None else steps * training.batch
    made = [Work(recipe.study, recipe.run, "training", what, seen, cost.train.at(coils), training.precision)]
    items = validated_on(recipe, validation) if validation else training.validation_slices
    times = min(training.validations, steps) if steps else training.validations
    what = f"{times} validation{'s' if times > 1 else ''} of {items or '?'} slices"
    flops = cost.validate.at(validation.coils if validation else 0)
    count = None if items is None else times * items
    return [*made, Work(recipe.study, recipe.run, "validation", what, count, flops, training.precision)]


def _uses(plan: Plan, recipe: Recipe, cost: Cost, sets: Sets) -> list[Work]:
    """Tuning and scoring."""
    study, run, made = recipe.study, recipe.run, list[Work]()
    trained = plan.weights_of(study, run)
    training = plan.recipes[trained].training if trained else None
    precision = training.precision if training and recipe.kind in _HALF else "fp32"
    masks = len(recipe.scored)
    if plan.tuned(study, run):
        tuning = recipe.model["sampler"]["tuning"]
        zetas, slices = len(tuning["zetas"]), tuning["slices"]
        what = f"{slices} slices x {masks} masks x {zetas} weights"
        made.append(Work(study, run, "tuning", what, slices * masks * zetas, use_flops(recipe, cost, 0.0), precision))
    for of, name, dataset in plan.scored(study):
        if (of, name) == (study, run):
            size = sets.size(dataset, "test")
            slices = size.of(recipe.data.contrasts) if size else None
            what = f"{slices or '?'} slices" + (f" x {masks} masks" if masks > 1 else "")
            items = scored_items(recipe, size)
            flops = use_flops(recipe, cost, size.coils if size else 0.0)
            made.append(Work(study, run, "scoring", what, items, flops, precision, dataset))
    return made


def _tokens(plan: Plan, sets: Sets, cost: Callable[[Recipe], Cost | None]) -> list[Work]:
    """Encoding the sets of every transformer's tokenizer, each once."""
    wanted: dict[tuple[tuple[str, str], str, Split], None] = {}
    for recipe in plan.recipes.values():
        if recipe.training and "tokenizer" in recipe.parents:
            wanted[recipe.parent("tokenizer"), recipe.data.train, "train"] = None
            wanted[recipe.parent("tokenizer"), recipe.data.validation, "validation"] = None
    made = []
    for key, dataset, split in wanted:
        recipe, size = plan.recipes[key], sets.size(dataset, split)
        network = cost(recipe)
        if network is None:
            continue
        assert recipe.sampling is not None, "a tokenizer has a hierarchy of patterns"
        patterns = len(recipe.sampling.patterns)
        what = f"{size.slices if size else '?'} slices x {patterns} patterns"
        items = size.slices * patterns if size else None
        made.append(Work(*key, "tokens", what, items, network.encode.fixed, "fp32", f"{dataset}/{split}"))
    return made
