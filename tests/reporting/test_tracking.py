"""Runs in MLflow: what is ingested, that it is ingested once, and what is never told."""

import json
import logging
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from rekon.errors import UserError
from rekon.evaluation.panel import Panel, write_panels
from rekon.files import write_json, write_text, write_yaml
from rekon.reporting import tracking
from rekon.reporting.follow import follow
from rekon.reporting.records import evaluation, flat, training
from rekon.reporting.tracking import ingest, public, ui_command

RECIPE = {
    "scale": "demo", "study": "ueps", "run": "ue-vit", "title": "UE-ViT", "kind": "unrolled", "seed": 1,
    "model": {"schedule": [36, 52], "vit": {"width": 16, "rows": None}}, "data": {"size": [32, 32]},
    "training": {"learning_rate": 1e-3}, "parents": {"teacher": "teacher"}, "mask": None,
    "sampling": {"patterns": ["es-x", "radial"]},
}  # fmt: skip
PROVENANCE = {
    "git": {"commit": "c0ffee", "dirty": True, "diff_sha256": "d1ff"}, "rule": "train_unrolled", "code": "f00d",
    "inputs": {"train": "aaaa", "validation": "bbbb", "mask": {"path": "data/masks/m.h5", "hash": "5a5a"}},
    "start": "2025-01-02T03:04:05+00:00", "seconds": 8.0, "peak_memory": 123, "versions": {"torch": "2"}, "new": [1],
}  # fmt: skip
HEADER = (
    "dataset,volume,subject,slice,contrast,pattern,acceleration,effective_acceleration,coils,psnr,ssim,nmse,"
    "lpips_alex,lpips_vgg,dists,milliseconds,reason\n"
)


