"""Which volumes the runs of a study learn from, are validated and scored on: lists with their hashes.

Made from the manifests by the very selection that training makes, so a list is what a run sees, not what it should see.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from rekon.config import Recipe
from rekon.data.selection import Selection
from rekon.files import read_json
from rekon.plan import Plan
from rekon.recipe import contrast_groups, selected
from rekon.reporting.sources import Sources


class Item(NamedTuple):
    """A volume, by name."""

    volume: str


@dataclass(frozen=True)
class Volumes:
    """The volumes of a manifest, as far as a selection asks: one item stands for each."""

    path: Path
    volumes: Mapping[str, Mapping[str, Any]]

    @cached_property
    def items(self) -> Sequence[Item]:
        return [Item(name) for name in self.volumes]


def read_volumes(path: Path) -> Volumes:
    """The volumes that a manifest lists, in its order."""
    return Volumes(path, {one["volume"]: one for one in read_json(path)["volumes"]})


def learned(recipe: Recipe, train: Volumes, validation: Volumes) -> tuple[list[str], list[str]]:
    """Names of the volumes that a run is trained and validated on."""
    groups = contrast_groups(recipe)
    if groups is None:
        return list(train.volumes), list(validation.volumes)
    seen = {group: None for group, subjects in selected(recipe).items() if subjects != 0}
    chosen = Selection(train, groups, recipe.data.select)
    watched = Selection(validation, groups, seen)
    return [train.items[i].volume for i in chosen.indices], [validation.items[i].volume for i in watched.indices]


def list_splits(plan: Plan, study: str, root: Path = Path()) -> dict[str, Any]:
    """Lists of a study, as plain data.

    runs: run -> train and validation, each with its set, the list's hash, how many volumes, of which contrasts, of how
    many subjects. test: the same by test set. lists: hash -> names. The hash is SHA-256 of the names, a line each.
    """
    folder = root / "runs" / plan.scale.scale / "data"
    manifests: dict[str, Volumes] = {}
    lists: dict[str, list[str]] = {}

    def volumes(dataset: str, split: str) -> Volumes:
        place = f"{dataset}/{split}"
        if place not in manifests:
            manifests[place] = read_volumes(folder / f"{place}.json")
        return manifests[place]

    def entry(dataset: str, source: Volumes, names: Iterable[str]) -> dict[str, Any]:
        ordered = sorted(names)
        digest = hashlib.sha256("".join(f"{name}\n" for name in ordered).encode()).hexdigest()
        lists[digest] = ordered
        contrasts = [source.volumes[name]["contrast"] for name in ordered]
        return {
            "set": dataset,
            "sha256": digest,
            "volumes": len(ordered),
            "subjects": len({source.volumes[name]["subject"] for name in ordered}),
            "contrasts": {one: contrasts.count(one) for one in sorted(set(contrasts))},
        }

    runs = {}
    for _, run in plan.trained(study):
        recipe = plan.recipes[study, run]
        train, validation = volumes(recipe.data.train, "train"), volumes(recipe.data.validation, "validation")
        chosen, watched = learned(recipe, train, validation)
        runs[run] = {
            "train": entry(recipe.data.train, train, chosen),
            "validation": entry(recipe.data.validation, validation, watched),
        }
    tested = {name: volumes(name, "test") for name in plan.test_sets(study)}
    return {
        "study": study,
        "runs": runs,
        "test": {name: entry(name, one, one.volumes) for name, one in tested.items()},
        "lists": lists,
    }


def volume_facts(sources: Sources) -> list[dict[str, Any]]:
    """For the report: of each split of a real set which files belong to it, what its paper leaves open, which files
    could not be converted; and what papers say of the volumes that runs learn from, beside what was taken."""
    facts = []
    plan = sources.plan
    for name in plan.scale.datasets:
        for split in plan.splits(name):
            path = sources.root / "runs" / plan.scale.scale / "data" / name / f"{split}.json"
            content = read_json(path) if path.exists() else {}
            rule, chosen = plan.rule(name, split), content.get("list") or {}
            left_out = content.get("left_out") or {}
            if rule is None and not chosen:
                continue
            expected = plan.expected(name, split)
            facts.append(
                {
                    "what": f"{name}/{split}",
                    "here": len(content.get("volumes", [])) if content else None,
                    "expected": expected.volumes if expected else None,
                    "says": "",
                    "open": (rule.open if rule else None) or "",
                    "sha256": chosen.get("sha256", ""),
                    "left_out": sorted(left_out.items()),
                }
            )
    for study in plan.papers:
        file = plan.split_files.get(study)
        path = sources.root / "runs" / plan.scale.scale / "splits" / f"{study}.json"
        listed = read_json(path)["runs"] if path.exists() else {}
        if file is None:
            continue
        for run, words in file.runs.items():
            if (study, run) not in plan.recipes or plan.recipes[study, run].data.train != file.learns_from:
                continue
            found = listed.get(run, {}).get("train", {})
            facts.append(
                {
                    "what": f"{study}/{run}",
                    "here": found.get("volumes"),
                    "expected": sum(words.volumes.values()) or None,
                    "says": words.says,
                    "open": words.open or "",
                    "sha256": found.get("sha256", ""),
                    "left_out": [],
                }
            )
    return facts
