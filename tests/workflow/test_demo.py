"""What the demo has to reach. Reads the results of `make demo`; skipped where it has not run."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results" / "demo"
RUNGS = ("e2e-varnet", "ue-unet", "ue-vit", "uep-vit", "ueps")

pytestmark = [
    pytest.mark.workflow,
    pytest.mark.skipif(not (ROOT / "reports/index.html").exists() or not RESULTS.exists(), reason="run `make demo`"),
]


def psnr(run: str) -> float:
    import pandas as pd

    return float(pd.read_csv(RESULTS / run / "sim-fastmri-brain.csv")["psnr"].mean())


@pytest.mark.parametrize("rung", RUNGS)
def test_every_learned_rung_beats_zero_filled_by_two_decibels(rung):
    assert psnr(f"ueps/{rung}") >= psnr("classical/zero-filled") + 2.0


def test_the_report_is_one_file_that_needs_no_network():
    page = (ROOT / "reports/index.html").read_text(encoding="utf-8")
    assert len(page) < 3 * 2**20
    assert "sim-fastmri-brain" in page and "Table 2" in page
    for needle in ('src="http', "src='http", 'href="http://fonts', "<link rel", "@import"):
        assert needle not in page


# --- NAS -------------------------------------------------------------------------------------------------------------
INSIDE = RESULTS / "nas" / "inspect.npz"
chain = pytest.mark.skipif(not INSIDE.exists(), reason="the demo's NAS chain has not run")


def inside():
    from rekon.nas.inspection import read_inspection

    return read_inspection(INSIDE)


def last_validation(run: str) -> dict:
    import json

    lines = (ROOT / f"runs/demo/nas/{run}/metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if "val_loss" in row][-1]


@chain
def test_the_tokenizer_reconstructs_far_better_than_zero_filled():
    """The aim is 6 dB. Seeds, and so machines whose arithmetic differs, lie up to 1.5 dB apart after so few steps."""
    ceiling = inside().ceiling
    assert ceiling.tokenizer.mean() >= ceiling.zero_filled.mean() + 4.5
    last = last_validation("aqvae")
    assert last["val_psnr"] >= last["val_psnr_zero_filled"] + 5


@chain
def test_tokens_are_predicted_better_than_by_chance_or_habit():
    accuracy = inside().accuracy
    forced = accuracy.forced[list(accuracy.runs).index("base")].mean()
    assert forced >= 5 * accuracy.chance and forced > accuracy.frequent.mean()


@chain
def test_the_teacher_predicts_better_than_the_base_model():
    assert last_validation("teacher")["val_loss"] < last_validation("base")["val_loss"]


@chain
def test_distillation_brings_the_student_closer_to_the_teacher():
    kl = dict(zip(inside().divergence.runs, inside().divergence.kl.mean(axis=1), strict=True))
    assert kl["distilled"] < kl["base"]


@chain
def test_absent_backbones_leave_empty_cells_with_the_reason():
    import pandas as pd

    rows = pd.read_csv(RESULTS / "nas/distilled/sim-fastmri-brain.csv")
    assert rows[["lpips_alex", "lpips_vgg", "dists"]].isna().all(axis=None)
    assert rows["perceptual_reason"].notna().all() and (rows["note"] == "untrained-backbone").all()
    assert set(rows["pattern"]) == {"es-x", "es-y", "gaussian", "radial"} and set(rows["acceleration"]) == {32}


# --- MoRE ------------------------------------------------------------------------------------------------------------
EXPERTS = RESULTS / "more"
mixed = pytest.mark.skipif(not (EXPERTS / "more").exists(), reason="the demo's experts have not run")


@mixed
@pytest.mark.parametrize("run", ["more", "e2e-varnet"])
def test_experts_and_the_dense_network_beat_zero_filled_by_two_decibels(run):
    import pandas as pd

    rows = {name: pd.read_csv(EXPERTS / name / "sim-fastmri-seven.csv") for name in ("zero-filled", run)}
    assert rows[run]["psnr"].mean() >= rows["zero-filled"]["psnr"].mean() + 2
    assert set(rows[run]["contrast"]) == {
        "AXFLAIR", "AXT1", "AXT1POST", "AXT1PRE", "AXT2", "CORPDFS_FBK", "CORPD_FBK",
    }  # fmt: skip


# --- stroke DPM ------------------------------------------------------------------------------------------------------
PRIOR = RESULTS / "dpm"
sampled = pytest.mark.skipif(not (PRIOR / "fine-tuned").exists(), reason="the demo's priors have not run")


def at(run: str, r: int, metric: str = "psnr", dataset: str = "sim-fastmri-flair") -> float:
    import pandas as pd

    rows = pd.read_csv(PRIOR / run / f"{dataset}.csv")
    return float(rows[rows["acceleration"] == r][metric].mean())


@sampled
@pytest.mark.parametrize("run", ["fine-tuned", "reference-loop"])
def test_posterior_sampling_beats_zero_filled_by_two_decibels(run):
    """The paper's method with the demo's sampler, and with the published loop."""
    assert at(run, 4) >= at("zero-filled", 4) + 2


@sampled
def test_every_row_of_the_stroke_study_is_scored_at_its_accelerations():
    assert all(at(run, r) > 0 for run in ("fine-tuned", "few", "joint", "full", "sense") for r in (4, 5, 6))
    assert at("stroke-tuned", 2, dataset="sim-stroke") > at("stroke-zero-filled", 2, dataset="sim-stroke")
