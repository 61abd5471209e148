"""A run that was stopped in any way ends with the same bytes as one that was not."""

import logging
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch
import toy

from rekon.training import loop, state
from rekon.training.loop import BudgetReached

PRODUCTS = ("toy.safetensors", "metrics.jsonl")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Products of a run without interruption."""
    folder = tmp_path_factory.mktemp("whole")
    toy.run(folder)
    return {name: (folder / name).read_bytes() for name in PRODUCTS}


def products(folder):
    return {name: (folder / name).read_bytes() for name in PRODUCTS}


def start(folder, *options):
    return subprocess.Popen([sys.executable, toy.__file__, str(folder), *options], stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_sigkill_at_random_points(whole, tmp_path):
    seed = time.time_ns()
    pauses, killed = random.Random(seed), 0
    for _ in range(3):
        process = start(tmp_path, "slow=0.05", "save=0")
        steps_begin = time.monotonic() + 60
        before = size(tmp_path / "work/metrics.jsonl")
        while process.poll() is None and size(tmp_path / "work/metrics.jsonl") <= before:
            assert time.monotonic() < steps_begin, process.stderr.read()
            time.sleep(0.01)
        time.sleep(pauses.uniform(0, 0.8))
        process.kill()
        killed += process.wait() == -signal.SIGKILL
        process.stderr.close()
    last = start(tmp_path, "save=0")
    _, text = last.communicate(timeout=120)
    assert last.returncode == 0, text
    assert killed == 3
    assert "goes on after step" in text
    assert products(tmp_path) == whole, f"seed {seed}"


def size(path):
    return path.stat().st_size if path.exists() else 0


def die_at(folder, place, count):
    """Train in a child that kills itself when `place` (a function of the loop) is called for the count-th time."""
    calls, original = [], getattr(loop, place)

    def deadly(*arguments, **named):
        calls.append(None)
        if len(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **named)

    setattr(loop, place, deadly)
    toy.run(folder, save=0, slow=0.003)


@pytest.mark.parametrize(
    ("place", "count"),
    [
        ("save_state", 1),
        ("save_state", 2),
        ("clip_grad_norm_", 31),
        ("save_weights", 1),
        ("sha256", 1),
        ("write_json", 1),
    ],
)
def test_killed_between_two_actions(whole, tmp_path, place, count):
    for _ in range(2):
        child = multiprocessing.get_context("fork").Process(target=die_at, args=(tmp_path, place, count))
        child.start()
        child.join(60)
        assert child.exitcode == -signal.SIGKILL
        count = 1 if place == "save_state" else count  # the second attempt has fewer steps left
    toy.run(tmp_path)
    assert products(tmp_path) == whole


def test_killed_while_a_state_is_written(whole, tmp_path, monkeypatch):
    with pytest.raises(BudgetReached):
        toy.run(tmp_path, minutes=0)
    (tmp_path / "work/.state.safetensors.1.part.safetensors").write_bytes(b"half")
    toy.run(tmp_path)
    assert products(tmp_path) == whole
    assert list((tmp_path / "work").iterdir()) == []


def test_budget_saves_and_every_attempt_gets_further(whole, tmp_path):
    for _ in range(3):
        with pytest.raises(BudgetReached, match="toys/toy: out of time after step"):
            toy.run(tmp_path, minutes=0)
        assert not toy.outputs(tmp_path).weights.exists()
    toy.run(tmp_path)
    assert products(tmp_path) == whole


def test_workers_change_nothing(whole, tmp_path):
    toy.run(tmp_path, workers=2)
    assert products(tmp_path) == whole


@pytest.mark.parametrize(("number", "error"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_saves_and_the_same_command_goes_on(whole, tmp_path, monkeypatch, number, error):
    handler = signal.getsignal(number)
    step, calls = toy.Toy.step, []

    def signalled(self, *arguments):
        calls.append(None)
        if len(calls) == 7:
            os.kill(os.getpid(), number)
        return step(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(toy.Toy, "step", signalled)
        with pytest.raises(error):
            toy.run(tmp_path)
    assert len(calls) == 7
    assert signal.getsignal(number) is handler
    assert int(toy.run(tmp_path).count) == 60
    assert products(tmp_path) == whole


def test_deleting_the_outputs_trains_again(whole, tmp_path):
    toy.run(tmp_path)
    for name in PRODUCTS:
        (tmp_path / name).unlink()
    assert list((tmp_path / "work").iterdir()) == []
    toy.run(tmp_path)
    assert products(tmp_path) == whole


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def flip(path):
    data = bytearray(path.read_bytes())
    data[-50] ^= 1
    path.write_bytes(data)


def garble_header(path):
    path.write_bytes(path.read_bytes()[:8] + b"?" * (path.stat().st_size - 8))


def empty(path):
    path.write_bytes(b"")


def lose_history(path):
    (path.parent / "metrics.jsonl").unlink()


@pytest.mark.parametrize("damage", [truncate, flip, garble_header, empty, lose_history])
def test_damaged_state_is_set_aside_loudly(whole, tmp_path, caplog, damage):
    with pytest.raises(BudgetReached):
        toy.run(tmp_path, minutes=0)
    file = tmp_path / "work/state.safetensors"
    damage(file)
    with caplog.at_level(logging.WARNING):
        toy.run(tmp_path)
    assert str(file) in caplog.text
    assert "state.safetensors.aside-1" in caplog.text
    assert (tmp_path / "work/state.safetensors.aside-1").exists()
    assert products(tmp_path) == whole


@pytest.mark.parametrize("change", [{"learning_rate": 5e-3}, {"inputs": {"train": "0" * 64}}])
def test_state_of_another_recipe_or_other_data_is_set_aside(whole, tmp_path, caplog, change):
    for number in (1, 2):
        with pytest.raises(BudgetReached):
            toy.run(tmp_path, minutes=0, **change)
        with caplog.at_level(logging.WARNING), pytest.raises(BudgetReached):
            toy.run(tmp_path, minutes=0)
        assert "another recipe or to other input data" in caplog.text
        aside = tmp_path / f"work/state.safetensors.aside-{2 * number - 1}"
        assert aside.exists()
    toy.run(tmp_path)
    assert products(tmp_path) == whole


def test_state_of_networks_that_the_code_builds_no_more(tmp_path, caplog, monkeypatch):
    with pytest.raises(BudgetReached):
        toy.run(tmp_path, minutes=0)
    make = toy.Toy.__init__

    def larger(self, *arguments):
        make(self, *arguments)
        self.networks["new"] = torch.nn.Linear(1, 1)

    monkeypatch.setattr(toy.Toy, "__init__", larger)
    with caplog.at_level(logging.WARNING):
        toy.run(tmp_path)
    assert "other networks" in caplog.text


def test_changed_code_is_reported(tmp_path, caplog, monkeypatch):
    with pytest.raises(BudgetReached):
        toy.run(tmp_path, minutes=0)
    monkeypatch.setattr(loop.provenance, "code_fingerprint", lambda: "f" * 64)
    with caplog.at_level(logging.WARNING):
        toy.run(tmp_path)
    assert "the code has changed since step 1" in caplog.text
    assert (tmp_path / "run.json").read_text().count(f'"code": "{"f" * 64}"') == 2


def test_state_needs_no_pickle(tmp_path, monkeypatch):
    import pickle

    with pytest.raises(BudgetReached):
        toy.run(tmp_path, minutes=0)
    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, None)
    toy.run(tmp_path)


def test_identity_ignores_order_only():
    one = state.identity({"a": 1, "b": 2}, {"x": "0", "y": "1"})
    assert one == state.identity({"b": 2, "a": 1}, {"y": "1", "x": "0"})
    assert one != state.identity({"a": 1, "b": 3}, {"x": "0", "y": "1"})
    assert one != state.identity({"a": 1, "b": 2}, {"x": "1", "y": "1"})
