"""The stroke study's page from made-up results: its numbers are those computed by hand, figures show what is there."""

import math
import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from made_up import dpm_plan, fake_dpm_inspection, fake_rows, fake_sweep, workspace

from rekon.config.dpm import SamplerSettings
from rekon.dpm.inspection import write_inspection
from rekon.files import write_json, write_text
from rekon.reporting.comparisons import compare, corrected, holm, signed_rank, smallest_p
from rekon.reporting.figures import grid as fine_tuning
from rekon.reporting.figures import paired
from rekon.reporting.html import study_context
from rekon.reporting.papers import dpm, dpm_facts, paper
from rekon.reporting.papers.dpm_findings import findings
from rekon.reporting.papers.dpm_results import costs, grid, sampling_ways, views_of
from rekon.reporting.parts import claim_context, prints, table_context
from rekon.reporting.scorecard import scorecard
from rekon.reporting.sources import Sources
from rekon.reporting.tables import published_table
from rekon.reporting.views import View

FLAIR, STROKE = "sim-fastmri-flair", "sim-stroke"
SIX = np.array([0.0, 0.01, 0.02, 0.0, 0.03, 0.01])  # what subjects differ by


@pytest.fixture(scope="module")
def plan():
    return dpm_plan()


@pytest.fixture(scope="module")
def sources(tmp_path_factory, plan):
    return workspace(tmp_path_factory.mktemp("stroke"), plan, size=24)


def write(sources: Sources, run: str, nrmse: list[float] | np.ndarray, dataset=FLAIR, rs=(4, 5, 6), **columns) -> None:
    """Scores of a run: NRMSE by subject, the same for both slices and all R."""
    rows = pd.concat(
        [fake_rows(dataset, f"dpm/{run}", len(nrmse), 2, 0.0, True, "random", r).assign(
            nrmse=np.repeat(np.asarray(nrmse, float), 2), **columns) for r in rs]
    )  # fmt: skip
    write_text(sources.result(f"dpm/{run}", dataset), rows.to_csv(index=False))


def said(sources: Sources, beginning: str) -> str:
    """The finding that begins so."""
    return next((text for text in findings(sources, "dpm", {}) if text.startswith(beginning)), "")


# --- comparisons ----------------------------------------------------------------------------------------------------
def test_holm_by_hand():
    # sorted 0.01, 0.03, 0.04 times 3, 2, 1; never smaller than the one before; what was not tested does not count
    np.testing.assert_allclose(holm([0.01, 0.04, math.nan, 0.03]), [0.03, 0.06, math.nan, 0.06])
    assert holm([0.5, 0.6]) == [1.0, 1.0] and holm([]) == []


def test_signed_rank_of_six_subjects_that_agree():
    assert signed_rank(np.arange(1.0, 7)) == pytest.approx(2 / 2**6) == smallest_p(6, 1)
    assert signed_rank(np.zeros(6)) == 1.0
    assert smallest_p(6, 15) == pytest.approx(15 / 32) and smallest_p(3, 15) == 1.0


def test_differences_are_paired_in_the_shown_unit_and_tested_over_subjects(tmp_path, plan):
    made = Sources(plan, tmp_path)
    write(made, "few", 0.12 + SIX)
    write(made, "fine-tuned", 0.10 + SIX - 0.001 * np.arange(6))
    found = compare(made, "dpm", "dpm/few", "dpm/fine-tuned", [View(FLAIR, "R4"), View(FLAIR, "R6")], "nrmse")
    assert found.mean == pytest.approx(2.25) and found.low < 2.25 < found.high and found.subjects == 6
    assert found.p == pytest.approx(2 / 64) and found.views == (View(FLAIR, "R4"), View(FLAIR, "R6"))
    assert [one.adjusted for one in corrected([found, found])] == pytest.approx([4 / 64, 4 / 64])
    assert compare(made, "dpm", "dpm/full", "dpm/fine-tuned", [View(FLAIR, "R4")], "nrmse") is None


