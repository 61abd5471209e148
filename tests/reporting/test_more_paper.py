"""The mixture-of-experts page from made-up results: its numbers are those computed by hand."""

import itertools
import json
import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from made_up import fake_more_inspection, more_plan, workspace

from rekon.files import write_json, write_text
from rekon.more.inspection import Inspection, write_inspection
from rekon.reporting.figures import routing, sizes
from rekon.reporting.html import study_context
from rekon.reporting.papers import more, paper
from rekon.reporting.scorecard import scorecard
from rekon.reporting.sources import Sources
from rekon.reporting.tables import published_table
from rekon.reporting.views import View

SET = "sim-fastmri-seven"
PAIRS = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1], [1, 0, 0, 1]], bool)  # of four experts, all used alike


@pytest.fixture(scope="module")
def plan():
    return more_plan()


@pytest.fixture(scope="module")
def sources(tmp_path_factory, plan):
    return workspace(tmp_path_factory.mktemp("experts"), plan, size=24)


def said(sources: Sources, beginning: str) -> str:
    """The finding that begins so."""
    return next((text for text in more.findings(sources, "more", {}) if text.startswith(beginning)), "")


def inspected(folder, plan, **changes) -> Sources:
    """Sources that hold nothing but an inspection."""
    made, found = Sources(plan, folder), fake_more_inspection(plan)
    routing = replace(found.routing, **changes) if changes else found.routing
    write_inspection(made.inspection("more"), Inspection(found.sizes, routing, found.points_S2))
    return made


# --- tables and claims ----------------------------------------------------------------------------------------------
def test_table_one_stands_beside_the_paper_s_by_modality(sources):
    table = published_table(sources, "more", "table1").set_index(["view", "metric", "run"])
    row = table.loc[(f"{SET}@R8/knee-fs", "psnr", "more/more")]
    assert (row["paper"], row["stands_for"], row["simulated"]) == (35.34, "fastmri-seven", True)
    rows = sources.scores("more/more", View(SET, "R8", "knee-fs"))
    assert set(rows["contrast"]) == {"CORPDFS_FBK"} and row["mean"] == pytest.approx(rows["psnr"].mean())
    views = dict.fromkeys(view for view, _, _ in table.index)
    assert len(views) == 7 and all(view.startswith(f"{SET}@R8/") for view in views)


def test_claims_are_tested_over_all_modalities(sources):
    outcomes = {one.claim.text: one for one in scorecard(sources) if one.study == "more"}
    first = next(iter(outcomes.values()))
    assert (first.claim.better, first.claim.worse) == ("more", "e2e-varnet")
    assert first.overall.subjects == sources.scores("more/more", SET)["subject"].nunique()
    assert first.paper == pytest.approx(np.mean([0.45, 0.95, 0.91, 0.49, 0.43, 0.81, 0.97]))
    absent = next(one for text, one in outcomes.items() if "cache" in text)
    assert absent.verdict == "not measured" and "does not run more/no-cache" in absent.why


def test_gains_over_zero_filled_are_differences_of_means(sources):
    mean = {run: sources.scores(f"more/{run}", View(SET, "R8"))["psnr"].mean() for run in ("zero-filled", "more")}
    assert f"MoRE +{mean['more'] - mean['zero-filled']:.2f} dB" in said(sources, "Over zero-filled")
    assert "in the paper +0.72 dB" in said(sources, "Experts against one decoder")


# --- routing --------------------------------------------------------------------------------------------------------
def test_specialisation_is_told_with_what_chance_would_give(tmp_path, plan):
    routing = fake_more_inspection(plan).routing
    text = said(inspected(tmp_path, plan), "Specialisation of MoRE")
    assert f"{routing.information_R.mean():.2f} ({routing.chance_R.mean():.2f} by chance" in text


def test_a_collapsed_run_is_flagged_in_words_and_in_the_picture(tmp_path, plan):
    one_does_everything = np.zeros((35, 2, 4), np.float32) + np.array([0.4, 0.3, 0.2, 0.1], np.float32)
    chosen = np.zeros((35, 2, 4), bool)
    chosen[..., :2] = True
    made = inspected(tmp_path, plan, gates_SRN=one_does_everything, chosen_SRN=chosen)
    trained(made, kept=20, flags={10: 0, 20: 2})
    assert (
        "MoRE (at the kept weights, step 20, 2 of its routers, largest share 70 %; on test slices, 2 of 2 routers)"
        in (said(made, "COLLAPSED"))
    )
    figure = next(one for one in more.figures(made, "more", {}, tmp_path) if one.file == "more-usage.svg")
    assert "Collapsed, more than 90 % of all samples to one expert: cascade 1, 2 of 2" in figure.caption
    assert (tmp_path / figure.file).read_text().count(">collapsed<") == 2


