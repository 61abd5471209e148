"""A checkout of the workflow with a tiny scale, and Snakemake at work in it."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import yaml

from cluster import Cluster

ROOT = Path(__file__).resolve().parents[2]
OFTEN = Path(__file__).with_name("often.py")
RUN = "weights/tiny/ueps/e2e-varnet.safetensors"
RECORD = "runs/tiny/ueps/e2e-varnet/run.json"
HISTORY = "runs/tiny/ueps/e2e-varnet/metrics.jsonl"
SCORES = (
    "results/tiny/ueps/e2e-varnet/sim-fastmri-brain.csv",
    "results/tiny/classical/zero-filled/sim-fastmri-brain.csv",
)
TABLE = "reports/tiny/tables/ueps-table2.csv"
# for one machine and little patience
SITE = [
    "--latency-wait",
    "15",
    "--max-status-checks-per-second",
    "1",
    "--default-resources",
    "mem_mb=1000",
    "runtime=10",
]

TINY = {
    "scale": "tiny",
    "description": "one network on four simulated volumes, for tests of the cluster",
    "datasets": {"sim-fastmri-brain": {"train": 2, "validation": 1, "test": 1}},
    "evaluation": {"id": ["sim-fastmri-brain"], "ood": []},
    "studies": {
        "classical": {
            "only": ["zero-filled"],
            "all": {"data": {"train": "sim-fastmri-brain", "validation": "sim-fastmri-brain", "size": [64, 64]}},
        },
        "ueps": {
            "only": ["e2e-varnet"],
            "runs": {
                "e2e-varnet": {
                    "data": {
                        "train": "sim-fastmri-brain", "validation": "sim-fastmri-brain", "size": [64, 64],
                        "max_coils": 2,
                    },
                    "model": {
                        "cascades": 2, "unet": {"channels": 4, "pools": 2}, "sensitivity": {"channels": 2, "pools": 2},
                    },
                    "training": {
                        "steps": 150, "batch": 2, "learning_rate": 0.003, "precision": "fp32", "compile": False,
                        "validations": 3, "validation_slices": 2,
                    },
                },
            },
        },
    },
    "compute": {"device": "cpu", "gpus": 0, "threads": 1, "memory_gb": 2, "hours": 0.1},
}  # fmt: skip


class Checkout:
    """The files of the workflow in a folder, with a tiny scale beside the others."""

    def __init__(self, folder: Path, environment: dict[str, str], words: str = "out.txt") -> None:
        self.folder, self.environment, self.out = folder, environment, folder / words
        self.started: subprocess.Popen | None = None

    def set_up(self) -> Checkout:
        self.folder.mkdir(exist_ok=True)
        for name in ("workflow", "config", "envs", "slurm"):
            shutil.copytree(ROOT / name, self.folder / name)
        shutil.copy(ROOT / "Snakefile", self.folder)
        (self.folder / "src").symlink_to(ROOT / "src")
        self.write("config/tiny.yaml", TINY)
        return self

    def write(self, name: str, value) -> None:
        (self.folder / name).write_text(yaml.safe_dump(value, sort_keys=False))

    def change(self, name: str, change) -> None:
        value = yaml.safe_load((self.folder / name).read_text())
        change(value)
        self.write(name, value)

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    # --- Snakemake --------------------------------------------------------------------------------------------
    def start(self, *arguments: str, slurm: bool = True, often: bool = True) -> subprocess.Popen:
        """Snakemake in the background, in a process group of its own; its words in a file."""
        where = ["--profile", "slurm", *SITE] if slurm else ["--cores", "2"]
        snakemake = [str(OFTEN)] if often and slurm else ["-m", "snakemake"]
        command = [sys.executable, *snakemake, *arguments, *where, "--configfile", "config/tiny.yaml"]
        with self.out.open("a") as words:
            self.started = subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdout=words, stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        return self.started

    def finish(self, seconds: float = 600) -> int:
        """Its exit code."""
        assert self.started is not None
        try:
            return self.started.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"Snakemake did not end in {seconds:.0f} s:\n{self.words[-4000:]}") from None

    def succeed(self, seconds: float = 600) -> None:
        assert self.finish(seconds) == 0, self.words[-6000:]

    def __call__(self, *arguments: str, slurm: bool = True, often: bool = True, seconds: float = 600) -> None:
        self.start(*arguments, slurm=slurm, often=often)
        self.succeed(seconds)

    def kill(self) -> None:
        """What an operating system does to it: no time for last words."""
        assert self.started is not None
        os.killpg(self.started.pid, signal.SIGKILL)
        self.started.wait()

    @property
    def words(self) -> str:
        return self.out.read_text(errors="replace")

    # --- the run ----------------------------------------------------------------------------------------------
    def step(self) -> int:
        """Last step of which the training under way has written a line; 0 before that."""
        history = self.folder / "work/tiny/ueps/e2e-varnet/metrics.jsonl"
        lines = history.read_text(errors="replace").splitlines() if history.exists() else []
        return max((json.loads(line)["step"] for line in lines if line.endswith("}")), default=0)

    def until_training(self, cluster: Cluster, steps: int = 20) -> None:
        """Wait until the training that Snakemake has submitted has come so far."""

        def going() -> bool:
            assert self.started is not None and self.started.poll() is None, self.words[-4000:]
            return self.step() >= steps

        cluster.wait_until(going, f"step {steps} of the training", 300)

    def trainers(self) -> dict[int, int]:
        """Rank -> process of the training at work here."""
        found: dict[bool, dict[int, int]] = {True: {}, False: {}}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
                variables = dict(
                    item.split(b"=", 1) for item in (process / "environ").read_bytes().split(b"\0") if item
                )
                here = (process / "cwd").resolve() == self.folder
            except (OSError, ValueError):  # it has ended
                continue
            if here and b"python" in words[0] and b"train" in words:
                rank = int(variables.get(b"SLURM_PROCID", 0))
                found[b"REKON_RANKS_BY_SRUN" in variables][rank] = int(process.name)
        return found[True] or found[False]

    def rekon(self, *arguments: str) -> str:
        """What a command of ours prints."""
        command = [sys.executable, "-m", "rekon", *arguments]
        run = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        return run.stdout

    def attempts(self) -> list[int]:
        """The steps after which the attempts at the finished training began."""
        return [one["after_step"] for one in json.loads(self.read(RECORD))["attempts"]]

    def rows(self, name: str) -> list[dict[str, str]]:
        """A table, every character, less what a clock says."""
        rows = csv.DictReader(io.StringIO(self.read(name).decode()))
        return [row for row in rows if row.pop("milliseconds", None) is not None or row["metric"] != "milliseconds"]

    def products(self) -> tuple:
        """What has to be the same however the run was disturbed: weights, scores, the published table."""
        return self.read(RUN), *(self.rows(name) for name in (*SCORES, TABLE))