def test_fewer_than_six_subjects_are_not_tested(tmp_path, plan):
    made = Sources(plan, tmp_path)
    for run, level in (("few", 0.12), ("fine-tuned", 0.10)):
        write(made, run, level + SIX[:5])
    found = compare(made, "dpm", "dpm/few", "dpm/fine-tuned", [View(FLAIR, "R4")], "nrmse")
    assert math.isnan(found.p) and found.mean == pytest.approx(2)
    drawn = paired.draw(corrected([found]), {"dpm/few": "Few"}, "Ours", "nrmse", FLAIR, tmp_path / "x.svg")
    assert "n = 5 subjects: no test is meaningful with fewer than 6" in drawn.caption
    assert "p =" not in drawn.alt + (tmp_path / "x.svg").read_text()


def test_the_caption_says_what_a_test_cannot_show(sources, tmp_path):
    drawn = dpm._differences(sources, "dpm", ("full", "few", "fine-tuned"), "fine-tuned", tmp_path / "x.svg")
    assert "n = 6 subjects" in drawn.caption and "Holm's correction for the 6 comparisons" in drawn.caption
    assert f"cannot get below p = {paired.number(6 / 32)}" in drawn.caption
    assert "1 All data, R = 4: −" in drawn.alt and "5 Few alone, R = 6: +" in drawn.alt


# --- the grid -------------------------------------------------------------------------------------------------------
def window(made: Sources) -> Sources:
    """At 5e-4 the error falls and rises; at 1e-5 it only falls."""
    levels = {
        "pretrained": 0.14, "fine-tuned": 0.12, "few": 0.15, "tune-5e-4-650": 0.13, "tune-5e-4-1250": 0.11,
        "tune-5e-4-2500": 0.125, "tune-1e-5-1250": 0.118, "tune-1e-5-2500": 0.115,
    }  # fmt: skip
    for run, level in levels.items():
        write(made, run, level + SIX, rs=(4,) if run.startswith("tune") else (4, 5, 6))
    return made


def test_the_grid_has_the_papers_names_and_this_scales_budgets(tmp_path, plan):
    made = grid(window(Sources(plan, tmp_path)), "dpm")
    assert made.view == View(FLAIR, "R4") and len(made.cells) == 12
    assert made.cells["5e-4", 1250].score.mean == pytest.approx(100 * (0.11 + SIX.mean()))
    trained = plan.recipes["dpm", "tune-5e-4-1250"].training
    cell = made.cells["5e-4", 1250]
    assert (cell.rate, cell.length) == (f"{trained.learning_rate:g}", f"{trained.steps} steps")
    assert made.cells["1e-4", 650].recipe is None and made.cells["1e-4", 650].score is None
    assert made.cells["1e-5", 650].recipe is plan.recipes["dpm", "fine-tuned"]
    assert list(made.line("5e-4")) == [0, 650, 1250, 2500] and made.line("1e-4") == {}
    assert made.line("1e-5")[0] == made.start
    drawn = fine_tuning.draw(made, ("1e-5", 650), "here", tmp_path / "grid.svg")
    text = " ".join(ElementTree.parse(tmp_path / "grid.svg").getroot().itertext())
    assert text.count("not run at") == 6 and f"rate {trained.learning_rate:g}" in text
    assert f"{plan.recipes['dpm', 'tune-5e-4-2500'].training.steps} steps" in text
    assert "5e-4 for 1250: 12.17 %" in drawn.alt and "12.17 %" in text


def test_a_window_is_one_where_both_changes_are_clear(tmp_path, plan):
    text = said(window(Sources(plan, tmp_path)), "Fine-tuning grid")
    assert "from 15.17 % before fine-tuning" in text
    assert (
        "at rate 5e-4 there is a window: down to 1250 epochs, then up (1250 against none −3.00 (−3.00 … −3.00), "
        "2500 against 1250 +1.50 (+1.50 … +1.50))" in text
    )
    assert "at rate 1e-5 it still falls at the longest (2500 against none −2.50 (−2.50 … −2.50))" in text
    assert "Lowest: 12.17 % at rate 5e-4, 1250 epochs" in text and "1e-4" not in text


