"""`snakemake --profile slurm` on a cluster, from nothing to the report."""

from __future__ import annotations

import re

import pytest
from checkout import Checkout

pytestmark = pytest.mark.slurm
LOCAL = {"make_mask", "recipe", "plan", "scorecard", "tables_ueps", "log_mlflow", "report", "all"}


def test_from_nothing_to_the_report(undisturbed, environment, tmp_path):
    """Every rule that is not local as a job of its own, and the same bytes as without a cluster."""
    made = Checkout(tmp_path / "checkout", environment).set_up()
    made("all", seconds=400)
    assert made.products() == undisturbed.products()
    assert (made.folder / "reports/tiny/index.html").stat().st_size > 10_000
    local = set(re.findall(r"^localrule (\w+):", made.words, re.MULTILINE))
    submitted = re.findall(r"^rule (\w+):", made.words, re.MULTILINE)
    assert local >= LOCAL
    assert len(submitted) == made.words.count("has been submitted with SLURM jobid")
    assert {"simulate", "convert", "summarise", "train_unrolled", "evaluate"} <= set(submitted) - local
