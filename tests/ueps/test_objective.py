"""Training of the rungs: what a batch holds, golden loss curves, exact resume.

The golden curves (tests/golden/ueps.json) hold what a refactoring must reproduce. After a change that is meant to
change training, write them anew with `REKON_WRITE_GOLDEN=1 pytest tests/ueps/test_objective.py` and say so in the
commit.
"""

import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest
import rungs
import torch

from rekon.config import UnrolledModel
from rekon.config.base import check
from rekon.errors import UserError
from rekon.physics.coils import rss
from rekon.physics.fft import ifft2c
from rekon.training.history import read_history
from rekon.training.loop import BudgetReached
from rekon.training.weights import load_into
from rekon.ueps.unrolled import build

GOLDEN = Path(__file__).parents[1] / "golden/ueps.json"


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return rungs.volumes(tmp_path_factory.mktemp("volumes"))


def made(manifest, name="ueps", **training):
    torch.manual_seed(0)
    return rungs.objective(rungs.recipe(name, **training), manifest, torch.device("cpu"))


@pytest.mark.parametrize("name", rungs.MODELS)
def test_golden_loss_curve(manifest, tmp_path, name):
    rungs.run(tmp_path, manifest, name)
    rows = read_history(rungs.outputs(tmp_path).metrics)
    curve = {key: [row[key] for row in rows if key in row] for key in ("loss", "gradient_norm", "val_mae")}
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if os.environ.get("REKON_WRITE_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(json.dumps(golden | {name: curve}, indent=1, sort_keys=True) + "\n")
        pytest.skip("written")
    for key, values in golden[name].items():
        assert curve[key] == pytest.approx(values, rel=1e-4), key
    assert curve["val_mae"] == sorted(curve["val_mae"], reverse=True), "it learns"


def test_batch(manifest):
    objective = made(manifest)
    batch = objective.batch([0, 4], 7)  # a slice with four coils, of which three are drawn, and one with two
    assert batch["kspace"].shape == (2, 3, 32, 32)
    assert batch["kspace"].dtype == torch.complex64
    assert torch.equal(batch["kspace"][1, 2], torch.zeros(32, 32, dtype=torch.complex64))
    columns = objective.train.columns
    assert torch.equal(batch["mask"], columns.expand(2, 32))
    assert not batch["kspace"][..., ~columns].any()
    full = objective.train.slices.item(4).kspace
    torch.testing.assert_close(batch["target"][1], rss(ifft2c(full), 0))
    torch.testing.assert_close(batch["kspace"][1, :2], full * columns)


def test_batch_is_a_function_of_item_and_step_whoever_makes_it(manifest):
    objective = made(manifest)
    together = objective.batch([0, 1, 2], 3)
    alone = [objective.batch([index], 3) for index in (0, 1, 2)]
    assert torch.equal(together["kspace"], torch.cat([one["kspace"] for one in alone]))
    others = [objective.batch([0], step)["kspace"] for step in range(8)]
    assert any(not torch.equal(other, others[0]) for other in others), "other steps draw other coils"


def test_loss_is_the_mean_absolute_error_of_the_image(manifest):
    objective = made(manifest)
    batch = objective.batch([0], 0)
    losses = []
    values = objective.step(batch, 0, lambda name, loss: losses.append((name, loss)))
    # a fresh ViT is the identity, so what is left is data consistency on growing matrices; here by the network itself
    image = objective.network(batch["kspace"], batch["mask"])
    torch.testing.assert_close(values["loss"], (image - batch["target"]).abs().mean())
    assert [name for name, _ in losses] == ["network"]


def test_validation_takes_all_coils_of_its_slices(manifest, monkeypatch):
    objective, seen = made(manifest, validation_slices=None), []
    forward = objective.network.forward
    monkeypatch.setattr(
        objective.network, "forward", lambda kspace, mask: seen.append(kspace.shape) or forward(kspace, mask)
    )
    with torch.no_grad():
        objective.validate()
    assert [shape[1] for shape in seen] == [4, 4, 4, 2, 2, 2]


def test_every_parameter_learns(manifest):
    for name in rungs.MODELS:
        objective = made(manifest, name)
        with torch.no_grad():  # a ViT's last layer starts at zero and lets nothing through
            for parameter in objective.network.parameters():
                parameter.add_(0.01)
        objective.step(objective.batch([0, 1], 0), 0, lambda _, loss: loss.backward())
        silent = [key for key, value in objective.network.named_parameters() if value.grad is None]
        assert silent == []


@pytest.mark.parametrize("name", rungs.MODELS)
def test_bf16_follows_fp32_roughly(manifest, tmp_path, name):
    curves = []
    for precision in ("fp32", "bf16"):
        rungs.run(tmp_path / precision, manifest, name, precision=precision, steps=4)
        rows = read_history(rungs.outputs(tmp_path / precision).metrics)
        curves.append([row["loss"] for row in rows if "loss" in row])
    assert curves[0] != curves[1]
    assert curves[1] == pytest.approx(curves[0], rel=0.05)


def test_a_set_without_reference_is_refused(manifest, tmp_path):
    other = tmp_path / "prospective.json"
    other.write_text(json.dumps(json.loads(manifest.read_text()) | {"reference": False}))
    with pytest.raises(UserError, match=r"prospective\.json: has no fully sampled reference"):
        made(other)


def test_weights_fit_the_network_that_the_recipe_builds(manifest, tmp_path):
    rungs.run(tmp_path, manifest, "ueps", steps=2)
    settings = rungs.recipe("ueps", steps=2)
    network = build(check(UnrolledModel, settings.model, "test"), rungs.SIZE)
    load_into({"network": network}, rungs.outputs(tmp_path).weights, settings.model_dump(mode="json"))


@pytest.mark.parametrize("name", ["ueps", "e2e-varnet"])
def test_budget_exits_and_workers_leave_no_trace(manifest, tmp_path, name):
    rungs.run(tmp_path / "whole", manifest, name)
    for _ in range(2):
        with pytest.raises(BudgetReached):
            rungs.run(tmp_path / "parts", manifest, name, minutes=0)
    rungs.run(tmp_path / "parts", manifest, name, workers=1)
    assert products(tmp_path / "parts") == products(tmp_path / "whole")


def test_sigkill_at_random_points(manifest, tmp_path):
    rungs.run(tmp_path / "whole", manifest, "ueps", steps=30)
    seed, history, grown = time.time_ns(), tmp_path / "killed/work/metrics.jsonl", 0
    pauses = random.Random(seed)
    for _ in range(3):
        child = multiprocessing.get_context("fork").Process(
            target=rungs.run, args=(tmp_path / "killed", manifest, "ueps", 0), kwargs={"steps": 30}
        )
        child.start()
        while child.is_alive() and (not history.exists() or history.stat().st_size <= grown):
            time.sleep(0.002)
        time.sleep(pauses.uniform(0, 0.1))
        child.kill()
        child.join(60)
        assert child.exitcode == -signal.SIGKILL, f"seed {seed}"
        grown = history.stat().st_size
    rungs.run(tmp_path / "killed", manifest, "ueps", steps=30)
    assert products(tmp_path / "killed") == products(tmp_path / "whole"), f"seed {seed}"


def products(folder):
    out = rungs.outputs(folder)
    return out.weights.read_bytes(), out.metrics.read_bytes()