def test_a_rise_within_the_scatter_is_not_called_a_window(tmp_path, plan):
    made = window(Sources(plan, tmp_path))
    write(made, "tune-5e-4-2500", 0.111 + SIX + 0.01 * np.array([1, -1, 1, -1, 1, -1]), rs=(4,))
    assert "a window is not resolved: down to 1250 epochs, then up" in said(Sources(plan, tmp_path), "Fine-tuning")
    for run, level in (("tune-1e-5-1250", 0.15), ("tune-1e-5-2500", 0.16), ("fine-tuned", 0.145)):
        write(made, run, level + SIX)
    text = said(Sources(plan, tmp_path), "Fine-tuning")
    assert "at rate 1e-5 it only rises (2500 against none +2.00 (+2.00 … +2.00))" in text


# --- sentences ------------------------------------------------------------------------------------------------------
def test_methods_are_compared_with_the_papers_over_all_accelerations(tmp_path, plan):
    made = Sources(plan, tmp_path)
    for run, level in {"fine-tuned": 0.10, "few": 0.12, "flair": 0.099, "full": 0.095}.items():
        write(made, run, level + SIX)
    text = said(made, "4 Pre-trained, fine-tuned")
    assert "NRMSE 11.17 / 11.17 / 11.17 % at R = 4, 5, 6" in text and "(6 subjects, 95 %)" in text
    assert (
        "5 Few alone −2.00 (−2.00 … −2.00); 3 All FLAIR +0.10 (+0.10 … +0.10); 1 All data +0.50 (+0.50 … +0.50)" in text
    )
    assert "6 Joint" not in text  # not evaluated


def test_simulated_data_are_named_first_and_nothing_is_said_of_nothing(tmp_path, plan, sources):
    assert findings(Sources(plan, tmp_path), "dpm", {}) == []
    first = findings(sources, "dpm", {})[0]
    assert first.startswith("Simulated here: sim-fastmri-flair and sim-stroke; no image of a patient")


def test_gains_over_zero_filled_are_in_decibels(tmp_path, plan):
    made = Sources(plan, tmp_path)
    for run, psnr in (("zero-filled", 20.0), ("reference-loop", 23.5), ("fine-tuned", 24.25)):
        write(made, run, 0.1 + SIX, psnr=psnr)
    text = said(made, "Over zero-filled at R = 4")
    assert "the published loop +3.50 dB (+3.50 … +3.50); this scale's sampler +4.25 dB (+4.25 … +4.25)." in text


def test_the_fastest_sampler_is_the_fastest_that_is_no_worse(tmp_path, plan):
    made = Sources(plan, tmp_path)
    levels = {"reference-loop": (0.10, 700.0), "fine-tuned": (0.102, 80.0), "dds": (0.099, 110.0),
              "dds-warm": (0.11, 40.0)}  # fmt: skip
    for run, (level, milliseconds) in levels.items():
        write(made, run, level + SIX, milliseconds=milliseconds)
    text = said(made, "The fastest sampler")
    steps = {run: plan.recipes["dpm", run].model["sampler"]["steps"] for run in levels}
    assert "is the one that this scale uses: " in text  # dds-warm is faster, but 1 point worse
    assert f"{steps['fine-tuned']} network evaluations and 80 ms a slice" in text
    assert f"instead of {steps['reference-loop']}, all differentiated, and 700 ms; NRMSE: +0.20 (+0.20 … +0.20)" in text
    for run in ("fine-tuned", "dds"):
        write(made, run, 0.11 + SIX, milliseconds=1.0)
    assert said(Sources(plan, tmp_path), "No sampler is shown to be as good as the published loop")


def test_what_a_slice_costs():
    assert costs(SamplerSettings(method="dps", steps=300)) == (300, 300)
    assert costs(SamplerSettings(method="dps-heun", steps=50)) == (99, 50)
    assert costs(SamplerSettings(method="dds", steps=20, samples=3)) == (60, 0)


