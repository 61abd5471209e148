"""(scale, study, run) -> resolved recipe. Pure functions over config; the only I/O is reading config/*.yaml.

A recipe is the study's base, then the scale's changes for all runs, then the run's own delta, then the scale's
changes for that run; a run that is `like` another starts from that one. Mappings merge key by key; anything else
replaces.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rekon.config import (
    Recipe,
    Scale,
    Study,
)
from rekon.config.base import Strict, check, load
from rekon.config.classical import ClassicalModel
from rekon.config.dpm import DiffusionModel
from rekon.config.more import ExpertsModel
from rekon.config.nas import DistilledModel, ImageUnetModel, TokenizerModel, TransformerModel
from rekon.config.ueps import UnrolledModel
from rekon.errors import UserError

MODELS: dict[str, type[Strict]] = {
    "unrolled": UnrolledModel,
    "classical": ClassicalModel,
    "tokenizer": TokenizerModel,
    "transformer": TransformerModel,
    "distilled": DistilledModel,
    "image_unet": ImageUnetModel,
    "experts": ExpertsModel,
    "diffusion": DiffusionModel,
}  # kind of run -> its model section


def merge(base: Mapping[str, Any], delta: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `delta` laid over it: mappings merge, anything else (lists and null too) replaces."""
    merged = dict(base)
    for key, value in delta.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def differences(base: Mapping[str, Any], other: Mapping[str, Any], prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Dotted key -> (value in base, value in other), for every leaf that differs."""
    found: dict[str, tuple[Any, Any]] = {}
    for key in sorted({*base, *other}):
        left, right = base.get(key), other.get(key)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            found |= differences(left, right, f"{prefix}{key}.")
        elif left != right:
            found[f"{prefix}{key}"] = (left, right)
    return found


def dumps(value: Any) -> str:
    """Compact JSON with sorted keys: equal settings give equal text, so Snakemake sees a change only where one is."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def resolve(scale: Scale, name: str, study: Study, run: str) -> Recipe:
    """The recipe of one run, validated down to its model section."""
    if run not in study.runs:
        raise UserError(f"config/studies/{name}.yaml: no run {run!r}; known are {', '.join(study.runs)}.")
    changes = scale.studies[name]
    value = _lay(study.base, changes.all)
    for ancestor in study.ancestry(run):
        value = _lay(_lay(value, study.runs[ancestor].delta), changes.runs.get(ancestor, {}))
    value |= {"scale": scale.scale, "study": name, "run": run, "title": study.runs[run].title}
    source = f"config/studies/{name}.yaml (run {run}, scale {scale.scale})"
    if value.get("kind") not in MODELS:
        raise UserError(f"{source}: key 'kind': {value.get('kind')!r} is not one of {', '.join(MODELS)}.")
    recipe = check(Recipe, value, source)
    model = check(MODELS[recipe.kind], recipe.model, f"{source}, section 'model'")
    return recipe.model_copy(update={"model": model.model_dump(mode="json")})


def _lay(value: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """`merge`, where counting steps replaces counting epochs, and the other way round."""
    merged = merge(value, change)
    given, training = change.get("training"), merged.get("training")
    if isinstance(given, Mapping) and isinstance(training, dict):
        for unit, other in (("steps", "epochs"), ("epochs", "steps")):
            if unit in given and other not in given:
                merged["training"] = {key: item for key, item in training.items() if key != other}
    return merged


def read_recipe(path: Path | str) -> Recipe:
    """Read a recipe.yaml, checked down to its model section."""
    recipe = load(Recipe, path)
    if recipe.kind not in MODELS:
        raise UserError(f"{path}: key 'kind': {recipe.kind!r} is not one of {', '.join(MODELS)}.")
    check(MODELS[recipe.kind], recipe.model, f"{path}, section 'model'")
    return recipe


def contrast_groups(recipe: Recipe) -> dict[str, tuple[str, ...]] | None:
    """Contrast groups of the kinds of run that select subjects by them; None of others, which see everything."""
    return recipe.model.get({"diffusion": "contrasts", "experts": "modalities"}.get(recipe.kind, ""))


def selected(recipe: Recipe) -> dict[str, int | None]:
    """Contrast group -> subjects of it that a run learns from, None: all."""
    return dict.fromkeys(contrast_groups(recipe) or ()) if recipe.data.select is None else recipe.data.select
