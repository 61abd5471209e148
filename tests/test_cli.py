"""The command line: help worth reading, a user's mistake as one sentence with exit code 2."""

from __future__ import annotations

import subprocess
import sys


def rekon(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "rekon", *arguments], capture_output=True, text=True)


def test_help_lists_every_command_with_a_sentence():
    run = rekon("--help")
    assert run.returncode == 0
    for command in ("simulate", "download", "convert", "calibrate", "make-mask", "train", "evaluate", "ui", "versions"):
        assert command in run.stdout


def test_mistakes_are_one_sentence_without_traceback(tmp_path):
    output = str(tmp_path / "mask.h5")
    run = rekon("make-mask", "--spec", '{"offset": 9}', "--size", "96x96", "--output", output)
    assert run.returncode == 2
    assert run.stderr.strip() == "rekon: --spec: 'offset' 9 must be smaller than 'acceleration' 4."
    run = rekon("make-mask", "--spec", "{", "--size", "96x96", "--output", output)
    assert run.returncode == 2 and "not valid JSON" in run.stderr and "Traceback" not in run.stderr
    assert not (tmp_path / "mask.h5").exists()
