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
    assert "a process of 2 was lost (signal 9); the others were ended" in checkout.words
    assert checkout.words.count("has been submitted with SLURM jobid") == 2
    two, one = (read_history(made.folder / HISTORY) for made in (checkout, undisturbed))
    assert len(two) == len(one)
    for count, (left, right) in enumerate(zip(two, one, strict=True)):
        # sums in another order: the same at first, and later as near as training lets differences stay
        assert left == pytest.approx(right, rel=1e-3 if count < len(one) // 4 else 0.1)
