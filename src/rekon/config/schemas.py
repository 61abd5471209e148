"""JSON schemas of the config files, for editors and for reading; the models are the source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from rekon.config.backbones import Backbones
from rekon.config.datasets import Catalogue
from rekon.config.recipe import Recipe
from rekon.config.scale import Scale
from rekon.config.study import Study

MODELS: dict[str, type[BaseModel]] = {
    "backbones": Backbones, "datasets": Catalogue, "recipe": Recipe, "scale": Scale, "study": Study,
}  # fmt: skip


def schema(name: str) -> dict[str, Any]:
    """JSON schema of one kind of file: backbones, datasets, recipe, scale or study."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **MODELS[name].model_json_schema()}


def write_schemas(folder: Path) -> list[Path]:
    """Write <name>.schema.json for every kind of file."""
    from rekon.files import write_text

    written = []
    for name in MODELS:
        written.append(folder / f"{name}.schema.json")
        write_text(written[-1], json.dumps(schema(name), indent=2, sort_keys=True) + "\n")
    return written
