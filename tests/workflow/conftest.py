"""A real checkout of the workflow in an empty folder, with a stand-in for `rekon` that only moves bytes.

The stand-in writes, to each declared output, a digest of its arguments and of its input files. So the DAG, the rerun
triggers and the file contents behave as in a real run, in seconds.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from rekon.plan import plan

ROOT = Path(__file__).resolve().parents[2]

STAND_IN = """#!/usr/bin/env bash
# usage: like rekon; outputs get a digest of the arguments and of the input files' contents
command=$1; shift
outputs=(); digest=$command; previous=
declare -A TABLES=(TABLE_NAMES)
for argument in "$@"; do
  case "$previous" in
    --output|--scores|--panel|--provenance|--metrics) outputs+=("$argument") ;;
    --weights) if [ "$command" = train ]; then outputs+=("$argument"); else digest+=$(cat "$argument"); fi ;;
    --parent|--tokens|--backbone) digest+=$(cat "${argument#*=}") ;;
    --study) study=$argument ;;
    --folder|--state|--threads|--gpus|--wall-minutes) ;;
    *) if [ -f "$argument" ]; then digest+=$(cat "$argument"); else digest+=$argument; fi ;;
  esac
  previous=$argument
done
digest=$(echo "$digest" | sha256sum | cut -c1-16)
for output in "${outputs[@]}"; do
  case $command in
    tables) files=(${TABLES[$study]}); folder=$output ;;
    scorecard) files=(runs.csv scorecard.csv); folder=$output ;;
    report) files=(index.html); folder=$output ;;
    *) files=("$(basename "$output")"); folder=$(dirname "$output") ;;
  esac
  mkdir -p "$folder"
  for file in "${files[@]}"; do echo "$digest" > "$folder/$file"; done
done
"""


class SnakemakeRunner:
    """Runs Snakemake on the real Snakefile in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = f"{folder / 'bin'}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path}

    def set_up(self) -> SnakemakeRunner:
        """Copy what the repository tracks of the workflow, and put the stand-in in place."""
        folder = self.folder
        for name in ("Snakefile", "workflow", "config", "envs", "slurm"):
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name)
            elif source.exists():
                shutil.copy(source, folder / name)
        (folder / "src").symlink_to(ROOT / "src")
        binaries = folder / "bin"
        binaries.mkdir()
        demo = plan(yaml.safe_load((ROOT / "config/demo.yaml").read_text()), ROOT)
        names = " ".join(f"[{study}]='{' '.join(demo.tables(study))}'" for study in demo.papers)
        (binaries / "rekon").write_text(STAND_IN.replace("TABLE_NAMES", names))
        (binaries / "rekon").chmod(0o755)
        return self

    def __call__(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]
        run = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)
        if check and run.returncode:
            raise AssertionError(f"{' '.join(command)}\n{run.stdout[-4000:]}\n{run.stderr[-4000:]}")
        return run

    def planned(self, *arguments: str) -> dict[str, int]:
        """Rule -> number of jobs of a dry run."""
        return self.counts(self("-n", *arguments))

    def jobs(self, *arguments: str) -> set[str]:
        """Output files of the jobs of a dry run."""
        run = self("-n", *arguments)
        outputs = re.findall(r"^    output: (.*)$", run.stdout + run.stderr, re.MULTILINE)
        return {name for line in outputs for name in line.split(", ")}

    @staticmethod
    def counts(run: subprocess.CompletedProcess[str]) -> dict[str, int]:
        table = re.findall(r"^([a-z_]+) +(\d+)$", run.stdout + run.stderr, re.MULTILINE)
        return {rule: int(count) for rule, count in table if rule != "total"}

    def edit(self, name: str, change) -> None:
        """Change a YAML file as data (comments go)."""
        path = self.folder / name
        value = yaml.safe_load(path.read_text())
        change(value)
        path.write_text(yaml.safe_dump(value, sort_keys=False))


@pytest.fixture
def snakemake(tmp_path: Path) -> SnakemakeRunner:
    """An empty checkout."""
    return SnakemakeRunner(tmp_path).set_up()


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout whose demo has run to the end (with the stand-in); copied by `done`, never changed."""
    folder = tmp_path_factory.mktemp("finished")
    SnakemakeRunner(folder).set_up()()
    return folder


@pytest.fixture
def done(finished: Path, tmp_path: Path) -> SnakemakeRunner:
    """A private copy of the finished checkout: times and Snakemake's own records included."""
    folder = tmp_path / "checkout"
    shutil.copytree(finished, folder, symlinks=True)
    return SnakemakeRunner(folder)
