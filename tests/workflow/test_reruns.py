"""What reruns after a change, on the real DAG."""

from __future__ import annotations

import os
import time

import pytest

pytestmark = pytest.mark.workflow
REPORTS = {"plan", "tables", "report", "log_mlflow", "all"}


def test_finished_workflow_has_nothing_to_do(done):
    assert done.planned() == {}


def test_learning_rate_of_one_rung_reruns_that_rung_and_what_reads_it(done):
    def change(config):
        run = config["studies"]["ueps"]["runs"]["ue-unet"]
        run["training"] = {"learning_rate": 5.0e-4}

    done.edit("config/demo.yaml", change)
    jobs = done.jobs()
    trained = {job for job in jobs if job.startswith("weights/")}
    scored = {job for job in jobs if job.startswith("results/") and job.endswith(".csv")}
    assert trained == {"weights/demo/ueps/ue-unet.safetensors"}
    assert scored and all(job.startswith("results/demo/ueps/ue-unet/") for job in scored)
    assert {job for job in jobs if job.startswith(("data/", "raw/"))} == set()
    assert any(job.startswith("reports/tables/") for job in jobs)


def test_comment_in_a_config_file_reruns_nothing(done):
    for name in ("config/demo.yaml", "config/datasets.yaml", "config/studies/ueps.yaml"):
        path = done.folder / name
        path.write_text("# a new comment\n" + path.read_text())
    assert done.planned() == {}


def test_new_times_of_tracked_files_rerun_nothing(done):
    later = time.time() + 60
    for name in ("Snakefile", "workflow", "config", "envs"):
        for path in [done.folder / name, *(done.folder / name).rglob("*")]:
            os.utime(path, (later, later))
    assert done.planned() == {}


def test_new_times_of_small_intermediate_files_rerun_nothing(done):
    later = time.time() + 60
    for path in (done.folder / "runs").rglob("*.*"):
        os.utime(path, (later, later))
    assert done.planned() == {}


def test_added_test_set_trains_nothing(done):
    def change(config):
        config["datasets"]["sim-extra"] = {"test": 2}
        config["evaluation"]["ood"].append("sim-extra")

    def describe(catalogue):
        catalogue["sim-extra"] = {**catalogue["sim-fastmri-knee"], "title": "Another simulated set"}

    done.edit("config/demo.yaml", change)
    done.edit("config/datasets.yaml", describe)
    counts = done.planned()
    assert counts["simulate"] == 2
    assert "train_unrolled" not in counts
    evaluated = {job for job in done.jobs() if job.startswith("results/") and job.endswith(".csv")}
    assert evaluated and all(job.endswith("/sim-extra.csv") for job in evaluated)


def test_metric_definition_reruns_evaluations_only(done):
    def change(config):
        config["evaluation"]["data_range"] = "slice"

    done.edit("config/demo.yaml", change)
    counts = done.planned()
    assert "train_unrolled" not in counts and "convert" not in counts
    assert counts["evaluate"] == len(list((done.folder / "results/demo").rglob("*.csv")))


def test_forced_rule_reruns_it_and_its_descendants(done):
    counts = done.planned("-R", "evaluate")
    assert set(counts) <= REPORTS | {"evaluate"}
    assert counts["evaluate"] > 0


def test_collector_and_single_file_targets(snakemake):
    counts = snakemake.planned("ueps")
    assert counts["train_unrolled"] == 5
    assert snakemake.planned("data").keys() == {"simulate", "convert", "summarise", "data"}
    single = snakemake.planned("weights/demo/ueps/ueps.safetensors")
    assert single["train_unrolled"] == 1
    assert "evaluate" not in single


def test_a_lost_intermediate_whose_product_is_there_is_not_remade(done):
    for path in (done.folder / "data/kspace").rglob("*.h5"):
        path.unlink()
    assert done.planned() == {}


def test_clone_with_only_pulled_data_weights_and_reports_has_nothing_to_do(done):
    """As after `git clone` and `dvc pull`: no records, no runs/ or results/, data younger than the reports."""
    import shutil

    for name in (".snakemake", "runs", "results", "work", "raw", "logs"):
        shutil.rmtree(done.folder / name, ignore_errors=True)
    later = time.time() + 60
    for number, path in enumerate(sorted((done.folder / "reports").rglob("*.*"))):  # index.html before tables/
        os.utime(path, (later - 30 + number, later - 30 + number))
    for number, path in enumerate(sorted((done.folder / "weights").rglob("*"), reverse=True)):
        os.utime(path, (later + number, later + number))
    for number, path in enumerate(sorted((done.folder / "data").rglob("*"), reverse=True)):
        os.utime(path, (later + 1000 + number, later + 1000 + number))
    assert done.planned() == {}
