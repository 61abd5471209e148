"""Where a scale stands, read from files alone: every state of a job, what it waits for, and what it costs to ask."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from status_folder import NOW, age_of, lock, log, mark, safetensors, scored, stage, tokens, trained, write_sets

from rekon.files import write_json, write_text, write_yaml
from rekon.plan import Plan, plan
from rekon.reporting.status import status
from rekon.reporting.status_view import words

ROOT = Path(__file__).resolve().parents[2]
STEP = (
    "nas/base: step {0}/160 ({1} %), loss 2.5, accuracy 0.1, gradient_norm 1.2, {2}, 1 min 30 s left\n"
    "nas/base: step 90/160, validation: val_loss 2.6 (best so far)\n"
)


@pytest.fixture(scope="module")
def demo() -> Plan:
    config = yaml.safe_load((ROOT / "config/demo.yaml").read_text())
    config["studies"]["nas"]["runs"]["base"]["training"]["steps"] = 160  # as in the logs below
    config["evaluation"]["ood"] = ["sim-fastmri-knee", "sim-stanford2d", "sim-m4raw-gre", "sim-ahead-e3"]
    return plan(config, ROOT)


@pytest.fixture
def folder(tmp_path, demo) -> Path:
    """A demo whose sets are there, and nothing else."""
    write_sets(tmp_path, demo)
    return tmp_path


# --- nothing, and everything ----------------------------------------------------------------------------------
def test_an_empty_folder_waits_for_its_data(tmp_path, demo):
    found = status(demo, tmp_path, NOW)
    assert {state for look in found.looks for state in look.states} == {"waiting"}
    assert found.splits[0].volumes.total == 16 and found.splits[0].volumes.done == 0
    assert "sim-fastmri-brain/train" in stage(found, "ueps/ueps", "trained").note
    assert stage(found, "ueps/ueps", "scored").total == 5
    assert found.locked is None


def test_a_run_has_the_stages_of_its_plan(folder, demo):
    found = {f"{run.study}/{run.run}": set(run.stages) for run in status(demo, folder, NOW).runs}
    assert found["nas/aqvae"] == {"trained", "tokens"}
    assert found["nas/teacher"] == {"trained"}
    assert found["nas/multinomial"] == {"scored"}
    assert found["dpm/fine-tuned"] == {"trained", "tuned", "scored"}
    assert found["classical/sense"] == {"scored"}
    assert set(found) == {f"{study}/{run}" for study, run in demo.recipes}


def test_complete_sets_let_the_first_runs_begin(folder, demo):
    found = status(demo, folder, NOW)
    assert all(one.volumes.state == one.manifest.state == "done" for one in found.splits)
    assert found.masks.done == found.masks.total == len(demo.masks)
    assert stage(found, "nas/aqvae", "trained").note == "its turn"
    assert stage(found, "nas/base", "trained").waits == ("nas/aqvae",)
    assert stage(found, "nas/distilled", "trained").waits == ("nas/teacher",)  # which waits for the others
    assert stage(found, "nas/distilled", "scored").waits == ("its training",)
    assert stage(found, "dpm/fine-tuned", "tuned").waits == ("its training",)


def test_a_chain_is_done_step_by_step(folder, demo):
    trained(folder, demo, "nas/aqvae", "v1")
    found = status(demo, folder, NOW)
    assert stage(found, "nas/aqvae", "trained").state == "done"
    assert stage(found, "nas/base", "trained").waits == ("tokens of nas/aqvae",)
    tokens(folder, "nas/aqvae", "v1")
    trained(folder, demo, "nas/base", "b1", tokenizer="v1")
    scored(folder, "nas/base", "sim-fastmri-brain", weights="b1", **{"parent.tokenizer": "v1"})
    found = status(demo, folder, NOW)
    assert [stage(found, "nas/base", name).state for name in ("trained", "scored")] == ["done", "done"]
    assert stage(found, "nas/aqvae", "tokens").done == 2


# --- made from something else ---------------------------------------------------------------------------------
def test_what_was_made_from_other_weights_is_due_again(folder, demo):
    trained(folder, demo, "nas/aqvae", "v2")
    tokens(folder, "nas/aqvae", "v1")
    trained(folder, demo, "nas/base", "b1", tokenizer="v1")
    scored(folder, "nas/base", "sim-fastmri-brain", weights="b1", **{"parent.tokenizer": "v1"})
    found = status(demo, folder, NOW)
    assert stage(found, "nas/aqvae", "tokens").state == "due"
    base = stage(found, "nas/base", "trained")
    assert (base.state, base.note, base.done) == ("due", "made from another nas/aqvae", 0)
    assert stage(found, "nas/base", "scored").state == "due"
    assert stage(found, "nas/teacher", "trained").state == "waiting"  # for base, which is made again first


def test_another_recipe_makes_weights_due(folder, demo):
    trained(folder, demo, "ueps/ueps")
    trained(folder, demo, "ueps/ue-vit")
    document = demo.document()
    document["scale"]["studies"]["ueps"]["runs"]["ueps"]["model"]["vit"]["layers"] += 1
    found = status(Plan.from_document(document, "changed"), folder, NOW)
    assert stage(found, "ueps/ueps", "trained").note == "made from another recipe"
    assert stage(found, "ueps/ue-vit", "trained").state == "done"


def test_another_recipe_makes_scores_of_a_run_without_training_due(folder, demo):
    scored(folder, "classical/sense", "sim-ahead-e3")
    recipe, path = demo.recipes["classical", "sense"], folder / "runs/demo/classical/sense/recipe.yaml"
    write_yaml(path, recipe.model_dump(mode="json"))
    age_of(path, 60)
    assert "done" in stage(status(demo, folder, NOW), "classical/sense", "scored").parts
    write_yaml(path, recipe.model_dump(mode="json") | {"seed": 43})
    age_of(path, 60)
    assert "done" not in stage(status(demo, folder, NOW), "classical/sense", "scored").parts


def test_another_set_makes_everything_after_it_due(folder, demo):
    trained(folder, demo, "ueps/ueps", "u1")
    scored(folder, "ueps/ueps", "sim-fastmri-knee", weights="u1")
    write_json(folder / "runs/demo/data/sim-fastmri-brain/train.json", {"other": 1})
    found = status(demo, folder, NOW)
    assert stage(found, "ueps/ueps", "trained").note == "made from another sim-fastmri-brain"
    assert "due" in stage(found, "ueps/ueps", "scored").parts


def test_tables_older_than_their_scores_are_due(folder, demo):
    for study, run, dataset in demo.scored():
        scored(folder, f"{study}/{run}", dataset)
    for study, run in demo.trained():
        trained(folder, demo, f"{study}/{run}")
    for name in demo.tables("ueps"):
        write_text(folder / "reports/tables" / name, "")
        age_of(folder / "reports/tables" / name, 3600)
    found = status(demo, folder, NOW)
    tables = {study: found.shared[f"tables_{study}"] for study in ("ueps", "nas")}
    assert (tables["ueps"].state, tables["ueps"].note) == ("due", "results are newer")
    nas = [look for run in found.runs if run.study == "nas" for look in run.stages.values()]
    left = sum(state != "done" for look in nas for state in look.states)  # there are no tokens
    assert (tables["nas"].state, tables["nas"].note) == ("waiting", f"waits for {left} jobs") and left > 4
    for name in demo.tables("ueps"):
        age_of(folder / "reports/tables" / name, -86400)  # the tests begin at NOW and may take hours
    assert status(demo, folder, NOW).shared["tables_ueps"].state == "done"
    write_json(folder / "runs/demo/plan.json", demo.document() | {"backbones": {"other": 1}})
    assert status(demo, folder, NOW).shared["tables_ueps"].note == "made by another plan"


# --- at work --------------------------------------------------------------------------------------------------
def test_a_running_job_tells_step_loss_speed_and_time_left(folder, demo):
    lock(folder)
    mark(folder, "weights/demo/nas/base.safetensors", age=80)
    log(folder, "train/demo/nas/base", STEP.format(80, 50, "2.0 steps/s"), age=10)
    write_text(folder / "work/demo/nas/base/metrics.jsonl", '{"step": 89, "loss": 2.25}\n{"step": 9')
    age_of(folder / "work/demo/nas/base/metrics.jsonl", 4)
    look = stage(status(demo, folder, NOW), "nas/base", "trained")
    assert (look.state, look.step, look.steps, look.loss, look.rate) == ("running", 89, 160, 2.25, 2.0)
    assert look.left == pytest.approx((160 - 80) / 2.0 - 10, abs=0.1)
    assert look.silent == pytest.approx(4, abs=0.1)
    assert words(look) == "step 89 of 160, loss 2.25, 2.0 steps/s, 30 s left"


def test_a_long_silence_is_told_as_such(folder, demo):
    lock(folder, age=9000)
    mark(folder, "weights/demo/nas/base.safetensors", age=8000)
    log(folder, "train/demo/nas/base", STEP.format(80, 50, "3.0 s/step"), age=1800)
    look = stage(status(demo, folder, NOW), "nas/base", "trained")
    assert look.state == "silent" and look.rate == pytest.approx(1 / 3)
    assert words(look) == "at step 80, last sign of life 30 min ago"


def test_a_job_that_says_nothing_is_not_called_silent_while_snakemake_is_there(folder, demo):
    trained(folder, demo, "ueps/ueps", "u1")
    mark(folder, "results/demo/ueps/ueps/sim-ahead-e3.csv", age=3000)
    log(folder, "evaluate/demo/ueps/ueps/sim-ahead-e3", "", age=3000)
    look = stage(status(demo, folder, NOW), "ueps/ueps", "scored")
    assert look.parts.count("stopped") == 1  # no lock, no sign of life
    lock(folder)
    look = stage(status(demo, folder, NOW), "ueps/ueps", "scored")
    assert look.state == "running" and words(look) == "0 of 5, began 50 min ago"


def test_a_job_in_the_clusters_queue_has_its_number(folder, demo):
    lock(folder)
    mark(folder, "weights/demo/nas/aqvae.safetensors", age=300, number="4711")
    log(folder, "train/demo/nas/aqvae", "nas/aqvae: out of time after step 10 of 750.\n", age=900)  # an earlier attempt
    look = stage(status(demo, folder, NOW), "nas/aqvae", "trained")
    assert look.state == "queued" and words(look) == "cluster job 4711, handed over 5 min ago"


def test_trials_of_a_search_are_counted(folder, demo):
    lock(folder)
    trained(folder, demo, "dpm/pretrained")
    mark(folder, "runs/demo/dpm/pretrained/zeta.json")
    log(folder, "tune_zeta/demo/dpm/pretrained", "dpm/pretrained: 9 of 27 trial reconstructions\n")
    look = stage(status(demo, folder, NOW), "dpm/pretrained", "tuned")
    assert (look.step, look.steps) == (9, 27) and words(look) == "step 9 of 27"


# --- ended ----------------------------------------------------------------------------------------------------
def test_out_of_time_tells_where_it_was_saved(folder, demo):
    farewell = "nas/base: stopped after step 96 of 160, state saved; the same command goes on\n"
    log(
        folder,
        "train/demo/nas/base",
        STEP.format(96, 60, "2.0 steps/s") + farewell + "nas/base: out of time after step 96 of 160.\n",
    )
    look = stage(status(demo, folder, NOW), "nas/base", "trained")
    assert (look.state, look.note) == ("stopped", "out of time; saved at step 96 of 160, resubmit")
    log(folder, "train/demo/nas/base", farewell)
    assert stage(status(demo, folder, NOW), "nas/base", "trained").note.startswith("interrupted; saved at step 96")


def test_a_killed_job_goes_on_from_its_saved_state(folder, demo):
    log(folder, "train/demo/nas/base", STEP.format(96, 60, "2.0 steps/s"))
    assert stage(status(demo, folder, NOW), "nas/base", "trained").state == "waiting"  # as far as anyone knows
    safetensors(folder / "work/demo/nas/base/state.safetensors", {"state": json.dumps({"step": 64})})
    look = stage(status(demo, folder, NOW), "nas/base", "trained")
    assert look.state == "stopped" and "saved at step 64 of 160" in look.note
    mark(folder, "weights/demo/nas/base.safetensors", age=7200)  # Snakemake was killed too
    age_of(folder / "logs/train/demo/nas/base.log", 7000)
    age_of(folder / "work/demo/nas/base/state.safetensors", 7000)
    look = stage(status(demo, folder, NOW), "nas/base", "trained")
    assert look.state == "stopped" and "left unfinished, saved at step 64" in look.note


def test_a_failure_tells_the_users_sentence(folder, demo):
    log(folder, "train/demo/nas/aqvae", "warnings.warn(\nrekon: nas/aqvae: loss is nan at step 3 of 750; lower it.\n")
    look = stage(status(demo, folder, NOW), "nas/aqvae", "trained")
    assert (look.state, look.note) == ("failed", "nas/aqvae: loss is nan at step 3 of 750; lower it.")
    assert "(logs/train/demo/nas/aqvae.log)" in words(look)
    assert stage(status(demo, folder, NOW), "nas/base", "trained").state == "waiting"


def test_a_failure_before_snakemake_began_anew_is_the_past(folder, demo):
    log(folder, "train/demo/nas/aqvae", "rekon: nas/aqvae: loss is nan.\n", age=900)
    lock(folder, age=60)
    look = stage(status(demo, folder, NOW), "nas/aqvae", "trained")
    assert (look.state, look.note) == ("waiting", "its turn; last time: nas/aqvae: loss is nan.")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("Command 'set -e; rekon evaluate --x {} > {} 2>&1' returned non-zero exit status 137.", "SIGKILL"),
        ("Command 'set -e; rekon evaluate --x {} > {} 2>&1' died with <Signals.SIGTERM: 15>.", "SIGTERM"),
        ("Error in rule evaluate:\n    message: SLURM-job '7' failed, SLURM status is: 'OUT_OF_MEMORY'. For more\n"
         "    jobid: 3\n    log: {1} (check log file(s) for error details)\n", "Slurm says OUT_OF_MEMORY"),
    ],
)  # fmt: skip
def test_a_death_without_a_word_is_told_by_snakemakes_own_log(folder, demo, line, told):
    path = "logs/evaluate/demo/classical/sense/sim-ahead-e3.log"
    log(folder, "evaluate/demo/classical/sense/sim-ahead-e3", "")
    write_text(folder / ".snakemake/log/2026-11-21T100629.snakemake.log", line.format("y", path) + "\n")
    look = stage(status(demo, folder, NOW), "classical/sense", "scored")
    assert look.state == "failed" and look.note.startswith("sim-ahead-e3: ") and told in look.note


def test_data_that_cannot_be_had_says_why(tmp_path):
    full = plan(yaml.safe_load((ROOT / "config/full.yaml").read_text()), ROOT)
    log(tmp_path, "download_set/fastmri-brain/train", "rekon: raw/fastmri-brain/train: no files; ask for access.\n")
    found = status(full, tmp_path, NOW)
    brain = next(one for one in found.splits if (one.dataset, one.split) == ("fastmri-brain", "train"))
    assert (brain.volumes.state, brain.volumes.total) == ("failed", 0) and "ask for access" in brain.volumes.note
