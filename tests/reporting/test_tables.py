"""Tables from made-up results: values, the paper's beside them, reasons for what is missing."""

import numpy as np
import pandas as pd
import pytest
from made_up import LEVEL, demo_plan, workspace

from rekon.errors import UserError
from rekon.reporting.metrics import METRICS
from rekon.reporting.sources import AVERAGE, Sources, read_scores
from rekon.reporting.tables import build_run_table, build_tables, cells, published_table


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return workspace(tmp_path_factory.mktemp("tables"), demo_plan(), size=16)


def test_means_are_those_of_the_rows_and_the_paper_stands_beside(sources):
    found = cells(published_table(sources, "ueps", "table2"))
    row = found["sim-m4raw-gre", "ssim", "ueps/ueps"]
    rows = sources.scores("ueps/ueps", "sim-m4raw-gre")
    assert row["mean"] == pytest.approx(100 * rows["ssim"].mean()) and row["std"] == pytest.approx(
        100 * rows["ssim"].std(ddof=0)
    )
    assert (row["paper"], row["paper_std"], row["stands_for"]) == (91.94, 1.51, "m4raw-gre")
    assert (
        row["low"] < row["mean"] < row["high"]
        and row["subjects"] == sources.plan.scale.datasets["sim-m4raw-gre"].test
        and row["scale"] == "demo"
    )
    assert row["simulated"] is True and row["reason"] == ""


def test_the_average_is_over_zero_shot_sets_alone(sources):
    found = cells(published_table(sources, "ueps", "table2"))
    means = [found[name, "psnr", "ueps/ueps"]["mean"] for name in sources.plan.scale.evaluation.ood]
    assert found[AVERAGE, "psnr", "ueps/ueps"]["mean"] == pytest.approx(np.mean(means))
    assert found[AVERAGE, "psnr", "ueps/ueps"]["paper"] == 38.13


def test_columns_start_with_the_rows_without_training(sources):
    table = published_table(sources, "ueps", "table2")
    assert list(table["run"].unique()) == [run for run in LEVEL if run.startswith(("classical/", "ueps/"))]
    assert np.isnan(cells(table)[AVERAGE, "psnr", "classical/sense"]["paper"])


def test_sets_of_the_paper_that_the_scale_lacks_are_shown_as_not_evaluated(tmp_path):
    sources = Sources(demo_plan("open"), tmp_path)
    row = cells(published_table(sources, "ueps", "table2"))["ahead-e3", "psnr", "ueps/ueps"]
    assert row["paper"] == 37.86 and np.isnan(row["mean"]) and row["reason"] == "not evaluated at this scale"
    assert row["distribution"] == "only in the paper"


def test_sets_without_a_reference_carry_the_reason(tmp_path):
    sources = workspace(tmp_path, demo_plan("open"), subjects=2, size=16)
    found = cells(published_table(sources, "ueps", "table2"))
    row = found["brain-8ch-poisson", "psnr", "ueps/ueps"]
    assert np.isnan(row["mean"]) and row["reason"].startswith("no reference")
    assert found["brain-8ch-poisson", "milliseconds", "ueps/ueps"]["mean"] > 0


def test_files_are_those_that_the_plan_names_and_equal_input_gives_equal_bytes(sources, tmp_path):
    for study in sources.studies:
        first, second = (build_tables(sources, study, tmp_path / name) for name in ("a", "b"))
        assert {path.name for path in first} == set(sources.plan.tables(study))
        assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    runs = pd.read_csv(build_run_table(sources, tmp_path / "runs.csv")).set_index("run")
    assert runs.loc["ueps/ueps", "git.commit"].startswith("0123") and runs.loc["ueps/ue-unet", "git.dirty"]


def test_damaged_scores_are_named(tmp_path):
    (tmp_path / "x.csv").write_text("dataset,volume\na,b\n")
    with pytest.raises(UserError, match=r"x\.csv.*'subject'"):
        read_scores(tmp_path / "x.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(UserError, match=r"empty\.csv"):
        read_scores(tmp_path / "empty.csv")


def test_versioned_files_cover_volumes_maps_masks_and_weights(sources):
    files, plan = sources.versioned(), sources.plan
    assert "demo/ueps/ueps.safetensors" in files["weights"] and len(files["weights"]) == len(plan.trained())
    assert {name for name in files["data"] if name.startswith("masks/")} == {
        path.removeprefix("data/") for path in plan.masks
    }
    maps = [name for name in files["data"] if name.startswith("maps/")]
    assert len(maps) == len(set(maps)) == sum(len(plan.volumes(*split)) for split in plan.mapped)
    tested = {dataset for study in sources.studies for dataset in sources.datasets(study)} & {
        dataset for dataset, split in plan.mapped if split == "test"
    }  # a joined set's volumes, and so their maps, are its parts'
    assert len(tested) > 10
    assert all(any(name.startswith(f"maps/{dataset}/test/") for name in maps) for dataset in tested)


NUMBERS = [(None, "–"), (float("nan"), "–"), (float("inf"), "∞"), (-0.001, "0.00"), (1.005, "+1.00"), (-2.0, "−2.00")]


@pytest.mark.parametrize(("value", "text"), NUMBERS)
def test_numbers_as_text(value, text):
    assert METRICS["psnr"].text(value, sign=True) == text
