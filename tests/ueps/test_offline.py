"""Training and scoring on a node without a network: nothing even tries to open a connection."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import rungs

from rekon.files import write_yaml
from rekon.recipe import dumps

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


@pytest.mark.slow
def test_a_run_is_trained_and_scored_without_a_connection(offline, tmp_path):
    recipe = rungs.recipe("e2e-varnet", steps=2, validations=1)
    manifest = rungs.volumes(tmp_path)
    (mask,) = recipe.masks
    size = "x".join(map(str, recipe.data.size))
    made = offline(
        "-m", "rekon", "make-mask", "--spec", dumps(mask.model_dump(mode="json")), "--size", size,
        "--output", mask.path(recipe.data.size),
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    write_yaml(tmp_path / "recipe.yaml", recipe.model_dump(mode="json"))
    weights, data = str(tmp_path / "run.safetensors"), str(manifest)
    trained = offline(
        "-m", "rekon", "train", "recipe.yaml", "--train", data, "--validation", data, "--weights", weights,
        "--metrics", "metrics.jsonl", "--provenance", "run.json", "--state", "work",
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    scored = offline(
        "-m", "rekon", "evaluate", "recipe.yaml", "--manifest", data, "--weights", weights, "--settings", dumps({}),
        "--scores", "scores.csv", "--panel", "panel.npz", "--provenance", "scores.json",
    )  # fmt: skip
    assert scored.returncode == 0, scored.stderr
    assert (tmp_path / "scores.csv").stat().st_size > 100
    assert not (tmp_path / "attempts.txt").exists(), (tmp_path / "attempts.txt").read_text()


def test_a_connection_would_be_noticed(offline, tmp_path: Path):
    run = offline("-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9')")
    assert run.returncode != 0 and "there is no network here" in run.stderr
    assert "127.0.0.1" in (tmp_path / "attempts.txt").read_text()
