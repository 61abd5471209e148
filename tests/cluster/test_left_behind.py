"""Jobs that outlive their Snakemake, and how jobs ended (with a Slurm of two shell scripts; no cluster is started)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rekon.cluster import LOGS, cancel_orphans, short_of_memory
from rekon.errors import UserError

SQUEUE = '#!/bin/sh\ncat "$0.jobs"\n'
SCANCEL = '#!/bin/sh\necho "$@" >> "$0.told"\n'
OBEYED = 'for job in "$@"; do grep -v "^$job|" squeue.jobs > left; mv left squeue.jobs; done\n'


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A queue: jobs as lines `number|comment|folder`; scancel takes them out of it if it `obeys`."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def queue(*jobs: str, obeys: bool = True) -> Path:
        (folder / "squeue").write_text(SQUEUE)
        (folder / "squeue.jobs").write_text("".join(f"{job}\n" for job in jobs))
        (folder / "scancel").write_text(SCANCEL + (f"cd {folder}\n{OBEYED}" if obeys else ""))
        for name in ("squeue", "scancel"):
            (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        return folder / "scancel.told"

    return queue


def test_only_jobs_of_a_snakemake_in_this_folder_are_cancelled(slurm, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    (tmp_path / "link").symlink_to(here)
    told = slurm(
        f"7|rule_train_unrolled_wildcards_ueps_e2e-varnet|{here}",
        f"8|rule_evaluate|{tmp_path / 'link'}",
        f"9|rule_evaluate|{there}",
        f"10|(null)|{here}",
    )
    assert cancel_orphans(here) == ["7", "8"]
    assert told.read_text().split() == ["7", "8"]
    assert cancel_orphans(here) == []


def test_a_job_that_does_not_end_is_told_of(slurm, tmp_path):
    slurm(f"7|rule_train|{tmp_path}", obeys=False)
    with pytest.raises(UserError, match="jobs 7 of an earlier Snakemake in this folder do not end"):
        cancel_orphans(tmp_path, grace=0.0)


def test_without_slurm_there_are_none(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cancel_orphans(tmp_path) == []


def test_jobs_out_of_memory_are_told_by_their_last_log(tmp_path):
    def log(name: str, text: str, age: float) -> None:
        path = tmp_path / LOGS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"Building DAG of jobs...\n{text}\n")
        os.utime(path, (1000.0 - age, 1000.0 - age))

    log("rule_train/ueps_a/7.log", "slurmstepd: error: StepId=7.0 exceeded memory limit (2 > 1), being killed", 9)
    log("rule_train/ueps_a/12.log", "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=12.0", 2)
    log("rule_train/ueps_b/8.log", "killed from outside, most likely for want of memory", 9)
    log("rule_train/ueps_b/13.log", "slurmstepd: error: *** JOB 13 CANCELLED DUE TO TIME LIMIT ***", 1)
    log("rule_inspect/9.log", "some of your processes may have been killed by the cgroup out-of-memory handler.", 3)
    log("rule_evaluate/ueps_c/3.log", "StepId=3.0 exceeded memory limit", 500)
    assert short_of_memory(tmp_path, since=900.0) == ["inspect (Slurm job 9)", "train ueps_a (Slurm job 12)"]
    assert short_of_memory(tmp_path / "elsewhere") == []