def test_ways_of_sampling_start_with_the_published_loop(sources):
    ways = sampling_ways(sources, "dpm")
    assert [one.run for one in ways] == ["reference-loop", "fine-tuned", "dds", "dds-warm"]
    assert ways[0].differentiated == ways[0].evaluations and ways[2].differentiated == 0
    assert ways[0].nrmse.mean == pytest.approx(
        100 * sources.scores("dpm/reference-loop", f"{FLAIR}@R4")["nrmse"].mean()
    )


@pytest.mark.parametrize(("sure", "least", "most"), [(1.0, 60, 76), (3.0, 10, 40)])
def test_calibration_counts_errors_inside_one_standard_deviation(sources, tmp_path, plan, sure, least, most):
    made = Sources(plan, tmp_path)
    found = fake_dpm_inspection(size=48, sure=sure)
    write_inspection(made.inspection("dpm"), found)
    write(made, "fine-tuned", 0.1 + SIX)
    text = said(made, "Of the true errors of a mean of 8 draws")
    one = found.cases[0].posterior
    kept = one.target > 0.05 * one.target.max()
    share = (np.abs(one.mean - one.target) < 0.9945 * one.std * math.sqrt(9 / 8))[kept].mean()
    assert f"{100 * share:.0f} % on {FLAIR} at R = 4" in text and least < 100 * share < most


def test_strokes_are_told_at_their_own_acceleration(tmp_path, plan):
    made = Sources(plan, tmp_path)
    write(made, "fine-tuned", 0.1 + SIX)
    for run, level in (("stroke-tuned", 0.06), ("stroke-few", 0.07)):
        write(made, run, level + SIX, STROKE, (2,))
    text = said(made, "Strokes (sim-stroke) at R = 2")
    assert "NRMSE 7.17 %" in text and "Few alone −1.00 (−1.00 … −1.00)" in text and "rekon reader-study" in text


# --- the page -------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def drawn(sources):
    return {figure.file: figure for figure in dpm.figures(sources, "dpm", {}, sources.root / "figures")}


def test_every_figure_is_drawn_with_words_of_its_own(sources, drawn):
    names = ("methods", "differences", "stroke", "fine-tuning", "samplers", "zeta", "calibration")
    assert set(drawn) == {f"dpm-{name}.svg" for name in names} | {"dpm-posterior.webp", "dpm-priors.webp"}
    for name, figure in drawn.items():
        path = sources.root / "figures" / name
        assert figure.caption and figure.alt and path.stat().st_size > 1000
        if name.endswith(".svg"):
            ElementTree.parse(path)
    assert len({figure.title for figure in drawn.values()}) == len(drawn)


def test_the_methods_are_all_there_and_the_papers_is_bold(sources, drawn):
    text = (sources.root / "figures" / "dpm-methods.svg").read_text()
    for run in ("zero-filled", "l1-wavelet", "e2e-varnet", "full", "pretrained", "flair", "few", "joint"):
        assert sources.title(f"dpm/{run}") in text
    bold = re.findall(r"font-weight: 700[^>]*>([^<]*)<", text)
    assert "4 Pre-trained, fine-tuned" in bold and "5 Few alone" not in bold
    mean = 100 * sources.scores("dpm/few", f"{FLAIR}@R5")["nrmse"].mean()
    assert f"{mean:.2f}" in text and f"5 Few alone {mean:.2f} (" in drawn["dpm-methods.svg"].alt


def test_chosen_weights_are_named_with_their_acceleration(sources, drawn):
    zeta = sources.plan.recipes["dpm", "fine-tuned"].model["sampler"]["tuning"]["zetas"][1]
    caption = drawn["dpm-zeta.svg"].caption
    assert f"4 Pre-trained, fine-tuned: {zeta:g} at R = 4, {zeta:g} at R = 5" in caption
    assert "3 slices of validation subjects" in caption


