"""The resumable state of a run: one safetensors file, tensors plus a JSON header. No pickle.

It names what it belongs to by a fingerprint (recipe, input hashes, format). Whatever does not match, or cannot be
read, is renamed and reported, never continued and never thrown away.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from rekon import safetensors
from rekon.errors import UserError
from rekon.files import fingerprint
from rekon.training.history import History, Sums
from rekon.training.objective import Objective

FORMAT = "rekon-state-1"
log = logging.getLogger(__name__)


@dataclass
class State:
    """Where a run stands. Everything random follows from `step`, so there is nothing else to remember."""

    fingerprint: str
    step: int = 0  # finished steps
    best: dict[str, Any] | None = None  # the best validation: its step and metrics
    weights: dict[str, Tensor] = field(default_factory=dict)  # the product's tensors at that validation
    sums: Sums = field(default_factory=dict)  # of logged values since the history's last line
    history_bytes: int = 0  # length of metrics.jsonl at `step`
    seconds: float = 0.0  # of training, over all attempts
    attempts: list[dict[str, Any]] = field(default_factory=list)  # provenance of each attempt


class _Unusable(Exception):
    """Why a state is not continued, as the end of a sentence."""


def identity(recipe: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """Fingerprint of what a state belongs to: recipe (plain data) and input hashes by name."""
    return fingerprint({"format": FORMAT, "recipe": dict(recipe), "inputs": dict(inputs)})


def save_state(path: Path | str, state: State, objective: Objective) -> None:
    """Write state, networks and optimisers as one file, atomically."""
    tensors = {f"networks.{key}": value for key, value in objective.networks.state_dict().items()}
    tensors |= {f"extra.{key}": value for key, value in objective.extra_state().items()}
    tensors |= {f"best.{key}": value for key, value in state.weights.items()}
    scalars: dict[str, Any] = {}
    for name, optimiser in objective.optimisers.items():
        for index, entries in optimiser.state_dict()["state"].items():
            for key, value in entries.items():
                place = f"optimisers.{name}.{index}.{key}"
                (tensors if isinstance(value, Tensor) else scalars)[place] = value
    plain = {key: value for key, value in vars(state).items() if key != "weights"}
    header = {"format": FORMAT, "state": json.dumps(plain, sort_keys=True), "scalars": json.dumps(scalars)}
    safetensors.write(path, tensors, header)


def load_state(path: Path | str, wanted: str, objective: Objective, history: Path) -> State | None:
    """Continue from the state at `path` if it has the fingerprint `wanted`; None where there is nothing to continue.

    Networks and optimisers of `objective` are restored. A damaged state, one of another run, or one whose `history`
    (metrics.jsonl) is gone is set aside: renamed, and named in a warning; `objective` is then as it was.
    """
    file = Path(path)
    if not file.exists():
        return None
    try:
        return _continue(file, wanted, objective, history)
    except _Unusable as reason:
        number = 1
        while (other := file.with_name(f"{file.name}.aside-{number}")).exists():
            number += 1
        file.rename(other)
        log.warning("%s is not continued: %s. It is now %s; training starts anew.", file, reason, other.name)
        return None


def remove_leftovers(folder: Path) -> None:
    """Delete what a killed process left half-written in its state folder."""
    for leftover in folder.glob(".*.part*"):
        leftover.unlink(missing_ok=True)


def _continue(file: Path, wanted: str, objective: Objective, history: Path) -> State:
    try:
        tensors, header = safetensors.read(file)
        state, scalars = State(**json.loads(header["state"])), json.loads(header["scalars"])
    except UserError as error:
        raise _Unusable(str(error).removeprefix(f"{file}: ").partition(";")[0].rstrip(".")) from None
    except (KeyError, TypeError, json.JSONDecodeError):
        raise _Unusable("it is no state of this version of rekon") from None
    if header.get("format") != FORMAT or state.fingerprint != wanted:
        raise _Unusable("it belongs to another recipe or to other input data")
    if not History.holds(history, state.history_bytes):
        raise _Unusable(f"its history {history} is missing or too short")
    saved, built = _below(tensors, "networks."), objective.networks.state_dict()
    if {key: value.shape for key, value in saved.items()} != {key: value.shape for key, value in built.items()}:
        raise _Unusable("the code now builds other networks from the same recipe")
    objective.networks.load_state_dict(saved, strict=True)
    objective.load_extra_state(_below(tensors, "extra."))
    for name, optimiser in objective.optimisers.items():
        prefix, entries = f"optimisers.{name}.", dict[int, dict[str, Any]]()
        for key, value in (_below(tensors, prefix) | _below(scalars, prefix)).items():
            index, _, what = key.partition(".")
            entries.setdefault(int(index), {})[what] = value
        # the groups' settings follow from the recipe; only the running averages are history
        optimiser.load_state_dict({"state": entries, "param_groups": optimiser.state_dict()["param_groups"]})
    state.weights = _below(tensors, "best.")
    return state


def _below(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)}
