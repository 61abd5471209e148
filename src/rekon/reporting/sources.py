"""What a report is made from: where the artefacts of a plan lie, and their contents, checked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from rekon.config import Dataset, Study
from rekon.errors import UserError
from rekon.evaluation.panel import Panel, read_panels
from rekon.evaluation.score import COLUMNS
from rekon.files import read_json
from rekon.recipe import Plan
from rekon.reporting.records import lines

AVERAGE = "average"  # row of the published tables: mean over the zero-shot sets
CLASSICAL = "classical"  # study whose runs stand in every paper's table


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
        mapped = any(recipe.model.get("method") == "sense" for recipe in plan.recipes.values())
        scored = tuple(f"{dataset}/test/" for dataset in self.datasets)
        return {
            "data": [f"kspace/{volume}" for volume in volumes]
            + [f"maps/{volume}" for volume in volumes if mapped and volume.startswith(scored)]
            + [path.removeprefix("data/") for path in plan.masks],
            "weights": [f"{plan.scale.scale}/{study}/{run}.safetensors" for study, run in plan.trained()],
        }

    # --- what is planned --------------------------------------------------------------------------------------
    @property
    def datasets(self) -> tuple[str, ...]:
        """Test sets, in-distribution first."""
        return self.plan.scale.evaluation.datasets

    def dataset(self, name: str) -> Dataset:
        return self.plan.catalogue[name]

    @cached_property
    def studies(self) -> dict[str, Study]:
        """Studies of this scale that reproduce a paper."""
        return {name: self.plan.studies[name] for name in self.plan.scale.studies if name != CLASSICAL}

    def runs(self, study: str) -> list[str]:
        """Runs in the order of a table's columns: those without training first."""
        classical = [f"{CLASSICAL}/{run}" for run in self.plan.runs(CLASSICAL)] if study != CLASSICAL else []
        return classical + [f"{study}/{run}" for run in self.plan.runs(study)]

    def title(self, run: str) -> str:
        study, name = run.split("/")
        return self.plan.studies[study].runs[name].title

    def named(self, run: str, study: str) -> str:
        """Full name of a run that a claim or a published table of `study` calls `run`."""
        return run if "/" in run else f"{study}/{run}"

    def published_name(self, dataset: str, known: dict[str, Any]) -> str | None:
        """The paper's name of a set of ours: its own, without "sim-", or that of the real set it stands for."""
        entry = self.plan.catalogue.root.get(dataset)
        for name in (dataset, dataset.removeprefix("sim-"), entry.stands_for if entry else None):
            if name and name in known:
                return name
        return None

    # --- contents ---------------------------------------------------------------------------------------------
    @cached_property
    def _cache(self) -> dict[tuple[str, str], pd.DataFrame]:
        return {}

    def scores(self, run: str, dataset: str) -> pd.DataFrame:
        """Rows of a run on a set; no rows when it was not evaluated."""
        key = (run, dataset)
        if key not in self._cache:
            path = self.result(run, dataset)
            self._cache[key] = read_scores(path) if path.exists() else pd.DataFrame(columns=COLUMNS)
        return self._cache[key]

    def panel(self, run: str, dataset: str) -> Panel | None:
        """The pictures of a run on a set, with its first sampling."""
        path = self.result(run, dataset, ".npz")
        return next(iter(read_panels(path).values())) if path.exists() else None

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