def write_run(root: Path, run: str, steps=(1, 2, 3), trained=True):
    folder = root / "runs/demo/ueps" / run
    write_yaml(folder / "recipe.yaml", RECIPE | {"run": run, "title": run} | ({} if trained else {"training": None}))
    if trained:
        lines = [{"step": step, "loss": 1 / step, "lr": 1e-3, "seconds": step * 2.0} for step in steps]
        lines[1] |= {"val_mae": 0.25}
        lines[2] |= {"val_mae": 0.5}
        write_text(folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
        write_json(folder / "run.json", PROVENANCE)
    return folder


def write_scores(root: Path, run: str, dataset="sim-set", psnr=(30, 32, 34), reason=""):
    scores = root / "results/demo/ueps" / run / f"{dataset}.csv"
    rows = [
        f"{dataset},v{i},s{i},0,T2,equispaced,4,3.2,8,{value},0.9,0.01,,,,12.5,{reason}" for i, value in enumerate(psnr)
    ]
    write_text(scores, HEADER + "\n".join(rows) + "\n")
    image = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    write_panels(scores.with_suffix(".npz"), {"equispaced-R4": Panel("v0", 0, image, image, 1.0, target=image)})
    inputs = {"manifest": "cccc", "mask": "5a5a", "weights": "eeee"}
    write_json(scores.with_suffix(".json"), PROVENANCE | {"inputs": inputs, "rule": "evaluate"})
    return scores


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """An empty database: its set-up takes seconds, so it is made once and copied."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in tracking.ENVIRONMENT.items():
            patch.setenv(name, value)
        base = tmp_path_factory.mktemp("fresh")
        ingest([], [], f"sqlite:///{base}/mlflow.db", base / "receipt.json")
        yield base / "mlflow.db"


@pytest.fixture
def project(fresh, tmp_path, monkeypatch):
    """A folder with two runs, one of them trained, their scores, and an empty database."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name, value in tracking.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    shutil.copy(fresh, tmp_path / "mlflow.db")
    write_run(tmp_path, "ue-vit")
    write_run(tmp_path, "zero-filled", trained=False)
    write_scores(tmp_path, "ue-vit")
    write_scores(tmp_path, "zero-filled")
    return tmp_path


RUNS = ["runs/demo/ueps/ue-vit"]
RESULTS = ["results/demo/ueps/ue-vit/sim-set.csv", "results/demo/ueps/zero-filled/sim-set.csv"]


def tracked(database="mlflow.db"):
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{Path(database).absolute()}")
    experiment = client.get_experiment_by_name("demo/ueps")
    runs = client.search_runs([experiment.experiment_id])
    return client, experiment, {run.data.tags["rekon.path"]: run for run in runs}


def test_every_run_appears_once_with_all_that_is_known_of_it(project):
    done = ingest(RUNS, RESULTS, None, "receipt.json")
    assert set(done.values()) == {"new"}
    client, experiment, runs = tracked()
    assert experiment.artifact_location == (project / "mlartifacts/demo/ueps").as_uri()
    assert set(runs) == {"runs/demo/ueps/ue-vit", *(path.removesuffix(".csv") for path in RESULTS)}

    run = runs["runs/demo/ueps/ue-vit"]
    assert run.data.params == flat(RECIPE | {"title": "ue-vit"})
    assert run.data.params["model.vit.rows"] == "none" and run.data.params["model.schedule"] == "36, 52"
    history = client.get_metric_history(run.info.run_id, "loss")
    start = 1735787045000  # 2025-01-02T03:04:05 UTC in ms
    assert [(m.step, m.value, m.timestamp - start) for m in history] == [(s, 1 / s, s * 2000) for s in (1, 2, 3)]
    assert run.data.metrics["best_val_mae"] == 0.25 and run.data.metrics["val_mae"] == 0.5
    assert run.data.metrics["run/peak_memory"] == 123
    assert (run.info.status, run.info.start_time, run.info.end_time) == ("FINISHED", start, start + 8000)
    expected = {
        "git_commit": "c0ffee", "mlflow.source.git.commit": "c0ffee", "git_dirty": "true", "git_diff": "d1ff",
        "mask_hash": "5a5a", "parent_run": "runs/demo/ueps/teacher",
        "parent.teacher": "runs/demo/ueps/teacher", "scale": "demo", "rule": "train_unrolled",
        "study": "ueps", "run": "ue-vit", "kind": "unrolled", "stage": "training", "code": "f00d",
        "input.train": "aaaa", "mlflow.runName": "ue-vit",
    }  # fmt: skip
    assert expected.items() <= run.data.tags.items()
    assert len(run.data.tags["data_hash"]) == 64  # of the two splits
    names = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert names == {"recipe.yaml", "metrics.jsonl", "run.json"}

    scored = runs["results/demo/ueps/ue-vit/sim-set"]
    assert scored.data.tags["mlflow.parentRunId"] == run.info.run_id
    assert scored.data.metrics["psnr"] == 32 and scored.data.metrics["milliseconds"] == 12.5
    assert scored.data.metrics["psnr_low"] <= 32 <= scored.data.metrics["psnr_high"]
    tags = {"dataset": "sim-set", "data_hash": "cccc", "mask_hash": "5a5a", "rule": "evaluate", "aggregation": "slice"}
    assert tags.items() <= scored.data.tags.items()
    names = {item.path for item in client.list_artifacts(scored.info.run_id)}
    assert names == {"recipe.yaml", "sim-set.csv", "sim-set.json", "sim-set.npz", "sim-set.png"}
    assert "mlflow.parentRunId" not in runs["results/demo/ueps/zero-filled/sim-set"].data.tags  # nothing was trained


def test_ingesting_again_changes_nothing_and_changed_content_replaces(project):
    ingest(RUNS, RESULTS, None, "first.json")
    before = {path: run.info.run_id for path, run in tracked()[2].items()}
    assert set(ingest(RUNS, RESULTS, None, "second.json").values()) == {"unchanged"}
    assert {path: run.info.run_id for path, run in tracked()[2].items()} == before
    assert Path("first.json").read_bytes() == Path("second.json").read_bytes()

    write_run(project, "ue-vit", steps=(1, 2, 4))
    done = ingest(RUNS, RESULTS, None, "third.json")
    assert done == {"runs/demo/ueps/ue-vit": "replaced"} | {path.removesuffix(".csv"): "unchanged" for path in RESULTS}
    client, _, runs = tracked()
    new = runs["runs/demo/ueps/ue-vit"].info.run_id
    assert len(runs) == 3 and new != before["runs/demo/ueps/ue-vit"]
    assert runs["results/demo/ueps/ue-vit/sim-set"].data.tags["mlflow.parentRunId"] == new
    assert client.get_run(before["runs/demo/ueps/ue-vit"]).info.lifecycle_stage == "deleted"
    assert Path("third.json").read_bytes() != Path("first.json").read_bytes()

    # evaluations alone find the parent that came earlier
    write_scores(project, "ue-vit", "sim-other")
    ingest([], ["results/demo/ueps/ue-vit/sim-other.csv"], None, "fourth.json")
    assert tracked()[2]["results/demo/ueps/ue-vit/sim-other"].data.tags["mlflow.parentRunId"] == new


def test_an_ingest_that_was_cut_short_is_done_again(project, monkeypatch):
    real = tracking._picture

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(tracking, "_picture", stop)
    with pytest.raises(KeyboardInterrupt):
        ingest(RUNS, RESULTS, None, "receipt.json")
    assert not Path("receipt.json").exists()
    monkeypatch.setattr(tracking, "_picture", real)
    done = ingest(RUNS, RESULTS, None, "receipt.json")
    assert sorted(done.values()) == ["new", "replaced", "unchanged"]
    assert len(tracked()[2]) == 3


def test_a_deleted_experiment_comes_back(project):
    ingest(RUNS, [], None, "receipt.json")
    client, experiment, _ = tracked()
    client.delete_experiment(experiment.experiment_id)
    ingest(RUNS, RESULTS, None, "receipt.json")
    assert len(tracked()[2]) == 3


def test_the_variable_names_the_database_and_long_histories_fit(project, monkeypatch):
    shutil.move("mlflow.db", "elsewhere.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project}/elsewhere.db")
    write_run(project, "ue-vit", steps=range(1, 1201))
    ingest(RUNS, [], None, "receipt.json")
    client, _, runs = tracked("elsewhere.db")
    number = runs["runs/demo/ueps/ue-vit"].info.run_id
    assert len(client.get_metric_history(number, "loss")) == 1200
    assert not Path("mlflow.db").exists()
    receipt = Path("receipt.json").read_text()
    assert json.loads(receipt)["tracking"] == "sqlite:///elsewhere.db" and str(project) not in receipt


def test_live_runs_grow_and_give_way_to_the_finished_one(project, monkeypatch, capsys):
    history = Path("work/demo/ueps/ue-vit/metrics.jsonl")
    Path("runs/demo/ueps/ue-vit").rename("finished")
    write_text(history, '{"step": 1, "loss": 3.0}\n{"step": 2, "loss": 2.0}\n{"step": 3, "lo')
    follow(rounds=1)
    assert capsys.readouterr().out == "demo/ueps/ue-vit: step 2\n"

    def grow(_):
        write_text(history, "".join(f'{{"step": {step}, "loss": {4 - step}.0}}\n' for step in (1, 2, 3)))

    monkeypatch.setattr("rekon.reporting.follow.time.sleep", grow)
    follow(rounds=2)  # a second follower takes over from the first
    client, _, runs = tracked()
    live = runs["runs/demo/ueps/ue-vit"]
    assert len(runs) == 1 and live.info.status == "RUNNING"
    assert [m.value for m in client.get_metric_history(live.info.run_id, "loss")] == [3, 2, 1]

    Path("finished").rename("runs/demo/ueps/ue-vit")
    Path("runs/demo/ueps/ue-vit/run.json").touch()
    follow(rounds=1)
    assert ingest(RUNS, [], None, "receipt.json") == {"runs/demo/ueps/ue-vit": "replaced"}
    runs = tracked()[2]
    assert runs["runs/demo/ueps/ue-vit"].info.status == "FINISHED" and len(runs) == 1


def test_sets_without_a_reference_say_why_they_have_no_metric(project):
    record = evaluation(write_scores(project, "ue-vit", "open-set", psnr=("", ""), reason="no reference"))
    names = {point.name for point in record.points}
    assert not names & {"psnr", "psnr_std", "psnr_low"}
    assert "milliseconds" in names and record.tags["reason"] == "no reference"


def test_a_run_under_several_patterns_with_another_runs_weights(project):
    folder = write_run(project, "multinomial", trained=False)
    write_yaml(
        folder / "recipe.yaml", RECIPE | {"training": None, "parents": {"tokenizer": "aqvae", "weights": "base"}}
    )
    scores = write_scores(project, "multinomial", psnr=(30, 32))
    scores.write_text(scores.read_text().replace("equispaced", "es-x", 1).replace("equispaced", "radial", 1))
    inputs = {"manifest": "cccc", "mask.data/masks/a.h5": "aa", "mask.data/masks/b.h5": "bb"}
    write_json(scores.with_suffix(".json"), PROVENANCE | {"inputs": inputs})
    record = evaluation(scores)
    values = {point.name: point.value for point in record.points}
    assert (values["psnr"], values["psnr/es-x"], values["psnr/radial"]) == (31, 30, 32)
    assert not any(name.startswith("lpips") for name in values)
    assert record.parent == record.tags["parent_run"] == "runs/demo/ueps/base"
    assert record.tags["parent.tokenizer"] == "runs/demo/ueps/aqvae" and record.params["mask"] == "none"
    assert len(record.tags["mask_hash"]) == 64 and not any("mask." in name for name in record.tags)


@pytest.mark.parametrize(
    "uri",
    ["http://anna:s3cr3t@127.0.0.1:1", "http://anna:s3#cr/3t@127.0.0.1:1", "postgresql://anna:s3cr3t@127.0.0.1:1/db"],
)
def test_a_server_that_does_not_answer_is_one_sentence_without_secrets(project, monkeypatch, caplog, capfd, uri):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")  # restored afterwards
    with caplog.at_level(logging.DEBUG), pytest.raises(UserError) as caught:
        ingest(RUNS, RESULTS, uri, "receipt.json")
    output = capfd.readouterr()
    told = str(caught.value) + caplog.text + output.out + output.err
    assert "127.0.0.1:1" in str(caught.value) and "MLFLOW_TRACKING_URI" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "s3cr3t" not in told and "s3#cr" not in told and "anna" not in told
    assert not Path("receipt.json").exists()


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("runs/demo/ueps/ue-vit/metrics.jsonl", "{not json\n", "line 1"),
        ("runs/demo/ueps/ue-vit/run.json", "[]", "not a mapping"),
        ("runs/demo/ueps/ue-vit/recipe.yaml", "text", "not a recipe"),
        ("results/demo/ueps/ue-vit/sim-set.csv", "a,b\n1,2\n", "not a table of scores"),
    ],
)
def test_damaged_files_are_named_before_anything_is_written(project, name, text, words):
    Path(name).write_text(text)
    with pytest.raises(UserError, match=words) as caught:
        ingest(RUNS, RESULTS, None, "receipt.json")
    assert name in str(caught.value)
    with sqlite3.connect("mlflow.db") as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (0,)


