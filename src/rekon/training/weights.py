"""A run's product: a safetensors file with the recipe in its header. Opens without running code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from rekon import safetensors
from rekon.errors import UserError

FORMAT = "rekon-weights-1"


def save_weights(path: Path | str, tensors: Mapping[str, Tensor], recipe: Mapping[str, Any]) -> None:
    """Write weights atomically; equal tensors and recipe give equal bytes.

    tensors: `<network>.<key>` to tensor; recipe: as plain data (`Recipe.model_dump(mode="json")`).
    """
    header = {"format": FORMAT, "recipe": json.dumps(recipe, sort_keys=True, ensure_ascii=False)}
    safetensors.write(path, tensors, header)


def load_weights(path: Path | str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors (CPU) and recipe of a weights file.

    Raises UserError when the file is missing, truncated, damaged, a pickle, or has no recipe in its header.
    """
    tensors, metadata = safetensors.read(path)
    if metadata.get("format") != FORMAT:
        raise UserError(
            f"{path}: header field 'format' is {metadata.get('format')!r}, not {FORMAT!r}; use rekon's own weights."
        )
    try:
        recipe = json.loads(metadata["recipe"])
    except (KeyError, json.JSONDecodeError):
        raise UserError(f"{path}: header field 'recipe' is missing or not JSON; train the run again.") from None
    return tensors, recipe


def load_into(networks: Mapping[str, nn.Module], path: Path | str, recipe: Mapping[str, Any] | None = None) -> None:
    """Fill `networks` (by name, as in `Objective.networks`) from a weights file, all keys of each.

    `recipe` (plain data), where given, must be the one in the file. Networks in the file that are not asked for stay
    unread. Raises UserError naming file and key on another recipe, or a missing, an extra or a wrongly shaped tensor.
    """
    tensors, found = load_weights(path)
    if recipe is not None:
        check_recipe(path, found, recipe)
    for name, network in networks.items():
        prefix = f"{name}."
        given = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        wanted = network.state_dict()
        for key in [*wanted, *given]:
            if key not in given:
                problem = f"tensor '{prefix}{key}' is missing"
            elif key not in wanted:
                problem = f"tensor '{prefix}{key}' does not belong to this network"
            elif given[key].shape != wanted[key].shape:
                problem = (
                    f"tensor '{prefix}{key}' is {tuple(given[key].shape)}, the network's {tuple(wanted[key].shape)}"
                )
            else:
                continue
            raise UserError(f"{path}: {problem}; use weights trained with this recipe, or train it again.")
        network.load_state_dict(given, strict=True)


def check_recipe(path: Path | str, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """UserError naming the first key in which two recipes differ; titles do not count."""
    for key in sorted({*found, *wanted} - {"title"}):
        difference = _difference(key, found.get(key), wanted.get(key))
        if difference:
            raise UserError(f"{path}: made by another recipe ({difference}); train this run again.")


def _difference(key: str, found: Any, wanted: Any) -> str:
    if isinstance(found, Mapping) and isinstance(wanted, Mapping):
        for name in sorted({*found, *wanted}):
            inner = _difference(f"{key}.{name}", found.get(name), wanted.get(name))
            if inner:
                return inner
        return ""
    return "" if found == wanted else f"'{key}' is {found!r} there, {wanted!r} here"