def test_figures_without_their_input_are_left_out(tmp_path, plan):
    made = Sources(plan, tmp_path)
    assert dpm.figures(made, "dpm", {}, tmp_path) == []
    write_json(made.record("dpm/fine-tuned", "zeta.json"), fake_sweep(plan.recipes["dpm", "fine-tuned"]))
    assert [figure.file for figure in dpm.figures(made, "dpm", {}, tmp_path)] == ["dpm-zeta.svg"]


def test_a_paper_in_words_is_shown_in_words(sources):
    study = sources.studies["dpm"]
    assert not prints(study.published) and prints({"a": {"b": {"c": None}, "d": {"e": 1.0}}})
    numbers = published_table(sources, "dpm", "methods")
    shown = table_context(sources, "dpm", "methods", numbers, paper("dpm").words["methods"])
    titles = [run["title"] for run in shown["runs"]]
    assert titles[-6:] == [sources.title(f"dpm/{run}") for run in dpm.METHODS]  # by the paper's numbers
    assert shown["words"][titles.index("5 Few alone")] == "significantly worse" and shown["wordless"]
    assert {group["view"] for group in shown["groups"]} == {f"{FLAIR}@R{r}" for r in (4, 5, 6)}
    assert not any(cell["paper"] for group in shown["groups"] for _, line in group["lines"] for cell in line)
    for name in paper("dpm").words:
        assert set(paper("dpm").words[name]) <= set(study.runs)
    samplers = table_context(sources, "dpm", "samplers", published_table(sources, "dpm", "samplers"))
    assert samplers["left_out"] == ["DPS, second order"] and samplers["words"] == [] and samplers["wordless"]
    claims = [claim_context(sources, outcome) for outcome in scorecard(sources) if outcome.study == "dpm"]
    assert {claim["paper"] for claim in claims} == {"in words"}
    assert claims[0]["measured"].endswith(" points") and claims[-1]["worse"] == "Standard of care"


def test_rows_of_a_table_are_on_the_sets_its_runs_are_scored_on(sources):
    for table, dataset in (("methods", FLAIR), ("stroke", STROKE)):
        assert set(published_table(sources, "dpm", table)["dataset"]) == {dataset}


def test_tables_stand_in_the_papers_order_with_a_row_of_words(sources, monkeypatch):
    monkeypatch.setattr("rekon.reporting.html.build_figures", lambda *arguments: [])
    context = study_context(sources, "dpm", [], sources.root / "figures")
    assert [table["title"] for table in context["tables"]] == ["Methods", "Fine-tuning", "Samplers", "Stroke"]
    assert context["short"] == "Stroke DPM"


def test_definitions_count_subjects_and_name_what_is_really_taken(sources):
    facts = dict(dpm_facts.methods(sources, "dpm"))
    tuned, longest = (sources.plan.recipes["dpm", run].training.steps for run in ("fine-tuned", "tune-5e-4-2500"))
    assert "1 All data: FLAIR 4, T1 4, T1POST 4, T2 4 (" in facts["Training subjects"]
    said = f"4 Pre-trained, fine-tuned: FLAIR 1 after 2 Pre-trained only ({tuned} steps"
    assert said in facts["Training subjects"]
    assert f"“5e-4, 2500 epochs” is rate 0.01, {longest} steps" in facts["Fine-tuning grid"]
    assert "random lines, R = 4, 5, 6, of which 4 of 32 lines" in facts["Masks"]
    assert "3 slices of 2 validation subjects" in facts["ζ"] and "READINGS.md" in facts["What the paper leaves open"]
    assert "trained on sim-fastmri-brain" in facts["E2EVarNet"] and "96 × 96" in facts["E2EVarNet"]


def test_views_of_runs(sources):
    assert views_of(sources, "dpm", "stroke-tuned") == [View(STROKE, "R2")]
    assert views_of(sources, "dpm", "joint") == [View(FLAIR, f"R{r}") for r in (4, 5, 6)]
    assert views_of(sources, "dpm", "heun") == []
