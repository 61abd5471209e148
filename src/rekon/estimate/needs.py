"""What jobs should ask a cluster for, from their recipes. No torch: the Snakefile may call it when parsed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

from rekon.config import Compute, Recipe
from rekon.estimate.cost import Cost, Recipes, key, read_costs
from rekon.estimate.machine import Machine, machine, memory
from rekon.estimate.sets import Sets
from rekon.estimate.work import Stage, Work, scored_items, training_flops, works
from rekon.plan import Plan

MORE_MEMORY, MORE_TIME = 1.2, 1.5  # than estimated: fragmentation; data loading, slower kernels
LEAST = 0.5  # hours: Python, libraries, compilation, the first files of a busy file system
MORE_USE = 3.0  # times what is estimated: images one by one keep a GPU less busy than a batch does
SECONDS = {"tokens": 0.1, "tuning": 1.0, "scoring": 1.0}  # an item beside its network: reading, metrics, writing


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
    return Needs(_up(gigabytes), min(compute.hours, max(LEAST, round(hours, 2))))


class Uses:
    """Wall time of the jobs that use what was trained. They cannot be resumed, so there is room to spare.

    As many hours as the scale allows where nobody knows better: on a CPU, for a network that is not on record, for a
    set of unknown size.
    """

    def __init__(self, plan: Plan, sets: Sets) -> None:
        self.plan, self.sets = plan, sets

    def hours(self, study: str, run: str, stage: Stage, job: str = "") -> float:
        """Of scoring on a test set (its name as `job`), of tuning, of the tokens of a split ("set/split" as `job`)."""
        if not self.plan.scale.compute.gpus:
            return self._limit
        recipe, work = self.plan.recipes[study, run], self._works.get((study, run, stage, job))
        if stage == "scoring" and recipe.kind == "classical":
            return self._asked(stage, scored_items(recipe, self.sets.size(job, "test")), 0.0)
        if work is None:
            return self._limit
        return self._asked(stage, work.items, self._network_hours(work))

    def inspection(self, study: str) -> float:
        """Of looking into a study's networks, at few slices or once at all of a set: their longest scoring."""
        runs = self.plan.inspected(study)
        scored = [self.hours(of, run, "scoring", name) for of, run, name in self.plan.scored(study) if run in runs]
        return max(scored, default=min(self._limit, LEAST))

    def _asked(self, stage: Stage, items: int | None, network_hours: float | None) -> float:
        if items is None or network_hours is None:
            return self._limit
        hours = MORE_USE * network_hours + SECONDS[stage] * items / 3600
        return min(self._limit, max(LEAST, round(hours, 2)))

    def _network_hours(self, work: Work) -> float | None:
        return None if work.total is None else self._machine.hours(work.total, work.precision)

    @cached_property
    def _works(self) -> dict[tuple[str, str, Stage, str], Work]:
        made = works(self.plan, self.sets, lambda recipe: _known().get(key(recipe, self.plan.recipes)))
        return {(one.study, one.run, one.stage, one.job): one for one in made}

    @cached_property
    def _machine(self) -> Machine:
        return machine(None, self.plan.scale.compute)

    @property
    def _limit(self) -> float:
        return self.plan.scale.compute.hours


def _up(gigabytes: float) -> int | None:
    return math.ceil(MORE_MEMORY * gigabytes) or None


@lru_cache(maxsize=1)
def _known() -> dict[str, Cost]:
    return read_costs()
