"""Views: parts of a set by pattern and contrast, in tables, the scorecard, panels and the page."""

import json

import numpy as np
import pandas as pd
import pytest
from made_up import ABSENT, dpm_plan, fake_panel, level, small_plan, workspace

from rekon.errors import UserError
from rekon.evaluation.panel import read_panels, write_panels
from rekon.evaluation.statistics import paired, summarise
from rekon.reporting import html
from rekon.reporting.html import build_report
from rekon.reporting.papers import paper
from rekon.reporting.scorecard import scorecard
from rekon.reporting.sources import Sources
from rekon.reporting.tables import cells, others_of, published_table, runs_of, tables_of
from rekon.reporting.views import View

SET = "sim-fastmri-brain"
T1 = f"{SET}@es-x/T1"


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return workspace(tmp_path_factory.mktemp("views"), small_plan(), slices=2, size=16)


@pytest.mark.parametrize("text", ["set", "set@es-x", "set@es-x/T1", "sim-a.b_c@gaussian/FLAIR"])
def test_views_are_read_as_they_are_written(text):
    assert str(View.parse(text)) == text


@pytest.mark.parametrize("text", ["", "set/T1", "@es-x", "set@", "set@es-x/", "set@a@b", "a set"])
def test_anything_else_is_refused(text):
    with pytest.raises(UserError, match="set@pattern/group"):
        View.parse(text)


def test_parts_have_words_and_know_what_they_are_part_of():
    assert [View.parse(text).part for text in ("a", "a@es-x", "a@es-x/T1", "a@spiral")] == [
        "", "ES Cartesian-X", "ES Cartesian-X, T1", "spiral",
    ]  # fmt: skip
    whole, part = View("a", "es-x"), View("a", "es-x", "T1")
    assert part.within(whole) and part.within(part) and not whole.within(part)
    assert not part.within(View("a", "radial")) and not part.within(whole.on("b"))


def test_rows_of_a_view_are_those_of_its_pattern_and_contrasts(sources):
    rows = sources.scores("nas/base", T1)
    assert set(rows["pattern"]) == {"es-x"} and set(rows["contrast"]) == {"AXT1", "AXT1POST"}
    assert len(sources.scores("nas/base", SET)) == 2 * len(sources.scores("nas/base", f"{SET}@es-x"))
    with pytest.raises(UserError, match="'PD' is not one of"):
        sources.scores("nas/base", f"{SET}@es-x/PD")


def test_of_several_accelerations_a_pattern_shows_the_highest():
    rows = pd.DataFrame({"pattern": ["es-x"] * 3, "acceleration": [8, 32, 32], "contrast": ["a", "a", "b"]})
    assert View("s", "es-x", "A").select(rows, {"A": ("a",)}).index.tolist() == [1]


def test_an_acceleration_stands_in_the_place_of_a_pattern(tmp_path):
    rows = pd.DataFrame({"pattern": ["random"] * 3, "acceleration": [4, 4, 6], "contrast": ["a", "b", "a"]})
    view = View.parse("s@R4")
    assert (view.acceleration, view.part, str(view)) == (4, "R = 4", "s@R4")
    assert view.select(rows, {}).index.tolist() == [0, 1]
    assert View("s", "R4", "A").select(rows, {"A": ("a",)}).index.tolist() == [0]
    assert View("s", "radial").acceleration is None and View("s").acceleration is None
    made = Sources(dpm_plan(), tmp_path)
    shown = {f"random-R{r}": fake_panel("x", f"dpm/{r}", 16) for r in (4, 5, 6)}
    write_panels(made.result("dpm/few", "sim-fastmri-flair", ".npz"), shown)
    for r in (4, 6):
        found = made.panel("dpm/few", f"sim-fastmri-flair@R{r}")
        np.testing.assert_array_equal(found.reconstruction, shown[f"random-R{r}"].reconstruction)
    assert made.panel("dpm/few", "sim-fastmri-flair@R8") is None
    views = [str(one) for one in made.pictured("dpm")]
    assert views == [f"sim-fastmri-flair@R{r}" for r in (4, 5, 6)] + ["sim-stroke@R2"]


def test_panels_are_those_of_the_pattern(sources, tmp_path):
    stored = read_panels(sources.result("nas/base", SET, ".npz"))
    made = Sources(sources.plan, tmp_path)
    few = {"es-x-R8": stored["radial-R32"], "es-x-R32": stored["es-x-R32"]}
    write_panels(made.result("nas/base", SET, ".npz"), few)
    shown = made.panel("nas/base", f"{SET}@es-x").reconstruction
    np.testing.assert_array_equal(shown, stored["es-x-R32"].reconstruction)
    assert made.panel("nas/base", f"{SET}@radial") is None
    assert sources.pictured("nas") == [View(SET, "es-x"), View(SET, "radial")]


