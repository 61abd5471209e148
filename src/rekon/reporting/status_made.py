"""What complete files were made from, against what is there now: by recorded hashes and recipes, not by times."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from rekon.config import Recipe
from rekon.config.datasets import Split
from rekon.errors import UserError
from rekon.files import read_yaml, sha256
from rekon.plan import Plan
from rekon.reporting import status_files as files

Wanted = dict[str, tuple[str, str | None]]  # name among recorded inputs -> (in words, hash now)


class Made:
    """Differences in words, for each kind of job; none where nothing was recorded."""

    def __init__(self, plan: Plan, root: Path) -> None:
        self.plan, self.root, self.scale = plan, root, plan.scale.scale
        self._hash = cache(lambda path: sha256(path) if path.is_file() else None)

    def training(self, recipe: Recipe, weights: str, record: str) -> list[str]:
        """Of a run's weights: its recipe, which they carry, its sets and its parents."""
        made = files.header(self.root / weights).get("recipe")
        changes = ["another recipe"] if made is not None and _json(made) != _plain(recipe) else []
        wanted = self._manifest("train", recipe.data.train, "train")
        wanted |= self._manifest("validation", recipe.data.validation, "validation")
        for role in recipe.parents:
            wanted[f"parent.{role}"] = self._parent(recipe, role)
        return changes + _other(files.mapping(self.root / record).get("inputs"), wanted)

    def tuning(self, recipe: Recipe, path: str) -> list[str]:
        """Of what a search found."""
        wanted = self._used(recipe) | self._manifest("manifest", recipe.data.validation, "validation")
        return self._recipe(recipe, path) + _other(files.mapping(self.root / path).get("inputs"), wanted)

    def scores(self, recipe: Recipe, path: str, dataset: str, tuned: bool) -> list[str]:
        """Of the scores on a test set; path: without its suffix."""
        wanted = self._used(recipe) | self._manifest("manifest", dataset, "test")
        if tuned:
            found = self.root / f"runs/{self.scale}/{recipe.study}/{recipe.run}/zeta.json"
            wanted["tuned"] = ("other settings", self._hash(found))
        made = files.mapping(self.root / f"{path}.json").get("inputs")
        return self._recipe(recipe, f"{path}.csv") + _other(made, wanted)

    def weights(self, study: str, run: str) -> str | None:
        """Hash of a run's weights, as its record says it: the file itself may be large."""
        found = files.mapping(self.root / f"runs/{self.scale}/{study}/{run}/run.json").get("weights")
        return found if isinstance(found, str) else None

    def _recipe(self, recipe: Recipe, output: str) -> list[str]:
        """Of a run without training, whose recipe nothing carries: whether its file is another one, or is newer."""
        path = self.root / f"runs/{self.scale}/{recipe.study}/{recipe.run}/recipe.yaml"
        written, made = files.modified(path), files.modified(self.root / output)
        if recipe.training or written is None or made is None:
            return []
        try:
            same = json.loads(json.dumps(read_yaml(path))) == _plain(recipe)
        except UserError:
            same = False
        return [] if same and written <= made else ["another recipe"]

    def _used(self, recipe: Recipe) -> Wanted:
        """Weights that scoring or tuning reads."""
        used: Wanted = {}
        if recipe.training:
            own = (recipe.study, recipe.run)
            used["weights"] = (f"another {'/'.join(own)}", self.weights(*own))
        for role in recipe.parents:
            used[f"parent.{role}"] = self._parent(recipe, role)
            if role == "weights" and not recipe.training:
                used["weights"] = self._parent(recipe, role)
        return used

    def _parent(self, recipe: Recipe, role: str) -> tuple[str, str | None]:
        return f"another {'/'.join(recipe.parent(role))}", self.weights(*recipe.parent(role))

    def _manifest(self, name: str, dataset: str, split: Split) -> Wanted:
        path = self.root / f"runs/{self.scale}/data/{dataset}/{split}.json"
        return {name: (f"another {dataset}", self._hash(path))}


def _other(made: Any, wanted: Mapping[str, tuple[str, str | None]]) -> list[str]:
    """What differs between recorded hashes and those of now, where both are known."""
    if not isinstance(made, dict):
        return []
    changed = [words for name, (words, now) in wanted.items() if now and name in made and made[name] != now]
    return list(dict.fromkeys(changed))


def _plain(recipe: Recipe) -> Any:
    """A recipe as it comes back from JSON."""
    return json.loads(json.dumps(recipe.model_dump(mode="json")))


def _json(text: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        return None
