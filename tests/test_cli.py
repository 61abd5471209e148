"""The command line: help worth reading, a user's mistake as one sentence with exit code 2."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


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


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("[bytearray(2**50)]", "on the machine: raise 'compute.memory_gb'"),
        ("import torch; torch.empty(2**50)", "on the machine: raise 'compute.memory_gb'"),
        ("import torch; raise torch.OutOfMemoryError('CUDA out of memory.\\nmore')", "on the GPU: ask for more GPUs"),
    ],
)
def test_too_little_memory_is_one_sentence(code, remedy):
    program = f"import rekon.cli as cli\ndef app():\n    {code}\ncli.app = app\ncli.main()"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stderr.startswith(f"rekon: out of memory {remedy}") and run.stderr.count("\n") == 1


def test_what_libraries_compile_is_kept_below_the_tmpdir_of_the_job_unless_the_user_says_otherwise(tmp_path):
    used = "from torch._inductor.runtime.cache_dir_utils import cache_dir, triton_cache_dir as triton"
    program = (
        "import os, rekon.cli as cli\ndef app():\n"
        f"    {used}; print(cache_dir(), triton(0), os.environ['CUDA_CACHE_PATH'], sep='\\n')\n"
        "cli.app = app\ncli.main()"
    )
    clean = {name: value for name, value in os.environ.items() if "CACHE" not in name}
    job = clean | {"TMPDIR": str(tmp_path), "CUDA_CACHE_PATH": "/elsewhere"}
    run = subprocess.run([sys.executable, "-c", program], env=job, capture_output=True, text=True, check=True)
    mine = tmp_path / f"rekon-{os.getuid()}"
    assert run.stdout.split() == [str(mine / "inductor"), str(mine / "triton"), "/elsewhere"]