def test_a_damaged_panel_is_named(project):
    Path("results/demo/ueps/ue-vit/sim-set.npz").write_bytes(b"not a panel")
    with pytest.raises(UserError, match=r"ue-vit/sim-set\.npz: not a readable"):
        ingest(RUNS, RESULTS, None, "receipt.json")


def test_records_need_no_particular_keys(project):
    folder = write_run(project, "bare")
    write_json(folder / "run.json", {})
    write_text(folder / "metrics.jsonl", '{"step": 5, "loss": 1.0}\n{"step": 10, "lo')
    record = training(folder)
    assert [(point.name, point.step) for point in record.points] == [("loss", 5)]
    assert record.tags["rule"] == "train_unrolled" and "git_commit" not in record.tags
    with pytest.raises(UserError, match="runs/<scale>/<study>/<run>"):
        training(project)


def test_the_ui_gets_its_address_by_the_environment_and_shows_the_charts(project, capsys):
    ingest(RUNS, [], None, "receipt.json")
    number = tracked()[1].experiment_id
    command, environment = ui_command(port=5001)
    assert command[1:4] == ["-m", "mlflow", "ui"] and command[command.index("--workers") + 1] == "1"
    assert environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert environment["MLFLOW_BACKEND_STORE_URI"] == "sqlite:///mlflow.db"
    assert f"http://127.0.0.1:5001/#/experiments/{number}/runs?compareRunsMode=CHART" in capsys.readouterr().out
    assert ui_command("https://anna:s3cr3t@example.org/mlflow") == ([], {})
    told = capsys.readouterr().out
    assert "https://example.org/mlflow/#/" in told and "s3cr3t" not in told
    with pytest.raises(UserError, match=r"absent\.db: nothing is tracked yet"):
        ui_command("sqlite:///absent.db")


def test_public_addresses_hold_no_secrets():
    assert public("sqlite:///mlflow.db") == "sqlite:///mlflow.db"
    assert public("https://a:b@host:80/x?token=c#d") == "https://host:80/x"
    assert public("postgresql+psycopg://a:p@ss/w?rd@host/db") == "postgresql+psycopg://host/db"
