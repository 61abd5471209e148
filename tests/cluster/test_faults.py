"""What clusters do to jobs. Each time the weights, the scores and the table are those of a quiet machine."""

from __future__ import annotations

import json
import os
import re
import signal
import time

import pytest
from checkout import RUN, TABLE, Checkout

pytestmark = pytest.mark.slurm


def test_a_cancelled_job_goes_on_where_it_was(checkout, undisturbed, cluster):
    checkout.start(TABLE)
    checkout.until_training(cluster)
    cluster.cancel(*cluster.jobs())
    checkout.succeed()
    assert checkout.products() == undisturbed.products()
    first, second = checkout.attempts()
    assert first == 0 and second >= 20, "it saved before it left"


def test_a_job_near_its_time_limit_saves_and_is_submitted_again(checkout, undisturbed):
    """A limit of six seconds of training for each attempt; Slurm's own begin at a minute."""
    checkout.environment = checkout.environment | {"REKON_MAX_MINUTES": "0.1"}
    checkout(TABLE, "--retries", "20")
    assert checkout.products() == undisturbed.products()
    starts = checkout.attempts()
    assert len(starts) > 1 and starts == sorted(set(starts)), "each goes on where the one before it ended"
    assert "SLURM status is: 'FAILED'" in checkout.words


def test_a_job_killed_at_its_time_limit_goes_on_too(checkout, undisturbed, cluster):
    """A limit of which the training knew nothing, as where an operator shortens one; it hangs until then."""
    checkout.start(TABLE)
    checkout.until_training(cluster)
    (job,) = cluster.jobs()
    cluster.run("scontrol", "update", f"jobid={job}", "timelimit=0:01")
    os.kill(checkout.trainers()[0], signal.SIGSTOP)
    checkout.succeed()
    assert "SLURM status is: 'TIMEOUT'" in checkout.words
    assert checkout.products() == undisturbed.products()


def test_a_preempted_job_is_started_again_by_slurm_itself(checkout, undisturbed, cluster):
    """Neither Snakemake nor its retries come into it: the same job, in the queue again, under the same number."""
    checkout.start(TABLE, "--retries", "0")
    checkout.until_training(cluster)
    (job,) = cluster.jobs()
    cluster.run("scontrol", "requeue", job)
    checkout.succeed()
    assert checkout.products() == undisturbed.products()
    first, second = checkout.attempts()
    assert first == 0 and second >= 20, "it saved before it left"
    assert "Restarts=1 " in cluster.ask("scontrol", "show", "job", job)


def test_a_job_on_a_lost_node_goes_on_on_the_other(checkout, undisturbed, cluster):
    checkout.start(TABLE, "--retries", "0")
    checkout.until_training(cluster)
    (job,) = cluster.jobs()
    lost = cluster.node_of(job)
    cluster.lose_node(lost, checkout.folder)
    try:
        cluster.wait_until(lambda: cluster.node_of(job) not in ("", lost), "the job to start on the other node", 180)
    finally:
        cluster.start_node(lost)
        cluster.wait_until(lambda: lost not in cluster.down(), "the node to be back")
    checkout.succeed()
    assert checkout.products() == undisturbed.products()
    assert "Restarts=1 " in cluster.ask("scontrol", "show", "job", job)


def test_drained_nodes_hold_jobs_back_and_lose_none(checkout, undisturbed, cluster):
    cluster.drain()
    try:
        checkout.start(TABLE)
        cluster.wait_until(lambda: cluster.jobs("PENDING"), "a job to wait", 60)
        time.sleep(3)
        assert not cluster.jobs() and checkout.step() == 0
    finally:
        cluster.resume()
    checkout.succeed()
    assert checkout.products() == undisturbed.products()
    assert len(checkout.attempts()) == 1


def test_the_controller_restarts_while_a_job_runs_and_a_second_snakemake_is_refused(checkout, undisturbed, cluster):
    checkout.start(TABLE)
    checkout.until_training(cluster)
    cluster.stop_controller()
    second = Checkout(checkout.folder, checkout.environment, words="second.txt")
    second.start(TABLE)
    assert second.finish(60) != 0
    assert "Directory cannot be locked" in second.words and "--unlock" in second.words
    cluster.start_controller()
    checkout.succeed()
    assert checkout.products() == undisturbed.products()
    assert len(checkout.attempts()) == 1, "the job never noticed"


def test_snakemake_is_killed_and_started_again(checkout, undisturbed, cluster):
    """Its job lives on, and would train beside the new one: it is cancelled first, saves, and the new one goes on."""
    checkout.start(TABLE)
    checkout.until_training(cluster)
    checkout.kill()
    (orphan,) = cluster.jobs()
    checkout.start("--unlock")
    checkout.succeed(60)
    checkout(TABLE)
    assert f"cancelled jobs that an earlier Snakemake left in this folder: {orphan}" in checkout.words
    assert checkout.products() == undisturbed.products()
    assert len(checkout.attempts()) == 2


def test_a_job_out_of_memory_says_so_and_is_not_tried_for_ever(checkout, cluster):
    checkout.start(RUN, "--set-resources", "train_unrolled:mem_mb=250", "--retries", "1")
    assert checkout.finish() != 0
    assert not (checkout.folder / RUN).exists()
    words = checkout.words
    first, second = re.findall(r"has been submitted with SLURM jobid (\d+)", words)
    assert f"train_unrolled ueps_e2e-varnet (Slurm job {second}) ran out of memory: raise compute.memory_gb" in words
    assert f"(Slurm job {first}) ran" not in words, "said once, at the end"


def test_a_run_in_progress_is_seen_and_a_suspended_job_goes_on(checkout, undisturbed, cluster):
    checkout.start(TABLE)
    checkout.until_training(cluster)
    (job,) = cluster.jobs()
    cluster.run("scontrol", "suspend", job)
    step = checkout.step()
    assert f"tiny/ueps/e2e-varnet: step {step}" in checkout.rekon("track")
    told = json.loads(checkout.rekon("status", "--scale", "tiny", "--json"))
    assert [run["stages"]["trained"]["state"] for run in told["runs"] if run["run"] == "e2e-varnet"] == ["running"]
    cluster.run("scontrol", "resume", job)
    checkout.succeed()
    assert checkout.products() == undisturbed.products()
    assert len(checkout.attempts()) == 1
