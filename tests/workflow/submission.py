"""What `snakemake --profile slurm` would submit: the jobs of a dry run, and the plugin's words for them."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from types import SimpleNamespace

from snakemake_executor_plugin_slurm.submit_string import get_submit_command
from snakemake_executor_plugin_slurm.utils import set_gres_string
from snakemake_executor_plugin_slurm.validation import validate_slurm_extra


def planned(runner, *arguments: str) -> str:
    """Words of a dry run in the checkout of `runner`."""
    command = [sys.executable, "-m", "snakemake", "--profile", "slurm", "-n", *arguments]
    run = subprocess.run(command, cwd=runner.folder, env=runner.environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout + run.stderr


def jobs(words: str) -> list[tuple[str, dict[str, str], dict[str, str]]]:
    """(rule, wildcards, resources) of each job."""
    found = []
    for text in re.split(r"\n(?=rule )", words):
        if head := re.match(r"rule (\w+):", text):
            found.append((head[1], _pairs("wildcards", text), _pairs("resources", text)))
    return found


def _pairs(name: str, text: str) -> dict[str, str]:
    line = re.search(rf"^    {name}: (.*)$", text, re.MULTILINE)
    return dict(pair.split("=", 1) for pair in line[1].split(", ")) if line else {}


class Asked(dict):
    """Resources of a job, as the plugin reads them."""

    def __getattr__(self, name: str):
        if name not in self:
            raise AttributeError(name)
        return self[name]


def submission(rule: str, resources: dict[str, str], output: str = "") -> list[str]:
    """The words that submit such a job, after the plugin's own checks; output: where its words go.

    Partition and account, which the plugin looks up, are left out.
    """
    asked = Asked({name: int(value) if value.isdecimal() else value for name, value in resources.items()})
    job = SimpleNamespace(name=rule, threads=1, resources=asked)
    validate_slurm_extra(job)
    known = dict.fromkeys(("run_uuid", "comment_str", "account", "partition", "workdir"), "")
    known["slurm_logfile"] = output
    return shlex.split(get_submit_command(job, known) + set_gres_string(job))