def trained(made: Sources, kept: int | None, flags: dict[int, int]) -> Sources:
    """Leave what a training leaves. flags: step of a validation -> how many routers had collapsed."""
    rows = [
        {"step": step, "val_nmi": 0.3, "val_collapsed": float(flag > 0), "val_collapsed_routers": float(flag),
         "val_largest_share": 0.7}
        for step, flag in flags.items()
    ]  # fmt: skip
    write_text(made.record("more/more", "metrics.jsonl"), "\n".join(map(json.dumps, rows)) + "\n")
    if kept is not None:
        write_json(made.record("more/more", "run.json"), {"best": {"step": kept, "val_loss": 0.1}})
    return made


@pytest.mark.parametrize(
    ("kept", "flags", "told"),
    [
        (20, {10: 1, 20: 0, 30: 0}, ""),  # recovered, and was kept then
        (30, {10: 1, 20: 1, 30: 0}, ""),
        (10, {10: 1, 20: 0, 30: 0}, "at the kept weights, step 10, 1 of its routers"),  # recovered too late
        (20, {10: 0, 20: 0, 30: 2}, "at the last validation, step 30, 2 of its routers"),
        (None, {10: 1, 20: 0}, ""),  # goes on: nothing is kept for good
        (None, {10: 0, 20: 1}, "at the last validation, step 20, 1 of its routers"),
    ],
)
def test_a_run_is_flagged_for_the_weights_that_are_scored_and_for_its_end(tmp_path, plan, kept, flags, told):
    text = said(trained(Sources(plan, tmp_path), kept, flags), "COLLAPSED")
    assert told in text and bool(told) == bool(text)


def test_a_run_that_has_collapsed_on_the_test_set_alone_is_flagged(tmp_path, plan):
    chosen = np.zeros((35, 2, 4), bool)
    chosen[:, 0, :2] = True
    chosen[:, 1] = PAIRS[np.arange(35) % 4]
    text = said(trained(inspected(tmp_path, plan, chosen_SRN=chosen), 10, {10: 0}), "COLLAPSED")
    assert "MoRE (on test slices, 1 of 2 routers)" in text


# --- the page -------------------------------------------------------------------------------------------------------
def test_figures_are_well_formed_complete_and_say_what_they_show(sources, tmp_path):
    figures = {one.file: one for one in more.figures(sources, "more", {}, tmp_path)}
    assert set(figures) == {"more-sizes.svg", "more-usage.svg", "more-embedding.svg", "more-routing.svg"}
    for name, figure in figures.items():
        text = (tmp_path / name).read_text()
        ElementTree.fromstring(text)
        assert figure.caption and figure.alt and "nan" not in (figure.caption + figure.alt).lower()
    usage = (tmp_path / "more-usage.svg").read_text()
    assert all(f">{name}<" in usage for name in ("AXFLAIR", "knee-fs", "cascade 1", "cascade 2"))
    embedding = (tmp_path / "more-embedding.svg").read_text()
    assert all(f">{name}<" in embedding for name in ("AXT1PRE", "by modality", "by experts of cascade 2"))
    told = figures["more-routing.svg"].caption
    assert "as a set, with the modality; dotted: what chance makes of it" in told
    assert "MoRE: 0 collapsed, mutual information 0.50 (0.10 by chance)" in told
    again = tmp_path / "again"
    again.mkdir()
    more.figures(sources, "more", {}, again)
    assert (again / "more-usage.svg").read_text() == usage


def test_twelve_cascades_have_room(tmp_path, plan):
    rng = np.random.default_rng(0)
    gates = rng.dirichlet(np.ones(7), (35, 12)).astype(np.float32)
    chosen = gates >= np.sort(gates, axis=2)[..., -2:-1]
    made = inspected(
        tmp_path, plan, gates_SRN=gates, chosen_SRN=chosen, embedding_SRE=np.zeros((35, 12, 3), np.float32)
    )
    figure = next(one for one in more.figures(made, "more", {}, tmp_path) if one.file == "more-usage.svg")
    assert "No router sends more than 90 %" in figure.caption
    rows = written(tmp_path / figure.file)
    assert sorted(len(row) for row in rows.values() if len(row) > 1) == [12, 84], "cascades above, experts below"
    for row in rows.values():
        assert all(end < start for (_, end), (start, _) in itertools.pairwise(sorted(row)))


