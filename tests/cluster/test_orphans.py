"""Jobs that outlive the Snakemake that submitted them (with a Slurm of two shell scripts; no cluster is started)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rekon.cluster import cancel_orphans
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
