"""Strictness for all config models: unknown keys and wrong types are refused in one sentence."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from rekon.errors import UserError
from rekon.files import read_yaml

Name = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")  # of data sets, studies, runs: safe in a path
M = TypeVar("M", bound=BaseModel)
Split = Literal["train", "validation", "test"]


class Strict(BaseModel):
    """A config section: no unknown keys, no silent conversion between types, immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def check(model: type[M], value: Any, source: str) -> M:
    """Validate `value` (parsed YAML or JSON) as `model`; `source` names the file in the message.

    Raises UserError with one sentence for the first problem: file, key, what is wrong.
    """
    try:
        return model.model_validate(_tuples(value), strict=None)
    except ValidationError as error:
        raise UserError(f"{source}: {_sentence(error)}") from None


def load(model: type[M], path: Path | str) -> M:
    """Read a YAML file as `model`."""
    value = read_yaml(path)
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected a mapping of keys at the top level.")
    return check(model, value, str(path))


def _tuples(value: Any) -> Any:
    """YAML and JSON know only lists; strict models want tuples."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_tuples(item) for item in value)
    return value


def _sentence(error: ValidationError) -> str:
    problems = error.errors(include_url=False)
    first = problems[0]
    key = ".".join(str(part) for part in first["loc"]) or "top level"
    more = f" ({len(problems) - 1} more problem{'s' if len(problems) > 2 else ''} in this file)" if problems[1:] else ""
    match first["type"]:
        case "extra_forbidden":
            text = f"unknown key {key!r}; remove it or check its spelling"
        case "missing":
            text = f"key {key!r} is missing"
        case "value_error":
            where = "" if key == "top level" else f"key {key!r}: "
            text = where + first["msg"].removeprefix("Value error, ")
        case _:
            text = f"key {key!r}: {first['msg'][0].lower()}{first['msg'][1:]}, got {first['input']!r}"
    return f"{text}{more}."
