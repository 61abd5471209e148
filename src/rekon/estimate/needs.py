"""What a training job should ask a cluster for, from its recipe. No torch: the Snakefile may call it when parsed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from rekon.config import Compute, Recipe
from rekon.estimate.cost import Cost, Recipes, key, read_costs
from rekon.estimate.machine import Machine, machine, memory
from rekon.estimate.sets import Sets
from rekon.estimate.work import training_flops

MORE_MEMORY, MORE_TIME = 1.2, 1.5  # than estimated: fragmentation; data loading, slower kernels


@dataclass(frozen=True)
class Needs:
    """Of one training job. None: not known here; ask for a whole GPU."""

    gpu_memory_gb: int | None  # of each GPU
    hours: float  # wall time


def needs(
    recipe: Recipe, compute: Compute, recipes: Recipes, sets: Sets | None = None, gpu: Machine | None = None
) -> Needs:
    """What training a run needs, on as many of the GPUs as can share its batch.

    recipes: of all runs, among them the parents, whose networks are part of it. sets: tell how large the sets are;
    without them nobody knows. Never more hours than `compute` allows: what does not fit goes on
    in the next job. A network that is not on record (`rekon estimate --record`), or that counts epochs of a set of
    unknown size, asks for the hours that `compute` allows.
    """
    assert recipe.training is not None, "nothing to train in this recipe"
    compute = compute.for_batch(recipe.training.batch)
    cost = _known().get(key(recipe, recipes))
    if cost is None:
        return Needs(None, compute.hours)
    train = sets.size(recipe.data.train, "train") if sets else None
    validation = sets.size(recipe.data.validation, "validation") if sets else None
    most = train.most_coils if train else recipe.data.max_coils or 32
    gigabytes = memory(cost, recipe, compute.gpus, most).total if compute.gpus else 0.0
    flops = training_flops(recipe, cost, train, validation)
    if flops is None:
        return Needs(_up(gigabytes), compute.hours)
    hours = MORE_TIME * (gpu or machine(None, compute)).hours(flops, recipe.training.precision) / max(compute.gpus, 1)
    return Needs(_up(gigabytes), min(compute.hours, max(0.5, round(hours, 2))))


def _up(gigabytes: float) -> int | None:
    return math.ceil(MORE_MEMORY * gigabytes) or None


@lru_cache(maxsize=1)
def _known() -> dict[str, Cost]:
    return read_costs()
