"""What reruns after a change, on the real DAG."""

from __future__ import annotations

import os
import time

import pytest

pytestmark = pytest.mark.workflow
REPORTS = {"plan", "tables_ueps", "tables_nas", "tables_more", "tables_dpm", "scorecard", "report", "log_mlflow", "all"}


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
    scored = [*(done.folder / "results/demo").rglob("*.csv")]  # NAS says itself what full scale is
    assert counts["evaluate"] == sum("/nas/" not in str(path) for path in scored) < len(scored)


def test_forced_rule_reruns_it_and_its_descendants(done):
    counts = done.planned("-R", "evaluate")
    assert set(counts) <= REPORTS | {"evaluate"}
    assert counts["evaluate"] > 0


PRIORS = {"pretrain_dpm", "finetune_dpm"}
TRAINERS = {
    "train_aqvae", "train_transformer", "train_teacher", "distill", "train_unrolled", "train_unet", "train_experts",
    *PRIORS,
}  # fmt: skip


@pytest.mark.parametrize(
    ("forced", "trained", "scored"),
    [
        ("distill", {"distilled"}, {"distilled"}),
        ("train_teacher", {"teacher", "distilled"}, {"distilled"}),
        ("tokenise", None, None),
    ],
)
def test_the_chain_reruns_downwards_only(done, forced, trained, scored):
    """Tokenizer -> tokens -> transformers -> teacher -> student: a forced rule takes its descendants along."""
    everything = {"base", "no-cross-attention", "flat-tokens", "frozen-encoder", "teacher", "distilled"}
    jobs = done.jobs("-R", forced)
    weights = {job for job in jobs if job.startswith("weights/")}
    assert weights == {f"weights/demo/nas/{run}.safetensors" for run in trained or everything}
    rows = {job for job in jobs if job.startswith("results/") and job.endswith(".csv")}
    expected = scored or (everything - {"teacher"}) | {"multinomial", "top-p-top-k"}
    assert rows == {f"results/demo/nas/{run}/sim-fastmri-brain.csv" for run in expected}


def test_a_new_tokenizer_takes_its_own_family_along(done):
    done.edit("config/demo.yaml", lambda c: c["studies"]["nas"]["runs"].update({"aqvae-flat": {"seed": 7}}))
    jobs = done.jobs()
    weights = {job for job in jobs if job.startswith("weights/")}
    assert weights == {"weights/demo/nas/aqvae-flat.safetensors", "weights/demo/nas/flat-tokens.safetensors"}
    tokens = {job for job in jobs if "/tokens/" in job}
    assert len(tokens) == 2 and all("/nas/aqvae-flat/tokens/" in job for job in tokens)


def test_decoding_reruns_no_training(done):
    done.edit(
        "config/demo.yaml",
        lambda c: c["studies"]["nas"]["runs"]["top-p-top-k"]["model"]["decoding"].update(top_k=11),
    )
    counts = done.planned()
    assert counts["evaluate"] == 1 and not TRAINERS & set(counts)


def test_one_method_reruns_without_the_others(done):
    """Method 5 alone, then method 4: its grid stays, its samplers come along."""
    for run, also in (("few", set()), ("fine-tuned", {"reference-loop", "dds-warm"})):
        jobs = done.jobs("--force", f"weights/demo/dpm/{run}.safetensors", "tables")
        assert {job for job in jobs if job.startswith("weights/")} == {f"weights/demo/dpm/{run}.safetensors"}
        rows = {job.split("/")[3] for job in jobs if job.startswith("results/") and job.endswith(".csv")}
        assert rows == {run} | also
        assert {job.split("/")[3] for job in jobs if job.endswith("zeta.json")} == {run} | also


def test_another_sampler_run_trains_no_prior(done):
    """A run that only samples otherwise; the sampler in a prior's own recipe is part of that recipe, and trains it."""

    def change(config):
        config["studies"]["dpm"]["runs"]["dds-warm"]["model"]["sampler"].update(steps=9)

    done.edit("config/demo.yaml", change)
    counts = done.planned()
    assert counts["evaluate"] == counts["tune_zeta"] == 1 and not TRAINERS & set(counts)


def test_one_arm_of_the_experts_reruns_without_the_others(done):
    """An arm's own setting; then one of the router, which the dense networks have not."""

    def top_1(config):
        config["studies"]["more"]["runs"]["top-1"] = {"model": {"router": {"cache": 3}}}

    done.edit("config/demo.yaml", top_1)
    jobs = done.jobs()
    assert {job for job in jobs if job.startswith("weights/")} == {"weights/demo/more/top-1.safetensors"}
    assert {job for job in jobs if job.endswith("/sim-fastmri-seven.csv")} == {
        "results/demo/more/top-1/sim-fastmri-seven.csv"
    }
    done.edit("config/demo.yaml", lambda c: c["studies"]["more"]["runs"]["more"]["model"]["router"].update(cache=5))
    trained = {job for job in done.jobs() if job.startswith("weights/")}
    assert trained == {f"weights/demo/more/{run}.safetensors" for run in ("more", "top-1")}


def test_a_forced_inspection_of_the_experts_trains_and_scores_nothing(done):
    counts = done.planned("-R", "inspect_more")
    assert set(counts) == {"inspect_more", "report", "all"}


def test_another_share_of_a_joined_set_makes_no_volume_anew(done):
    def share(catalogue):
        for split, end in (("train", "high"), ("validation", "low")):
            for part in catalogue["sim-fastmri-seven"]["parts"][split]:
                part[end] = 0.5

    done.edit("config/datasets.yaml", share)
    counts = done.planned()
    assert counts["join"] == 3 and counts["train_experts"] == 4
    assert not {"simulate", "convert", "summarise", "calibrate", "train_unrolled", "pretrain_dpm"} & set(counts)


def test_collector_and_single_file_targets(snakemake):
    counts = snakemake.planned("ueps")
    assert counts["train_unrolled"] == 5 and not (TRAINERS - {"train_unrolled"}) & set(counts)
    chain = snakemake.planned("nas")
    assert chain["train_aqvae"] == 2 and chain["train_teacher"] == chain["distill"] == 1 and chain["tokenise"] == 4
    prior = snakemake.planned("dpm")
    assert prior["pretrain_dpm"] == 6 and prior["finetune_dpm"] == 5 and prior["train_unrolled"] == 1
    assert prior["tune_zeta"] == 14 and prior["inspect_dpm"] == 1
    experts = snakemake.planned("more")
    assert experts["train_experts"] == 4 and experts["evaluate"] == 5 and experts["inspect_more"] == 1
    assert experts["join"] == 3 and not (TRAINERS - {"train_experts"}) & set(experts)
    assert snakemake.planned("data").keys() == {"simulate", "convert", "summarise", "join", "data"}
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