def test_a_table_has_the_papers_views_on_our_set_and_its_columns(sources):
    table = published_table(sources, "nas", "table1")
    assert list(table["view"].unique()) == [T1, f"{SET}@es-x/T2"]
    assert list(table["run"].unique()) == ["nas/zero-filled", "nas/mambarecon", "nas/distilled"]
    assert list(table["metric"].unique()) == ["psnr", "nmse", "lpips_alex", "milliseconds"]
    row = cells(table)[T1, "psnr", "nas/distilled"]
    assert row["mean"] == pytest.approx(sources.scores("nas/distilled", T1)["psnr"].mean())
    assert (row["paper"], row["stands_for"], row["pattern"], row["contrast"]) == (24.61, "fastmri-brain", "es-x", "T1")
    assert runs_of(sources, "nas", "table5") == ["nas/base", "nas/distilled"]
    assert runs_of(sources, "nas", "runtime") == ["nas/zero-filled", "nas/mambarecon", "nas/distilled"]
    assert others_of(sources, "nas") == []


def test_tables_and_columns_have_an_order_that_survives_json(sources):
    document = json.loads(json.dumps(sources.plan.document(), sort_keys=True))
    document["studies"]["nas"]["published"] |= {"supp-table1": {}, "table12": {}}
    made = Sources(type(sources.plan).from_document(document, "test"), sources.root)
    assert tables_of(made, "nas") == ["table1", "table5", "table12", "supp-table1", "runtime"]
    assert runs_of(made, "nas", "table1") == ["nas/zero-filled", "nas/mambarecon", "nas/distilled"]


def test_methods_that_are_not_run_keep_the_papers_numbers_and_say_why(sources):
    row = cells(published_table(sources, "nas", "table1"))[T1, "psnr", "nas/mambarecon"]
    assert row["paper"] == 24.09 and np.isnan(row["mean"]) and row["slices"] == 0
    assert row["reason"] == "not run: no implementation here" and row["title"] == "MambaRecon"


def test_metrics_without_their_network_are_empty_with_the_reason(sources):
    row = cells(published_table(sources, "nas", "table1"))[T1, "lpips_alex", "nas/distilled"]
    assert np.isnan(row["mean"]) and row["paper"] == 0.16 and row["reason"] == ABSENT


def test_patterns_that_a_scale_does_not_score_are_empty(sources):
    found = cells(published_table(sources, "nas", "table5"))
    row = found[f"{SET}@gaussian/T1", "psnr", "nas/base"]
    assert np.isnan(row["mean"]) and row["paper"] == 27.0 and row["reason"]


def test_names_without_a_run_are_refused(sources):
    document = sources.plan.document()
    document["studies"]["nas"]["published"]["table1"] = {f"{SET}@es-x": {"psnr": {"mamba": 1.0}}}
    made = Sources(type(sources.plan).from_document(document, "test"), sources.root)
    with pytest.raises(UserError, match=r"nas\.yaml: table1 has numbers of 'mamba'"):
        runs_of(made, "nas", "table1")


def test_a_claim_on_a_pattern_meets_the_mean_of_the_papers_contrasts(sources):
    first = scorecard(sources)[0]
    assert first.datasets == (f"{SET}@es-x",) and first.overall.paper == pytest.approx((0.5 + 1.0) / 2)
    both = [sources.scores(f"nas/{run}", f"{SET}@es-x") for run in ("distilled", "base")]
    assert first.overall.mean == pytest.approx(summarise(paired(*both, "psnr"), "psnr").mean)


def test_a_claim_on_several_patterns_counts_each_subject_once(sources):
    second = scorecard(sources)[1]
    both = [sources.scores(f"nas/{run}", SET) for run in ("distilled", "base")]
    expected = summarise(paired(*both, "psnr"), "psnr")
    assert (second.overall.mean, second.overall.low) == pytest.approx((expected.mean, expected.low))
    assert second.overall.subjects == sources.plan.scale.datasets[SET].test
    assert second.overall.slices == sum(part.slices for part in second.each)
    assert [part.dataset for part in second.each] == [f"{SET}@es-x", f"{SET}@radial"]
    assert second.overall.paper == pytest.approx((0.75 + 0.5) / 2) and second.patterned


def test_what_could_not_be_measured_says_why(sources):
    third, fourth = scorecard(sources)[2:]
    assert third.verdict == "not measured" and third.why == ABSENT and third.paper is None
    assert "does not run nas/forward-kl" in fourth.why


def test_the_page_of_a_study_with_patterns(sources, tmp_path, monkeypatch):
    monkeypatch.setattr(html, "build_figures", lambda *arguments: [])
    text = build_report(sources, tmp_path).read_text()
    assert "ES Cartesian-X, T1" in text and "not run: no implementation here" in text
    assert f"LPIPS (Alex) is empty: {ABSENT.replace(chr(39), '&#39;')}" in text
    assert "R = 32, exactly 128 of 4096 samples" in text and "2 of 64 rows" in text
    assert "leaks the image" in text and "READINGS.md" in text
    assert text.count('class="shot"') == 2 * 4  # per pattern: reference, zero-filled, base, distilled
    assert "ladder" not in text and "ESPIRiT-SENSE" not in text


def test_findings_say_what_distillation_changed_here_and_in_the_paper(sources):
    found = " ".join(paper("nas").findings(sources, "nas", {}))
    change = level("nas/distilled") - level("nas/base")
    assert f"Distillation changes PSNR by +{change:.1f}" in found and "in the paper by +0.55 dB" in found
    assert "were not computed here" in found and "0.244 s on an RTX A5000" in found
