"""Where a scale stands: its sets, and the stages of each of its runs. A pure function of the plan and a folder's files.

Nothing is asked of Snakemake or Slurm, and no tensor is read, so it answers in a second, also while they are at work.
What it cannot know it says in its words: whether a job that is silent for long still lives, for one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from rekon.config import Recipe
from rekon.config.datasets import Split
from rekon.plan import Plan, on_images
from rekon.reporting import status_files as files
from rekon.reporting.status_data import Data, SplitStatus
from rekon.reporting.status_jobs import Job, Look, look, merged
from rekon.reporting.status_made import Made
from rekon.reporting.status_shared import shared

Stage = Literal["trained", "tokens", "tuned", "scored"]


@dataclass(frozen=True)
class RunStatus:
    """A run and those stages that the plan has for it. `scored` counts test sets, `tokens` splits."""

    study: str
    run: str
    title: str
    stages: dict[Stage, Look]


@dataclass(frozen=True)
class Status:
    """A scale at a moment; times are seconds since 1970."""

    scale: str
    description: str
    at: float
    locked: float | None  # since when Snakemake has held the folder's lock
    splits: list[SplitStatus]
    masks: Look
    backbones: Look
    runs: list[RunStatus]
    shared: dict[str, Look] = field(default_factory=dict)  # what is made once: tables, scorecard, report, ...

    @property
    def looks(self) -> list[Look]:
        """Every stage of every run, and what is made once."""
        return [one for run in self.runs for one in run.stages.values()] + list(self.shared.values())

    def plain(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        return asdict(self)


def status(plan: Plan, root: Path | str = ".", now: float | None = None) -> Status:
    """Where `plan` stands in the folder `root`; now: seconds since 1970, for ages."""
    return _Gatherer(plan, Path(root), time.time() if now is None else now).status()


class _Gatherer:
    """Stages in the order in which they depend on each other, each looked at once."""

    def __init__(self, plan: Plan, root: Path, now: float) -> None:
        self.plan, self.root, self.now, self.scale = plan, root, now, plan.scale.scale
        self.markers = files.read_markers(root)
        self.data = Data(plan, root, self._look)
        self._trained: dict[tuple[str, str], Look] = {}
        self.made = Made(plan, root)

    def status(self) -> Status:
        runs = [
            RunStatus(study, run, recipe.title, self._stages(study, run, recipe))
            for (study, run), recipe in self.plan.recipes.items()
        ]
        return Status(
            self.scale, self.plan.scale.description, self.now, self.markers.locked, self.data.splits, self.data.masks,
            self.data.backbones, runs, shared(self.plan, self.root, self._look, _open(runs)),
        )  # fmt: skip

    def _look(self, job: Job) -> Look:
        return look(job, self.markers, self.root, self.now)

    def _stages(self, study: str, run: str, recipe: Recipe) -> dict[Stage, Look]:
        found: dict[Stage, Look] = {}
        if recipe.training:
            found["trained"] = self.trained(study, run)
        if (study, run) in self._tokenizers:
            found["tokens"] = merged([self.tokens(study, run, *one) for one in self._tokenizers[study, run]])
        if self.plan.tuned(study, run):
            found["tuned"] = self.tuned(study, run)
        if sets := [dataset for of, name, dataset in self._scored if (of, name) == (study, run)]:
            each = {dataset: self.scored(study, run, dataset) for dataset in sets}
            named = [
                replace(one, note=f"{dataset}: {one.note}" if one.state == "failed" else one.note)
                for dataset, one in each.items()
            ]
            found["scored"] = merged(named)
        return found

    # --- stages -----------------------------------------------------------------------------------------------
    def trained(self, study: str, run: str) -> Look:
        """Training of a run. Complete weights are due again when their recipe, parents or sets are other ones now."""
        if (study, run) not in self._trained:
            recipe, name = self.plan.recipes[study, run], f"{self.scale}/{study}/{run}"
            assert recipe.training is not None
            weights, record = f"weights/{name}.safetensors", f"runs/{name}/run.json"
            outputs = (weights, f"runs/{name}/metrics.jsonl", record)
            job = Job(outputs, f"logs/train/{name}.log", f"work/{name}", True, recipe.training.steps)
            waits = [*self._data_waits(recipe), *self._parent_waits(recipe), *self._token_waits(recipe)]
            found = self._with_waits(self._look(job), waits, lambda: self.made.training(recipe, weights, record))
            self._trained[study, run] = found
        return self._trained[study, run]

    def tokens(self, study: str, run: str, dataset: str, split: Split) -> Look:
        """Cached tokens of a split, by a tokenizer."""
        path = f"runs/{self.scale}/{study}/{run}/tokens/{dataset}-{split}.safetensors"
        job = Job((path,), f"logs/tokenise/{self.scale}/{study}/{run}/{dataset}-{split}.log")
        waits = [*self._needs([(study, run)]), *self.data.waits(dataset, split, maps=True)]

        def changes() -> list[str]:
            encoded = files.header(self.root / path).get("tokenizer")
            return ["another tokenizer"] if encoded and encoded != self.made.weights(study, run) else []

        return self._with_waits(self._look(job), waits, changes)

    def tuned(self, study: str, run: str) -> Look:
        """The search for settings of a run's use."""
        recipe, path = self.plan.recipes[study, run], f"runs/{self.scale}/{study}/{run}/zeta.json"
        job = Job((path,), f"logs/tune_zeta/{self.scale}/{study}/{run}.log", talks=True)
        waits = [*self._weight_waits(recipe), *self.data.waits(recipe.data.validation, "validation", maps=True)]

        return self._with_waits(self._look(job), waits, lambda: self.made.tuning(recipe, path))

    def scored(self, study: str, run: str, dataset: str) -> Look:
        """Scores of a run on a test set."""
        recipe, path = self.plan.recipes[study, run], f"results/{self.scale}/{study}/{run}/{dataset}"
        outputs = (f"{path}.csv", f"{path}.npz", f"{path}.json")
        job = Job(outputs, f"logs/evaluate/{self.scale}/{study}/{run}/{dataset}.log")
        waits = [*self._weight_waits(recipe), *self.data.waits(dataset, "test", maps=self.plan.uses_maps(recipe))]
        tuned = self.plan.tuned(study, run)
        if tuned and not waits and self.tuned(study, run).state != "done":
            waits.append("its tuning")

        return self._with_waits(self._look(job), waits, lambda: self.made.scores(recipe, path, dataset, tuned))

    # --- what a stage waits for -------------------------------------------------------------------------------
    @staticmethod
    def _with_waits(found: Look, waits: Iterable[str], changes: Callable[[], list[str]]) -> Look:
        """A look with what it waits for; a complete one is due where it was made from something else."""
        names = list(dict.fromkeys(waits))
        shown = names[0] + (f" and {len(names) - 1} more" if names[1:] else "") if names else ""
        found = replace(found, waits=tuple(names))
        if found.state == "waiting":
            reasons = [f"waits for {shown}" if names else "its turn", *([found.note] if found.note else [])]
            return replace(found, note="; ".join(reasons))
        if found.state == "done":
            made = changes()
            if made or names:
                note = f"made from {', '.join(made)}" if made else f"again after {shown}"
                return replace(found, state="due", note=note, done=0)
        return found

    def _needs(self, keys: Iterable[tuple[str, str]]) -> list[str]:
        """Runs among `keys` that are not trained, without those that others among them wait for."""
        missing = [key for key in keys if self.trained(*key).state != "done"]
        before = set().union(*(self._ancestors(key) for key in missing))
        return ["/".join(key) for key in missing if key not in before]

    def _ancestors(self, key: tuple[str, str]) -> set[tuple[str, str]]:
        parents = {self.plan.recipes[key].parent(role) for role in self.plan.recipes[key].parents}
        return parents.union(*(self._ancestors(parent) for parent in parents))

    def _parent_waits(self, recipe: Recipe) -> list[str]:
        return self._needs(recipe.parent(role) for role in recipe.parents)

    def _weight_waits(self, recipe: Recipe) -> list[str]:
        if recipe.training and self.trained(recipe.study, recipe.run).state != "done":
            return ["its training"]
        return self._parent_waits(recipe)

    def _token_waits(self, recipe: Recipe) -> list[str]:
        if "tokenizer" not in recipe.parents:
            return []
        study, run = recipe.parent("tokenizer")
        if self.trained(study, run).state != "done":
            return []  # the tokenizer itself is what is waited for
        pairs: tuple[tuple[str, Split], ...] = ((recipe.data.train, "train"), (recipe.data.validation, "validation"))
        open_ = any(self.tokens(study, run, dataset, split).state != "done" for dataset, split in pairs)
        return [f"tokens of {study}/{run}"] if open_ else []

    def _data_waits(self, recipe: Recipe) -> list[str]:
        maps = on_images(recipe)
        waits = self.data.waits(recipe.data.train, "train", maps)
        waits += self.data.waits(recipe.data.validation, "validation", maps)
        return waits + [name for name in self.plan.backbones_of(recipe) if not self.data.has_backbone(name)]

    # --- the plan ---------------------------------------------------------------------------------------------
    @cached_property
    def _scored(self) -> list[tuple[str, str, str]]:
        return self.plan.scored()

    @cached_property
    def _tokenizers(self) -> dict[tuple[str, str], list[tuple[str, Split]]]:
        """Splits that each tokenizer encodes for the transformers that are trained on its tokens."""
        found: dict[tuple[str, str], dict[tuple[str, Split], None]] = {}
        for recipe in self.plan.recipes.values():
            if recipe.training and "tokenizer" in recipe.parents:
                splits = found.setdefault(recipe.parent("tokenizer"), {})
                splits |= {(recipe.data.train, "train"): None, (recipe.data.validation, "validation"): None}
        return {key: list(splits) for key, splits in found.items()}


def _open(runs: list[RunStatus]) -> dict[str, int]:
    """Study -> number of its jobs that are still to be done."""
    found: dict[str, int] = {}
    for run in runs:
        left = sum(state != "done" for look in run.stages.values() for state in look.states)
        found[run.study] = found.get(run.study, 0) + left
    return found
