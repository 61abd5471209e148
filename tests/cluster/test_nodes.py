"""A training spread over two nodes: the curve of one process, what happens when one of two is lost, fair shares."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import pytest
from checkout import HISTORY, RUN, Checkout
from submission import jobs, planned, submission

from cluster import Cluster
from rekon.training.history import read_history

pytestmark = pytest.mark.slurm
# of a job: what of the nodes it holds; then every process that `launch` starts says who it is and where
SHARES = """#!/bin/sh
scontrol show job --details $SLURM_JOB_ID
unset $(env | grep -o '^SLURM_[A-Z_]*' | grep -v '^SLURM_JOB_ID$')  # as the executor does
exec {python} -c "from rekon.training.distributed import launch; raise SystemExit(launch(4, ['{who}'], 2, 1, 4))"
"""
WHO = "import os; print('process', *(os.environ[f'SLURM_{name}'] for name in ('PROCID', 'LOCALID', 'NODEID')))"


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


@pytest.fixture
def roomy(tmp_path):
    """A cluster each of whose nodes could hold three of four processes."""
    made = Cluster(tmp_path / "roomy", cores=8, gpus=3)
    try:
        yield made.start()
    finally:
        made.stop()


def test_each_node_gets_its_share_of_processes_and_gpus_although_the_first_could_hold_more(roomy, tmp_path):
    environment = roomy.environment | {"PATH": os.pathsep.join([str(roomy.bin), os.environ["PATH"]])}
    tiny = Checkout(tmp_path / "checkout", environment).set_up()
    tiny.change("config/tiny.yaml", lambda scale: scale["compute"].update(device="cuda", nodes=2, gpus=4))
    tiny.change(
        "config/tiny.yaml", lambda scale: scale["studies"]["ueps"]["runs"]["e2e-varnet"]["training"].update(batch=4)
    )
    dry = planned(tiny, RUN, "--configfile", "config/tiny.yaml")
    (asked,) = [asked for rule, _, asked in jobs(dry) if rule == "train_unrolled"]
    (tmp_path / "who.py").write_text(WHO)
    (tmp_path / "job.sh").write_text(SHARES.format(python=sys.executable, who=tmp_path / "who.py"))
    words = [*submission("train_unrolled", asked, str(tmp_path / "out.txt")), "--wait", str(tmp_path / "job.sh")]
    done = subprocess.run(words, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    said = (tmp_path / "out.txt").read_text()
    assert done.returncode == 0, done.stderr + said
    held = re.findall(r"Nodes=(\S+) .*GRES=gpu:test:(\d)", said)
    assert held == [("one,two", "2")], "each of the two"
    assert sorted(re.findall(r"^process (.*)$", said, re.MULTILINE)) == ["0 0 0", "1 1 0", "2 0 1", "3 1 1"]