def written(path) -> dict[str, list[tuple[float, float]]]:
    """Extents (from, to) of the upright, centred words of an SVG, by their height; digits are 0.64 em wide."""
    rows: dict[str, list[tuple[float, float]]] = {}
    for word in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text"):
        size = float(re.search(r"font-size: ([\d.]+)px", word.get("style"))[1])
        if "text-anchor: middle" in word.get("style") and word.get("transform").startswith("rotate(-0 "):
            middle, half = float(word.get("x")), 0.32 * size * len(word.text)
            rows.setdefault(word.get("y"), []).append((middle - half, middle + half))
    return rows


def test_every_pair_of_experts_has_a_sign_of_its_own(tmp_path, plan):
    """Seven experts, two for each sample: 21 pairs, more than there are colours."""
    pairs = np.array(list(itertools.combinations(range(7), 2)))
    chosen = np.zeros((35, 1, 7), bool)
    np.put_along_axis(chosen[:, 0], pairs[np.arange(35) % 21], True, axis=1)
    gates = np.where(chosen, 0.3, 0.08).astype(np.float32)
    made = inspected(tmp_path, plan, gates_SRN=gates, chosen_SRN=chosen, embedding_SRE=np.zeros((35, 1, 3), np.float32))
    more.figures(made, "more", {}, tmp_path)
    text = (tmp_path / "more-embedding.svg").read_text()
    assert all(f">experts {one + 1} + {other + 1}<" in text for one, other in pairs)
    signs = [routing.mark(index, routing.COLOURS, routing.SHAPES) for index in range(49)]
    assert len(set(signs)) == 49 and len(set(signs[:7])) == len({colour for colour, _ in signs[:7]}) == 7


def test_nothing_is_drawn_or_said_without_results(tmp_path, plan):
    made = Sources(plan, tmp_path)
    assert more.figures(made, "more", {}, tmp_path) == [] and more.findings(made, "more", {}) == []
    assert dict(more.methods(made, "more"))["Collapse"]


def test_the_page_of_the_study(sources, tmp_path):
    context = study_context(sources, "more", scorecard(sources), tmp_path)
    assert context["short"] == "MoRE" and [table["title"] for table in context["tables"]] == ["Table 1"]
    assert context["strips"] and context["findings"]
    assert {one["file"] for one in context["figures"]["inside"]} == {"more-usage.svg", "more-embedding.svg"}
    facts = dict(context["methods"])
    assert "4 experts each, 2 per sample" in facts["Router"] and "READINGS.md" in facts["What the paper leaves open"]
    assert paper("more") is more.PAPER


def test_costs_are_told_with_sizes_and_times(sources):
    time = sources.scores("more/more", View(SET, "R8"))["milliseconds"].mean()
    assert f"MoRE 135 000 parameters, 91 000 active, {time:.3g} ms a slice" in said(sources, "Cost")


@pytest.mark.parametrize(
    ("largest", "unit", "bars"), [(8_257_370, "millions", "8.257"), (999_999, "thousands", "1000")]
)
def test_sizes_stand_in_millions_or_thousands(tmp_path, largest, unit, bars):
    networks = [sizes.Network("one", largest, 91_000, None), sizes.Network("other", 135_000, 135_000, None)]
    figure = sizes.draw(networks, "a CPU", tmp_path / "sizes.svg")
    text = (tmp_path / "sizes.svg").read_text()
    assert f">parameters ({unit})<" in text and f"one: {largest:,} parameters".replace(",", " ") in figure.alt
    assert max(float(tick) for tick in re.findall(r">([\d.]+)</text>", text)) <= float(bars)


def test_the_routing_of_every_arm_with_as_many_experts_is_drawn(plan):
    study = plan.studies["more"]
    arms = {run for run, one in study.runs.items() if one.like == "more" and set(one.delta["model"]) == {"router"}}
    assert set(more.ROUTERS) == {"more", *arms}
