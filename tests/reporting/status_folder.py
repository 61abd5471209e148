"""A folder as jobs leave it: markers, locks, logs, weights and scores without contents."""

from __future__ import annotations

import base64
import json
import os
import time
from pathlib import Path

from rekon.files import sha256, write_json, write_text
from rekon.plan import Plan
from rekon.reporting.status import Status

NOW = time.time()


def write_sets(folder: Path, plan: Plan) -> None:
    """Every set of a scale, and its masks."""
    for dataset in plan.scale.datasets:
        for split in plan.splits(dataset):
            write_json(folder / f"runs/demo/data/{dataset}/{split}.json", {"dataset": dataset, "split": split})
            for volume in plan.volumes(dataset, split):
                for kind in ("kspace", "maps"):
                    empty(folder / f"data/{kind}/{dataset}/{split}/{volume}.h5")
    for path in plan.masks:
        empty(folder / path)


def empty(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def mark(folder: Path, name: str, age: float = 5.0, number: str | None = None) -> None:
    """Snakemake's sign that a job has begun."""
    path = folder / ".snakemake/incomplete" / base64.urlsafe_b64encode(name.encode()).decode()
    write_text(path, json.dumps({"external_jobid": number}))
    age_of(path, age)


def lock(folder: Path, age: float = 60.0) -> None:
    write_text(folder / ".snakemake/locks/0.output.lock", "x\n")
    age_of(folder / ".snakemake/locks/0.output.lock", age)


def log(folder: Path, name: str, text: str, age: float = 5.0) -> None:
    write_text(folder / "logs" / f"{name}.log", text)
    age_of(folder / "logs" / f"{name}.log", age)


def age_of(path: Path, age: float) -> None:
    os.utime(path, (NOW - age, NOW - age))


def safetensors(path: Path, metadata: dict[str, str]) -> None:
    header = json.dumps({"__metadata__": metadata}).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(header).to_bytes(8, "little") + header)


def trained(folder: Path, demo: Plan, name: str, weights: str = "w", **parents: str) -> None:
    """A run's outputs, made from the sets that are there; weights, parents: hashes."""
    recipe = demo.recipes[tuple(name.split("/"))]
    record = folder / f"runs/demo/{name}"
    manifests = {
        role: sha256(folder / f"runs/demo/data/{dataset}/{role}.json")
        for role, dataset in (("train", recipe.data.train), ("validation", recipe.data.validation))
    }
    inputs = manifests | {f"parent.{role}": value for role, value in parents.items()}
    write_json(record / "run.json", {"weights": weights, "inputs": inputs})
    write_text(record / "metrics.jsonl", '{"step": 160, "loss": 1.0}\n')
    safetensors(folder / f"weights/demo/{name}.safetensors", {"recipe": json.dumps(recipe.model_dump(mode="json"))})


def tokens(folder: Path, name: str, weights: str) -> None:
    for split in ("train", "validation"):
        path = folder / f"runs/demo/{name}/tokens/sim-fastmri-brain-{split}.safetensors"
        safetensors(path, {"tokenizer": weights})


def scored(folder: Path, name: str, dataset: str, **inputs: str) -> None:
    path = folder / f"results/demo/{name}/{dataset}"
    manifest = sha256(folder / f"runs/demo/data/{dataset}/test.json")
    write_text(path.with_name(f"{dataset}.csv"), "")
    write_text(path.with_name(f"{dataset}.npz"), "")
    write_json(path.with_name(f"{dataset}.json"), {"inputs": {"manifest": manifest, **inputs}})


def stage(found: Status, name: str, stage: str):
    return next(run.stages[stage] for run in found.runs if f"{run.study}/{run.run}" == name)
