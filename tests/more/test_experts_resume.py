"""A run of experts that was stopped, or shared by two processes, goes the way of one that was not."""

import json
import multiprocessing
import random
import signal
import subprocess
import sys
import time

import mixtures
import pytest
import torch
from safetensors import safe_open

from rekon.training.history import read_history
from rekon.training.loop import BudgetReached
from rekon.training.weights import load_weights

LAUNCH = "import sys; from rekon.training.distributed import launch; sys.exit(launch(2, sys.argv[1:]))"


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return mixtures.volumes(tmp_path_factory.mktemp("volumes"))


@pytest.mark.parametrize("name", ["more", "one", "prompted"])
def test_budget_exits_and_workers_leave_no_trace(manifest, tmp_path, name):
    mixtures.run(tmp_path / "whole", manifest, name)
    for _ in range(2):
        with pytest.raises(BudgetReached):
            mixtures.run(tmp_path / "parts", manifest, name, minutes=0)
    mixtures.run(tmp_path / "parts", manifest, name, workers=1)
    assert products(tmp_path / "parts") == products(tmp_path / "whole")


def test_a_resumed_run_has_its_cache_back(manifest, tmp_path, monkeypatch):
    with pytest.raises(BudgetReached):
        mixtures.run(tmp_path, manifest, minutes=0)
    restored = []
    restore = mixtures.ExpertsObjective.load_extra_state
    monkeypatch.setattr(
        mixtures.ExpertsObjective,
        "load_extra_state",
        lambda self, state: (restore(self, state), restored.append(self.cache.items.clone())),
    )
    mixtures.run(tmp_path, manifest)
    assert restored[0].shape == (2, 2, 18, 8, 8) and restored[0].any()  # after one step of two samples


def test_sigkill_at_random_points(manifest, tmp_path):
    mixtures.run(tmp_path / "whole", manifest, steps=16)
    seed, history, grown = time.time_ns(), tmp_path / "killed/work/metrics.jsonl", 0
    pauses = random.Random(seed)
    for _ in range(2):
        child = multiprocessing.get_context("fork").Process(
            target=mixtures.run, args=(tmp_path / "killed", manifest, "more", 0), kwargs={"steps": 16}
        )
        child.start()
        while child.is_alive() and (not history.exists() or history.stat().st_size <= grown):
            time.sleep(0.002)
        time.sleep(pauses.uniform(0, 0.1))
        child.kill()
        child.join(60)
        assert child.exitcode == -signal.SIGKILL, f"seed {seed}"
        grown = history.stat().st_size
    mixtures.run(tmp_path / "killed", manifest, steps=16)
    assert products(tmp_path / "killed") == products(tmp_path / "whole"), f"seed {seed}"


def products(folder):
    out = mixtures.outputs(folder)
    return out.weights.read_bytes(), out.metrics.read_bytes()


def chosen(folder):
    """Samples by step, router and expert."""
    return [json.loads(line) for line in (folder / "chosen.jsonl").read_text().splitlines()]


def launch(folder, manifest, *options):
    command = [sys.executable, "-c", LAUNCH, mixtures.__file__, str(folder), str(manifest), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    return done.returncode, done.stderr


def test_a_run_goes_on_where_an_expert_has_not_worked_yet(manifest, tmp_path):
    with pytest.raises(BudgetReached):
        mixtures.run(tmp_path / "parts", manifest, "one", minutes=0)
    (first,) = chosen(tmp_path / "parts")
    idle = [expert for expert, samples in enumerate(first[0]) if not samples]
    names = [name for name, _ in mixtures.network("one").named_parameters()]
    with safe_open(tmp_path / "parts/work/state.safetensors", "numpy") as state:
        moved = {names[int(key.split(".")[2])] for key in state.keys() if key.endswith(".exp_avg")}  # noqa: SIM118
    worked = [
        expert for expert in range(3) if any(f"cascades.0.denoiser.unet.decoders.{expert}." in name for name in moved)
    ]
    assert idle and sorted(idle + worked) == [0, 1, 2], "two samples, three experts"
    mixtures.run(tmp_path / "parts", manifest, "one")
    mixtures.run(tmp_path / "whole", manifest, "one")
    steps = chosen(tmp_path / "whole")
    assert chosen(tmp_path / "parts") == steps and all(sum(step[0][e] for step in steps) for e in idle), (
        "they work later"
    )
    assert products(tmp_path / "parts") == products(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["more", "one"])  # one: a third of the experts at least rests in every step
def test_two_processes_route_like_one_through_a_budget_exit(manifest, tmp_path, name):
    code, text = launch(tmp_path / "two", manifest, name, "0")
    assert code == 75, text
    assert "stopped after step 10 of 12" in text
    code, text = launch(tmp_path / "two", manifest, name)
    assert code == 0, text
    mixtures.run(tmp_path / "one", manifest, name)
    assert len(chosen(tmp_path / "one")) == 12 and chosen(tmp_path / "two") == chosen(tmp_path / "one")
    if name == "one":
        assert all(0 in router for step in chosen(tmp_path / "one") for router in step)
    two, one = (read_history(mixtures.outputs(tmp_path / name).metrics) for name in ("two", "one"))
    assert len(two) == len(one) == 12 + 3
    for left, right in zip(two, one, strict=True):
        assert left == pytest.approx(right, rel=1e-3)
        routed = [key for key in right if key.startswith(("val_usage", "val_nmi", "val_favourite"))]
        assert [left[key] for key in routed] == [right[key] for key in routed]
        if "load_entropy" in right:  # of the counts of all choices, noise included
            assert left["load_entropy"] == pytest.approx(right["load_entropy"], rel=1e-6)
    weights = [load_weights(mixtures.outputs(tmp_path / name).weights)[0] for name in ("two", "one")]
    for key, value in weights[1].items():
        torch.testing.assert_close(weights[0][key], value, rtol=1e-3, atol=1e-4, msg=key)
