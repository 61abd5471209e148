"""What a report is made from: where the artefacts of a plan lie, and their contents, checked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from rekon.config import Dataset, EvaluationSettings, Study
from rekon.errors import UserError
from rekon.evaluation.panel import Panel, read_panels
from rekon.evaluation.score import COLUMNS
from rekon.files import read_json
from rekon.plan import CLASSICAL, Plan
from rekon.reporting.records import lines
from rekon.reporting.views import View

AVERAGE = "average"  # row of the published tables: mean over the zero-shot sets


@dataclass(frozen=True)
class Sources:
    """The artefacts of `plan` below `root`. A run is named "study/run"."""

    plan: Plan
    root: Path = Path()

    # --- paths ------------------------------------------------------------------------------------------------
    def result(self, run: str, dataset: str, suffix: str = ".csv") -> Path:
        return self.root / "results" / self.plan.scale.scale / run / f"{dataset}{suffix}"

    def record(self, run: str, name: str) -> Path:
        """recipe.yaml, run.json or metrics.jsonl of a run."""
        return self.root / "runs" / self.plan.scale.scale / run / name

    def inspection(self, study: str) -> Path:
        return self.root / "results" / self.plan.scale.scale / study / "inspect.npz"

    def versioned(self) -> dict[str, list[str]]:
        """Files that this scale makes below data/ and weights/: what their DVC pointers cover."""
        plan = self.plan
        volumes = [
            f"{dataset}/{split}/{volume}.h5"
            for dataset in plan.scale.datasets
            for split in plan.splits(dataset)
            for volume in plan.volumes(dataset, split)
        ]
        maps = [f"maps/{dataset}/{split}/{name}.h5" for dataset, split in plan.mapped
                for name in plan.volumes(dataset, split)]  # fmt: skip
        return {
            "data": [f"kspace/{volume}" for volume in volumes]
            + maps
            + [path.removeprefix("data/") for path in plan.masks],
            "weights": [f"{plan.scale.scale}/{study}/{run}.safetensors" for study, run in plan.trained()],
        }

    # --- what is planned --------------------------------------------------------------------------------------
    @cached_property
    def _settings(self) -> dict[str, EvaluationSettings]:
        return {study: self.plan.evaluation(study) for study in self.plan.scale.studies}

    def settings(self, study: str) -> EvaluationSettings:
        """How a study is scored."""
        return self._settings[study]

    def datasets(self, study: str) -> tuple[str, ...]:
        """Test sets of a study, in-distribution first."""
        return self.settings(study).datasets

    def dataset(self, name: str) -> Dataset:
        return self.plan.catalogue[name]

    @cached_property
    def studies(self) -> dict[str, Study]:
        """Studies of this scale that reproduce a paper."""
        return {name: self.plan.studies[name] for name in self.plan.scale.studies if name != CLASSICAL}

    def runs(self, study: str) -> list[str]:
        """Runs of a paper: those without training first."""
        config = self.plan.studies[study]
        classical = [f"{CLASSICAL}/{run}" for run in self.plan.runs(CLASSICAL)] if config.classical else []
        return classical + [f"{study}/{run}" for run in self.plan.runs(study)]

    def owns(self, study: str, of: str) -> bool:
        """Whether runs of the study `of` stand in the tables of `study`."""
        return of == study or (of == CLASSICAL and self.plan.studies[study].classical)

    def scored(self, study: str) -> list[str]:
        """Runs of a paper that reconstruct images: tokenizers and teachers do not."""
        known = {f"{of}/{run}" for of, run, _ in self.plan.scored()}
        return [run for run in self.runs(study) if run in known]

    def learned(self, run: str) -> bool:
        """Whether a run's images come from a trained network, its own or, with other decoding, another run's."""
        study, name = run.split("/")
        recipe = self.plan.recipes.get((study, name))
        return recipe is None or bool(recipe.training or recipe.parents)

    def generation(self, run: str) -> int:
        """How many runs lie between a run and one without parents."""
        study, name = run.split("/")
        recipe = self.plan.recipes.get((study, name))
        parents = [recipe.parent(role) for role in recipe.parents] if recipe else []
        return max((1 + self.generation("/".join(parent)) for parent in parents), default=0)

    def title(self, run: str) -> str:
        study, name = run.split("/")
        config = self.plan.studies[study]
        return (config.runs.get(name) or config.not_run[name]).title

    def named(self, run: str, study: str) -> str:
        """Full name of a run that a claim or a published table of `study` calls `run`."""
        return run if "/" in run else f"{study}/{run}"

    def aliases(self, dataset: str) -> tuple[str, ...]:
        """The paper's names of a set of ours: its own, without "sim-", and that of the real set it stands for."""
        entry = self.plan.catalogue.root.get(dataset)
        names = (dataset, dataset.removeprefix("sim-"), entry.stands_for if entry else None)
        return tuple(dict.fromkeys(name for name in names if name))

    def views(self, study: str, names: Iterable[str]) -> list[View]:
        """Views of this scale's sets that are, or stand for, the named ones."""
        wanted = [View.parse(name) for name in names]
        found = [
            view.on(dataset) for dataset in self.datasets(study) for view in wanted
            if view.dataset in self.aliases(dataset)
        ]  # fmt: skip
        return list(dict.fromkeys(found))

    def published_name(self, view: View, known: Iterable[str]) -> str | None:
        """What a published table with the views `known` calls a view of ours; None if it lacks it."""
        names = set(known)
        return next((str(view.on(name)) for name in self.aliases(view.dataset) if str(view.on(name)) in names), None)

    # --- contents ---------------------------------------------------------------------------------------------
    @cached_property
    def _cache(self) -> dict[tuple[str, View, str], pd.DataFrame]:
        return {}

    def scores(self, run: str, view: View | str, study: str | None = None) -> pd.DataFrame:
        """Rows of a run in a view; no rows when it was not evaluated.

        `study`: whose `contrasts` the view's group is from, by default the run's own.
        """
        view = View.parse(view) if isinstance(view, str) else view
        key = (run, view, study or run.split("/")[0])
        if key not in self._cache:
            if view.pattern is None:
                path = self.result(run, view.dataset)
                self._cache[key] = read_scores(path) if path.exists() else pd.DataFrame(columns=COLUMNS)
            else:
                contrasts = self.plan.studies[key[2]].contrasts
                self._cache[key] = view.select(self.scores(run, view.dataset, study), contrasts)
        return self._cache[key]

    def panel(self, run: str, view: View | str) -> Panel | None:
        """The pictures of a run in a view: those of its pattern at the highest R, or of the first sampling."""
        view = View.parse(view) if isinstance(view, str) else view
        path = self.result(run, view.dataset, ".npz")
        panels = read_panels(path) if path.exists() else {}
        if view.pattern:
            parts = {key.rpartition("-R")[::2]: panel for key, panel in panels.items()}
            if view.acceleration:
                return next((panel for (_, r), panel in parts.items() if r == str(view.acceleration)), None)
            panels = {r: panel for (pattern, r), panel in parts.items() if pattern == view.pattern}
            return panels[max(panels, key=int)] if panels else None
        return next(iter(panels.values()), None)

    def pictured(self, study: str) -> list[View]:
        """Views that the report shows pictures of: every set, under each pattern, or acceleration, of the study."""
        accelerations = (
            {
                dataset: sorted(
                    {
                        r
                        for (of, run), recipe in self.plan.recipes.items()
                        if of == study
                        for r in recipe.accelerations
                        if (of, run, dataset) in scored
                    }
                )
                for dataset in self.datasets(study)
            }
            if (scored := set(self.plan.scored(study)))
            else {}
        )
        if any(accelerations.values()):
            return [View(dataset, f"R{r}") for dataset, known in accelerations.items() for r in known]
        hierarchies = [recipe.sampling for (of, _), recipe in self.plan.recipes.items() if of == study]
        patterns = dict.fromkeys(pattern for sampling in hierarchies if sampling for pattern in sampling.patterns)
        return [View(dataset, pattern) for dataset in self.datasets(study) for pattern in patterns or (None,)]

    def notes(self, run: str) -> list[str]:
        """What a reader of a run's rows has to know, as its reconstructor said."""
        study = run.split("/")[0]
        found = [note for dataset in self.datasets(study) for note in self.scores(run, dataset)["note"].unique()]
        return list(dict.fromkeys(note for note in found if note))

    def provenance(self, run: str) -> dict[str, Any] | None:
        """run.json of a trained run; None when it was not trained (yet)."""
        path = self.record(run, "run.json")
        return read_json(path) if path.exists() else None

    def evaluation(self, run: str, dataset: str) -> dict[str, Any] | None:
        """Provenance of an evaluation."""
        path = self.result(run, dataset, ".json")
        return read_json(path) if path.exists() else None

    def history(self, run: str) -> list[dict[str, Any]]:
        """Lines of metrics.jsonl; empty when there are none."""
        path = self.record(run, "metrics.jsonl")
        if not path.exists():
            return []
        return lines(path)


def read_scores(path: Path | str) -> pd.DataFrame:
    """Rows of an evaluation; UserError when the file is not one."""
    words = ("reason", "perceptual_reason", "note")
    text = dict.fromkeys(("dataset", "volume", "subject", "contrast", "pattern", *words), str)
    try:
        rows = pd.read_csv(path, dtype=text)
    except (ValueError, UnicodeDecodeError, pd.errors.ParserError) as error:
        raise UserError(f"{path}: not a readable table of scores ({error}); delete it and evaluate again.") from None
    for column in COLUMNS:
        if column not in rows.columns:
            raise UserError(f"{path}: column {column!r} is missing; delete the file and run the evaluation again.")
    return rows.fillna(dict.fromkeys(words, ""))
