"""What the workflow itself takes, beside the work: three times next to their limits. Exits with 1 beyond one of them.

    python benchmarks/workflow.py [--rounds 2]

overhead   a training job of the demo: from its start to its first step, and from its last step to its exit, with the
           validation of one slice
full       the jobs of the full reproduction, worked out and listed
idle       a run of the demo with nothing to do

Everything happens in a folder of its own. The demo is not run there: its files are empty, and called finished. Of the
rounds the quickest counts, which is what the machine can do when nothing else runs.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from rekon.config import MaskSettings
from rekon.data.convert import convert
from rekon.data.phantom.cohort import simulate
from rekon.data.phantom.names import place
from rekon.data.summarise import summarise
from rekon.files import write_yaml
from rekon.physics.masks import make_mask, write_mask
from rekon.plan import plan

ROOT = Path(__file__).resolve().parents[1]
LIMITS = {"overhead": 8.0, "full": 20.0, "idle": 10.0}  # seconds
RUN = ("ueps", "ueps")
# `rekon ...` that notes when steps begin and end
TIMED = """
import sys, time
from rekon.ueps.objective import UnrolledObjective

step = UnrolledObjective.step

def timed(*arguments):
    begun = time.time()
    values = step(*arguments)
    with open("steps.txt", "a") as notes:
        print(begun, time.time(), file=notes)
    return values

UnrolledObjective.step = timed
from rekon.cli import main

main()
"""


def checkout(folder: Path) -> None:
    """The files of the workflow, without what it has made."""
    for name in ("workflow", "config", "envs", "slurm"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "Snakefile", folder)
    (folder / "src").symlink_to(ROOT / "src")


def snakemake(folder: Path, *arguments: str) -> tuple[float, str]:
    """Seconds and words of a run that has to work."""
    command = [sys.executable, "-m", "snakemake", *arguments]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    begun = time.time()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    seconds = time.time() - begun
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{(done.stdout + done.stderr)[-3000:]}")
    return seconds, done.stdout + done.stderr


def full(folder: Path) -> float:
    seconds, words = snakemake(folder, "--profile", "slurm", "-n", "--quiet", "rules")
    jobs = re.search(r"^total +(\d+)", words, re.MULTILINE)
    if jobs is None or int(jobs[1]) < 300:
        sys.exit(f"the full reproduction has more jobs than this:\n{words[-3000:]}")
    return seconds


def pretend(folder: Path) -> None:
    """Every output of the demo as an empty file, and Snakemake told that it made them."""
    _, words = snakemake(folder, "--cores", "1", "-n")
    for line in re.findall(r"^    output: (.*)$", words, re.MULTILINE):
        for name in line.split(", "):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    snakemake(folder, "--cores", "1", "--touch", "--quiet", "all")


def idle(folder: Path) -> float:
    seconds, words = snakemake(folder, "--cores", "2")
    if "Nothing to be done" not in words:
        sys.exit(f"there was something to do:\n{words[-3000:]}")
    return seconds


def prepare(folder: Path) -> list[str]:
    """A volume, its mask and manifest, the demo's recipe with few steps; the command that trains it."""
    demo = plan(yaml.safe_load((ROOT / "config/demo.yaml").read_text()), ROOT)
    recipe = demo.recipes[RUN]
    assert recipe.training is not None and isinstance(recipe.mask, MaskSettings)
    name, entry = recipe.data.train, demo.dataset(recipe.data.train)
    assert entry.simulation is not None
    volume = demo.volumes(name, "train")[0]
    simulate(name, entry.simulation, "train", place(volume, entry.simulation, "train")[0], folder / "raw.h5", entry)
    convert(folder / "raw.h5", folder / f"{volume}.h5", name, entry, volume)
    summarise(name, "train", entry, [folder / f"{volume}.h5"], folder / "data.json")
    size = recipe.data.size
    write_mask(folder / recipe.mask.path(size), make_mask(recipe.mask, size[1]), size)
    plain = recipe.model_dump(mode="json")
    plain["training"] |= {"steps": 3, "epochs": None, "validations": 1, "validation_slices": 1}
    write_yaml(folder / "recipe.yaml", plain)
    data = str(folder / "data.json")
    return [
        sys.executable, "-c", TIMED, "train", "recipe.yaml", "--train", data, "--validation", data, "--weights",
        "run.safetensors", "--metrics", "metrics.jsonl", "--provenance", "run.json", "--state", "work", "--threads",
        str(demo.scale.compute.threads),
    ]  # fmt: skip


def overhead(folder: Path, command: list[str]) -> float:
    notes = folder / "steps.txt"
    notes.unlink(missing_ok=True)
    begun = time.time()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    ended = time.time()
    if done.returncode:
        sys.exit(done.stderr)
    times = [[float(word) for word in line.split()] for line in notes.read_text().splitlines()]
    return times[0][0] - begun + ended - times[-1][1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as temporary:
        workflow, training = Path(temporary, "workflow"), Path(temporary, "training")
        workflow.mkdir()
        training.mkdir()
        checkout(workflow)
        pretend(workflow)
        command = prepare(training)
        work: dict[str, Callable[[], float]] = {
            "overhead": lambda: overhead(training, command), "full": lambda: full(workflow),
            "idle": lambda: idle(workflow),
        }  # fmt: skip
        found = {name: min(measure() for _ in range(rounds)) for name, measure in work.items()}
    print(f"seconds, the quickest of {rounds}; load of this machine {os.getloadavg()[0]:.1f} of {os.cpu_count()} cores")
    for name, seconds in found.items():
        print(
            f"  {name:<9} {seconds:6.1f}  limit {LIMITS[name]:4.0f}{'' if seconds <= LIMITS[name] else '  beyond it'}"
        )
    return int(any(seconds > LIMITS[name] for name, seconds in found.items()))


if __name__ == "__main__":
    sys.exit(main())
