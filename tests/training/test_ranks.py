"""A lost process ends the others, with a line about it; ranks come from torchrun or from Slurm."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch.distributed as dist
import toy

from rekon.config import Compute
from rekon.errors import UserError
from rekon.training import distributed

LAUNCH = "import sys; from rekon.training.distributed import launch; sys.exit(launch(2, sys.argv[1:]))"


def ranks(parent: int, program: str) -> list[int]:
    """Processes below `parent` that run `program`."""
    listed = subprocess.run(
        ["ps", "-eww", "-o", "pid=", "-o", "ppid=", "-o", "args="], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    return [int(pid) for pid, above, words in rows if int(above) == parent and program in words]


@pytest.mark.slow
def test_a_lost_process_ends_the_run_with_a_line_about_it(tmp_path):
    command = [sys.executable, "-c", LAUNCH, toy.__file__, str(tmp_path), "slow=0.05", "steps=2000"]
    history = tmp_path / "work/metrics.jsonl"
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as run:
        try:
            limit = time.monotonic() + 90
            while not (history.exists() and history.stat().st_size):
                assert run.poll() is None and time.monotonic() < limit
                time.sleep(0.1)
            first, second = ranks(run.pid, toy.__file__)
            os.kill(second, signal.SIGKILL)
            _, words = run.communicate(timeout=60)
        finally:
            run.kill()
    assert run.returncode == signal.SIGKILL
    assert "rekon: process 2 of 2 was lost (SIGKILL); the others were ended." in words
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


def test_several_nodes_need_a_job_that_holds_them(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(UserError, match=r"'compute.nodes': 2 nodes need a Slurm job that holds them"):
        distributed.launch(2, ["-m", "rekon"], nodes=2)


def test_processes_are_spread_by_srun_and_told_where_they_meet(monkeypatch):
    seen = {}

    def run(command, env, check):
        seen.update(command=command, env=env)
        return subprocess.CompletedProcess(command, 75)

    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr(distributed.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(distributed.subprocess, "run", run)
    assert distributed.launch(16, ["-m", "rekon", "train"], nodes=2, threads=8, gpus=16) == 75, "out of time, as it is"
    options = seen["command"][1 : seen["command"].index(sys.executable)]
    assert seen["command"][0] == "srun"
    assert set(options) == {
        "--nodes=2", "--ntasks=16", "--ntasks-per-node=8", "--cpus-per-task=8", "--gpus-per-node=8",
        "--kill-on-bad-exit=1",
    }  # fmt: skip
    assert seen["env"]["MASTER_ADDR"] and int(seen["env"]["MASTER_PORT"]) > 0


def test_ranks_of_slurm_are_taken_only_from_a_launch_of_ours(monkeypatch):
    """A training that Slurm starts alone is a task of its own kind too."""
    joined = []
    monkeypatch.setattr(dist, "init_process_group", joined.append)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: None)
    for name, value in (("PROCID", "3"), ("LOCALID", "1"), ("NTASKS", "4")):
        monkeypatch.setenv(f"SLURM_{name}", value)
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    with distributed.place(Compute(device="cpu")) as alone:
        assert (alone.rank, alone.world, distributed.started()) == (0, 1, False)
    monkeypatch.setenv("REKON_RANKS_BY_SRUN", "1")
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.setenv(name, "")  # so that they are put back
    with distributed.place(Compute(device="cpu")) as fourth:
        assert (fourth.rank, fourth.world, distributed.started()) == (3, 4, True)
    assert joined == ["gloo"]
