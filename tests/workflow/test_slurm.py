"""`snakemake --profile slurm`, as typed in a clone: what would be submitted, and what every job asks for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from submission import jobs, planned, submission

from rekon.estimate.cost import read_costs
from rekon.estimate.estimate import Costs, estimate
from rekon.estimate.machine import machine
from rekon.estimate.needs import needs
from rekon.estimate.sets import Sets
from rekon.plan import plan

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.workflow
TRAINING = ("train_", "distill", "pretrain_", "finetune_")
EXAMPLE = re.compile(r"^( *)# ( *\w[\w-]*:(?: .*)?)$", re.MULTILINE)  # of a setting, not of a sentence


def test_it_is_the_full_reproduction(snakemake):
    words = planned(snakemake)
    found = jobs(words)
    assert len(found) > 300
    full = plan(yaml.safe_load((snakemake.folder / "config/full.yaml").read_text()), snakemake.folder)
    sets = Sets(full, snakemake.folder)
    limit = full.scale.compute.hours * 60
    trained = 0
    for rule, wildcards, asked in found:
        run = wildcards.get("run", "")
        assert int(asked["runtime"]) <= limit and int(asked["mem_mb"]) > 0, rule
        if rule.startswith(TRAINING):
            wanted = needs(full.recipes[tuple(run.split("/"))], full.scale.compute, full.recipes, sets)
            assert int(asked["gpu"]) == (1 if run.startswith("more/") else full.scale.compute.gpus)  # batch 1
            assert int(asked["mem_mb"]) == 1024 * full.scale.compute.memory_gb * int(asked["gpu"]) // 8
            assert "nodes" not in asked and "mpi" not in asked
            assert int(asked["runtime"]) == min(limit, round(60 * wanted.hours))
            assert int(asked["gpu_mem_mb"]) == 1000 * (wanted.gpu_memory_gb or 0)
            trained += 1
        elif asked.get("gpu"):
            assert asked["gpu"] == "1"
    assert trained == len(full.trained())


def test_every_job_asks_for_the_time_that_the_estimate_says(snakemake):
    full = plan(yaml.safe_load((snakemake.folder / "config/full.yaml").read_text()), snakemake.folder)
    on = machine(None, full.scale.compute)
    told = estimate(full, Sets(full, snakemake.folder), Costs(full, read_costs()), on, None, snakemake.folder).jobs
    hours = {(f"{job.study}/{job.run}", job.stage, job.name): job.asked for job in told}
    seen = set()
    for rule, wildcards, asked in jobs(planned(snakemake)):
        run, dataset = wildcards.get("run", ""), wildcards.get("dataset", "")
        name = {
            "evaluate": (run, "scoring", dataset), "tune_zeta": (run, "tuning", ""),
            "tokenise": (run, "tokens", f"{dataset}/{wildcards.get('split')}"),
        }.get(rule, (run, "training", ""))  # fmt: skip
        if name in hours:
            assert int(asked["runtime"]) == round(60 * hours[name]), name
            seen.add(name)
    assert seen == set(hours)


def test_what_is_asked_is_what_paper_and_pencil_say(snakemake):
    """From a network's operations on record (TFLOP a slice): the code's arithmetic, done once by hand."""
    found = jobs(planned(snakemake, "ueps", "dpm"))
    asked = {(rule, run["run"], run.get("dataset")): asked for rule, run, asked in found if "run" in run}
    # E2EVarNet, 14 coils: 30 epochs of 70748 slices of 2.976, 10 validations of 21842 slices of 0.9925: 6.533 EFLOP;
    # at 35 % of 312 TFLOP/s 16.62 GPU-hours, on 8 GPUs and with half as much again 3.12 hours.
    # A slice a GPU: 115.9 M parameters x 18 bytes, activations of up to 24 coils 4.69 GB, CUDA 1.5: 8.28 GB, + 20 %.
    trained = asked["train_unrolled", "ueps/e2e-varnet", None]
    assert (trained["runtime"], trained["gpu_mem_mb"]) == ("187", "10000")
    # DDS: 777 FLAIR slices x 3 accelerations x 50 evaluations of 0.8599: 100.2 PFLOP; at 35 % of 156 TFLOP/s 0.510
    # hours, three times that and 2331 seconds: 2.18 hours.
    assert asked["evaluate", "dpm/dds", "fastmri-brain"]["runtime"] == "131"
    # 840.4 GB of k-space at 100 MB/s, and half as much again: 3.5 hours; small sets two hours
    hashed = {
        run["dataset"]: asked["runtime"]
        for rule, run, asked in found
        if rule == "summarise" and run["split"] == "train"
    }
    assert (hashed["fastmri-brain"], hashed["sim-stroke"]) == ("210", "120")
    # zero-filling 8852 slices, a second each: 2.46 hours
    assert asked["evaluate", "classical/zero-filled", "fastmri-brain"]["runtime"] == "148"


def test_every_example_for_a_site_can_be_submitted(snakemake):
    profile = snakemake.folder / "slurm/config.yaml"
    text, count = EXAMPLE.subn(r"\1\2", profile.read_text())
    assert count == 8, "partition, account, constraint, extra; another partition for three rules"
    profile.write_text(text)
    elsewhere = set()
    for rule, _, asked in jobs(planned(snakemake, "nas")):
        words = submission(rule, asked)
        elsewhere |= {rule} if asked["slurm_partition"] == "cpu" else set()
        assert asked["slurm_account"] == "project" and "--mail-user=me@example.org" in words
        assert words[words.index("-C") + 1] == ("" if rule in elsewhere else "a100")
        assert not any(word.startswith("--gpus") for word in words) or asked["gpu"] != "0"
    assert elsewhere == {"convert_batch", "calibrate_batch", "summarise"}


def test_what_needs_a_network_or_a_database_stays_where_snakemake_runs():
    """A dry run does not tell; on the test cluster the local rules are seen at work."""
    local = {}
    for path in (ROOT / "workflow/rules").glob("*.smk"):
        for text in re.split(r"^(?:    )?(?=rule )", path.read_text(), flags=re.MULTILINE)[1:]:
            commands = re.findall(r"\brekon ([a-z-]+)", text.partition("shell:")[2])
            local |= dict.fromkeys(commands, "localrule: True" in text)
    wanted = {"download", "fetch-backbone", "index", "log-mlflow", "version", "report", "scorecard", "tables"}
    assert {name for name, here in local.items() if here} >= wanted
    assert all(here for name, here in local.items() if name.startswith(("download", "fetch")))
    assert not any(
        local[name] for name in ("convert", "calibrate", "train", "tokenise", "evaluate", "tune-zeta", "inspect")
    )


def test_a_training_is_spread_over_nodes_as_far_as_its_batch_goes(snakemake):
    snakemake.edit("config/full.yaml", lambda scale: scale["compute"].update(nodes=2, gpus=16))
    seen, names = {}, ("nodes", "tasks", "tasks_per_node", "gpu", "gres", "mpi", "cpus_per_task")
    for rule, wildcards, asked in jobs(planned(snakemake, "nas", "more")):
        spread = {name: asked[name] for name in names if name in asked}
        if rule.startswith(TRAINING):
            seen[wildcards["run"]] = (spread, submission(rule, asked))
        else:
            assert spread in ({}, {"gpu": "0"}, {"gpu": "1"}), rule
    spread, words = seen["nas/base"]  # batch 80
    assert spread == {
        "nodes": "2", "tasks_per_node": "8", "gpu": "16", "gres": "gpu:8", "mpi": "srun", "cpus_per_task": "8",
    }  # fmt: skip
    assert {"--nodes=2", "--ntasks-per-node=8", "--gres=gpu:8", "--gpus=16", "--cpus-per-task=8"} <= set(words)
    assert not any(word.startswith(("--ntasks=", "--ntasks-per-gpu")) for word in words)
    assert seen["nas/e2e-varnet"][0] == {"gpu": "8"}  # batch 8: one node has as many
    assert seen["more/more"][0] == {"gpu": "1"}


def test_one_process_a_node_is_a_task_each(snakemake):
    snakemake.edit("config/full.yaml", lambda scale: scale["compute"].update(nodes=2, gpus=2))
    found = jobs(planned(snakemake, "ueps"))
    asked = next(
        asked for rule, wildcards, asked in found if rule == "train_unrolled" and wildcards["run"] == "ueps/ueps"
    )
    words = submission("train_unrolled", asked)
    assert {"--nodes=2", "--ntasks=2", "--gres=gpu:1", "--gpus=2"} <= set(words)
    assert not any(word.startswith("--ntasks-per") for word in words)


def test_gpus_that_do_not_spread_evenly_are_refused(snakemake):
    snakemake.edit("config/full.yaml", lambda scale: scale["compute"].update(nodes=3))
    run = snakemake("-n", "--configfile", "config/full.yaml", check=False)
    assert run.returncode != 0
    assert "'gpus' 8 must be a multiple of 'nodes' 3" in run.stdout + run.stderr
