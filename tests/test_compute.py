"""What a training takes of a scale's GPUs and nodes: as many processes as get equal parts of its batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from rekon.cli.app import app
from rekon.config import Compute
from rekon.files import write_yaml
from rekon.plan import Plan, plan
from rekon.studies import train as studies
from rekon.training import distributed

ROOT = Path(__file__).resolve().parents[1]


def scale(name: str) -> Plan:
    return plan(yaml.safe_load((ROOT / f"config/{name}.yaml").read_text()), ROOT)


@pytest.mark.parametrize(
    ("gpus", "nodes", "batch", "used"),
    [
        (8, 1, 1, (1, 1)),
        (8, 1, 24, (8, 1)),
        (8, 1, 12, (4, 1)),
        (16, 2, 16, (16, 2)),
        (16, 2, 8, (8, 1)),  # one node holds them
        (16, 2, 1, (1, 1)),
        (6, 3, 3, (3, 3)),  # two nodes could hold three, but not evenly
        (24, 3, 12, (12, 2)),
        (0, 1, 5, (0, 1)),
        (0, 2, 4, (0, 2)),  # without GPUs a process per node
        (0, 2, 1, (0, 1)),
    ],
)
def test_as_many_processes_as_divide_the_batch_on_few_nodes(gpus, nodes, batch, used):
    whole = Compute(gpus=gpus, nodes=nodes, threads=3)
    found = whole.for_batch(batch)
    assert (found.gpus, found.nodes) == used and found.threads == 3
    assert found.processes == max(used) and found.node_processes <= whole.node_processes
    assert found.for_batch(batch) == found


@pytest.mark.parametrize("name", ["demo", "open", "full"])
@pytest.mark.parametrize("spread", [{}, {"gpus": 16, "nodes": 2}, {"gpus": 0, "nodes": 2}])
def test_every_training_shares_its_batch_evenly(name, spread):
    made = scale(name)
    compute = Compute(**(made.scale.compute.model_dump() | spread))
    for key in made.trained():
        batch = made.recipes[key].training.batch
        used = compute.for_batch(batch)
        assert batch % used.processes == used.processes % used.nodes == 0, key
        assert (used.gpus > 0) == (compute.gpus > 0), key


@pytest.mark.parametrize(
    ("options", "there", "processes", "nodes"),
    [
        (["--gpus", "1"], {"REKON_NODES": "2", "REKON_NODE_GPUS": "8"}, 1, 1),
        (["--gpus", "8"], {"REKON_NODES": "1", "REKON_NODE_GPUS": "8"}, 8, 1),
        (["--gpus", "8"], {"REKON_NODES": "2", "REKON_NODE_GPUS": "8"}, 8, 1),
        (["--gpus", "8"], {"REKON_NODES": "2", "REKON_NODE_GPUS": "4"}, 8, 2),
        (["--gpus", "8", "--nodes", "2"], {}, 8, 2),
        ([], {"REKON_NODES": "2", "REKON_NODE_GPUS": "0"}, 2, 2),
    ],
)
def test_a_training_starts_the_processes_that_its_job_was_given(
    tmp_path, monkeypatch, options, there, processes, nodes
):
    batch = 1 if processes == 1 else 8
    assert started(tmp_path, monkeypatch, batch, options, there)[:2] == (processes, nodes)


def test_by_hand_too_no_more_processes_are_started_than_can_share_the_batch(tmp_path, monkeypatch):
    processes, nodes, told = started(tmp_path, monkeypatch, 1, ["--gpus", "8"], {})
    assert (processes, nodes) == (1, 1) and "a batch of 1 can be shared by 1 of 8 GPUs" in told
    assert started(tmp_path, monkeypatch, 1, [], {"REKON_NODES": "2", "REKON_NODE_GPUS": "0"})[:2] == (1, 1)


def started(folder, monkeypatch, batch, options, there):
    """Processes and nodes of `rekon train`, and what it says."""
    recipe = scale("full").recipes["more", "more"].model_dump(mode="json")
    recipe["training"]["batch"] = batch
    write_yaml(folder / "recipe.yaml", recipe)
    seen = [(1, 1)]
    monkeypatch.setattr(studies, "train", lambda *_, **__: True)
    monkeypatch.setattr(distributed, "launch", lambda count, _, nodes, *__: seen.append((count, nodes)) or 0)
    names = ("train", "validation", "weights", "metrics", "provenance", "state")
    paths = [part for name in names for part in (f"--{name}", str(folder / name))]
    run = CliRunner().invoke(app, ["train", str(folder / "recipe.yaml"), *paths, *options], env=there)
    assert run.exit_code == 0, run.output
    return *seen[-1], run.output
