"""A training spread over two nodes: the curve of one process, and what happens when one of two is lost."""

from __future__ import annotations

import os
import signal

import pytest
from checkout import HISTORY, RUN

from rekon.training.history import read_history

pytestmark = pytest.mark.slurm


def test_two_nodes_follow_the_curve_of_one_process_and_a_lost_one_ends_the_job(checkout, undisturbed, cluster):
    checkout.change("config/tiny.yaml", lambda scale: scale["compute"].update(nodes=2))
    checkout.start(RUN)
    checkout.until_training(cluster)
    pids = checkout.trainers()
    assert set(pids) == {0, 1}
    assert cluster.ask("squeue", "-h", "-o", "%D %N").split() == ["2", "one,two"]
    os.kill(pids[1], signal.SIGKILL)
    checkout.succeed()
    assert "rekon: one of 2 processes was lost or told to end; the others were ended." in checkout.words
    assert checkout.words.count("has been submitted with SLURM jobid") == 2
    two, one = (read_history(made.folder / HISTORY) for made in (checkout, undisturbed))
    assert len(two) == len(one)
    for left, right in zip(two, one, strict=True):
        # sums in another order: at first nothing but rounding, of which training then makes more; see test_distributed
        if left["step"] <= 7:
            assert left == pytest.approx(right, rel=1e-4)
        name, tolerance = ("val_mae", 0.02) if "val_mae" in right else ("loss", 0.1)
        assert left[name] == pytest.approx(right[name], rel=tolerance)
