"""Training and scoring on a node without a network: nothing even tries to open a connection."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import chain
import cohort
import mixtures
import priors
import pytest
import rungs

from rekon.config import DataSettings, MaskSettings, Recipe, TrainingSettings
from rekon.files import write_yaml
from rekon.physics.masks import make_mask, write_mask
from rekon.physics.patterns import make_exact_mask, write_exact_mask
from rekon.recipe import dumps
from rekon.studies import KINDS

# notes the attempt, because a library may swallow the error
GUARD = """
import os, sys

def guard(event, arguments):
    asked = event in ("socket.getaddrinfo", "socket.gethostbyname")
    if asked or (event == "socket.__new__" and arguments[1] not in (1, -1)):  # 1: AF_UNIX; -1: of a file descriptor
        with open(os.environ["ATTEMPTS"], "a") as notes:
            print(event, arguments, file=notes)
        raise OSError("there is no network here")

sys.addaudithook(guard)
"""
# jobs, one after the other; a process each would import torch each time
JOBS = """
import json, sys
from rekon.cli import main

for words in json.loads(sys.argv[1]):
    sys.argv = ["rekon", *words]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
"""
TRAIN, VALIDATION, TEST = (f"runs/tiny/data/sim-tiny/{split}.json" for split in ("train", "validation", "test"))
WEIGHTS = "run.safetensors"
SHORT = {"steps": 2, "validations": 1, "validation_slices": 1}


@pytest.fixture
def offline(tmp_path):
    """Runs Python where every socket but those of this machine's files is refused; attempts stand in attempts.txt."""
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard/sitecustomize.py").write_text(GUARD)
    path = [str(tmp_path / "guard"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "ATTEMPTS": str(tmp_path / "attempts.txt")}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


# --- jobs, as the rules start them ----------------------------------------------------------------------------
def train(*more: str) -> list[str]:
    return [
        "train", "recipe.yaml", "--train", TRAIN, "--validation", VALIDATION, "--weights", WEIGHTS, "--metrics",
        "metrics.jsonl", "--provenance", "run.json", "--state", "work", *more,
    ]  # fmt: skip


def evaluate(*more: str) -> list[str]:
    return [
        "evaluate", "recipe.yaml", "--manifest", TEST, "--settings", dumps({}), "--scores", "scores.csv", "--panel",
        "panel.npz", "--provenance", "scores.json", *more,
    ]  # fmt: skip


def tokenise(recipe: str, manifest: str, weights: str, output: str) -> list[str]:
    return ["tokenise", recipe, "--manifest", manifest, "--weights", weights, "--output", output]


# --- a tiny run of each kind ----------------------------------------------------------------------------------
def briefly_scored(made: Recipe) -> Recipe:
    """Under a hierarchy of patterns, at the highest acceleration alone."""
    if made.sampling is None:
        return made
    return made.model_copy(update={"sampling": made.sampling.model_copy(update={"evaluated": (32,)})})


def nas_unet() -> Recipe:
    return Recipe(
        scale="tiny", study="nas", run="unet", title="unet", kind="image_unet", seed=42,
        model={"channels": 4, "pools": 2}, sampling=cohort.sampling(),
        training=TrainingSettings(batch=2, learning_rate=3e-3, **SHORT),
        data=DataSettings(train="sim-tiny", validation="sim-tiny", size=cohort.SIZE),
    )  # fmt: skip


def zero_filled() -> Recipe:
    return Recipe(
        scale="tiny", study="classical", run="zero-filled", title="zero-filled", kind="classical", seed=42,
        model={"method": "zero-filled"}, mask=MaskSettings(center_fraction=0.2),
        data=DataSettings(train="sim-tiny", validation="sim-tiny", size=rungs.SIZE),
    )  # fmt: skip


def prior() -> Recipe:
    sampler = {"method": "dds", "steps": 2, "sigma_max": 1.0, "tuning": {"zetas": (0.1, 10.0), "slices": 1}}
    return priors.recipe(changes={"sampler": sampler}, **SHORT)


OWN, CHAIN = ("--weights", WEIGHTS), ("--parent", "tokenizer=aqvae.safetensors")
TOKENS = ("--tokens", "train=train.safetensors", "--tokens", "validation=validation.safetensors")
TOKENISED = [tokenise("aqvae.yaml", path, "aqvae.safetensors", f"{Path(path).stem}.safetensors")
             for path in (TRAIN, VALIDATION)]  # fmt: skip
TUNED = ("--tuned", "zeta.json")
TRIED = ["tune-zeta", "recipe.yaml", "--manifest", VALIDATION, *OWN, "--output", "zeta.json"]
READ = ["reader-study", "arm", "recipe.yaml", "--manifest", TEST, *OWN, *TUNED, "--output", "readers.h5"]
PARENTS = ("--parent", "base=base.safetensors", "--parent", "teacher=teacher.safetensors")
CASES = {  # kind of run -> a tiny recipe, a cohort, its jobs
    "classical": (zero_filled, rungs.volumes, [evaluate()]),
    "unrolled": (lambda: rungs.recipe("e2e-varnet", **SHORT), rungs.volumes, [train(), evaluate(*OWN)]),
    "experts": (lambda: mixtures.recipe("more", **SHORT), mixtures.volumes, [train(), evaluate(*OWN)]),
    "image_unet": (nas_unet, cohort.volumes, [train(), evaluate(*OWN)]),
    "tokenizer": (
        lambda: chain.recipe("aqvae", "tokenizer", **SHORT), cohort.volumes,
        [train(), tokenise("recipe.yaml", TRAIN, WEIGHTS, "tokens.safetensors")],
    ),
    "transformer": (
        lambda: chain.recipe(**SHORT), cohort.volumes,
        [*TOKENISED, train(*CHAIN, *TOKENS), evaluate(*OWN, *CHAIN)],
    ),
    "distilled": (
        lambda: chain.recipe("distilled", "distilled", **SHORT), cohort.volumes,
        [*TOKENISED, train(*CHAIN, *PARENTS, *TOKENS), evaluate(*OWN, *CHAIN)],
    ),
    "diffusion": (prior, priors.volumes, [train(), TRIED, evaluate(*OWN, *TUNED), READ]),
}  # fmt: skip


def lay_out(folder: Path, recipe: Recipe, manifest: Path) -> None:
    """Recipe, manifests, coil maps and masks where the jobs look for them."""
    write_yaml(folder / "recipe.yaml", recipe.model_dump(mode="json"))
    for split in (TRAIN, VALIDATION, TEST):
        (folder / split).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(manifest, folder / split)
        if (manifest.parent / "maps").exists():
            (folder / "data/maps/sim-tiny").mkdir(parents=True, exist_ok=True)
            (folder / "data/maps/sim-tiny" / Path(split).stem).symlink_to(manifest.parent / "maps")
    for mask in {*recipe.masks, *recipe.scored}:
        path = folder / mask.path(recipe.data.size)
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(mask, MaskSettings):
            write_mask(path, make_mask(mask, recipe.data.size[1]), recipe.data.size)
        else:
            write_exact_mask(path, make_exact_mask(mask, recipe.data.size))


def lay_out_parents(folder: Path) -> None:
    """A tokenizer, a base and a teacher."""
    made = chain.tokenizer()
    chain.tokenizer_weights(folder, made)
    write_yaml(folder / "aqvae.yaml", chain.recipe("aqvae", "tokenizer").model_dump(mode="json"))
    for run, context in (("base", chain.CONTEXT), ("teacher", chain.CONTEXT | {"image": "full"})):
        chain.weights(folder, chain.transformer(made, context=context), chain.recipe(run, model={"context": context}))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_is_trained_and_used_without_a_connection(offline, tmp_path, kind):
    make, volumes, jobs = CASES[kind]
    recipe = briefly_scored(make())
    assert recipe.kind == kind
    (tmp_path / "volumes").mkdir()
    lay_out(tmp_path, recipe, volumes(tmp_path / "volumes"))
    if "tokenizer" in recipe.parents:
        lay_out_parents(tmp_path)
    done = offline("-c", JOBS, json.dumps(jobs))
    assert done.returncode == 0, done.stderr
    for words in jobs:
        for name in ("--weights", "--output", "--scores"):
            assert name not in words or (tmp_path / words[words.index(name) + 1]).stat().st_size > 100
    assert not (tmp_path / "attempts.txt").exists(), (tmp_path / "attempts.txt").read_text()


def test_a_connection_would_be_noticed(offline, tmp_path: Path):
    run = offline("-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9')")
    assert run.returncode != 0 and "there is no network here" in run.stderr
    assert "127.0.0.1" in (tmp_path / "attempts.txt").read_text()
