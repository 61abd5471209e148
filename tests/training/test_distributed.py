"""Two processes train like one with the same batch."""

import contextlib
import subprocess
import sys

import pytest
import torch
import toy

from rekon.config import Compute
from rekon.errors import UserError
from rekon.training import distributed
from rekon.training.history import read_history

LAUNCH = "import sys; from rekon.training.distributed import launch; sys.exit(launch(2, sys.argv[1:]))"


def launch(folder, *options):
    command = [sys.executable, "-c", LAUNCH, toy.__file__, str(folder), "dropout=0", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    return done.returncode, done.stderr


@pytest.mark.slow
def test_two_processes_follow_the_curve_of_one_through_a_budget_exit(tmp_path):
    code, text = launch(tmp_path / "two", "minutes=0")
    assert code == 75, text
    assert "stopped after step 10 of 60" in text
    code, text = launch(tmp_path / "two")
    assert code == 0, text
    assert text.count("goes on after step 10 of 60") == 1, "one process speaks"
    toy.run(tmp_path / "one", dropout=0)
    two, one = (read_history(toy.outputs(tmp_path / name).metrics) for name in ("two", "one"))
    assert len(two) == len(one) == 65
    for left, right in zip(two, one, strict=True):
        assert left == pytest.approx(right, rel=1e-4)


def test_a_batch_that_does_not_split_is_refused(tmp_path, monkeypatch):
    two = contextlib.nullcontext(distributed.Place(torch.device("cpu"), 0, 2))
    monkeypatch.setattr(distributed, "place", lambda compute: two)
    with pytest.raises(UserError, match=r"toys/toy: key 'training.batch' must be a multiple of the 2 processes\."):
        toy.run(tmp_path, batch=3)


def test_alone_nothing_is_exchanged():
    layer = torch.nn.Linear(2, 1)
    layer.weight.grad = torch.ones(1, 2)
    distributed.average_gradients(layer.parameters())
    assert layer.bias.grad is None
    assert distributed.share([1, 2, 3]) == [1, 2, 3]
    assert distributed.agree((True, False), torch.device("cpu")) == [True, False]


def test_place_sets_threads_and_determinism_and_puts_them_back():
    before = torch.get_num_threads()
    with distributed.place(Compute(device="cpu", threads=2)) as place:
        assert torch.get_num_threads() == 2
        assert torch.are_deterministic_algorithms_enabled()
        assert place.main
        assert place.device == torch.device("cpu")
    assert torch.get_num_threads() == before
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_gpu_asked_for_where_there_is_none():
    assert distributed.choose_device(Compute(device="auto")).type == "cpu"
    with pytest.raises(UserError, match=r"'compute.device': 'cuda' is asked for"):
        distributed.choose_device(Compute(device="cuda"))
