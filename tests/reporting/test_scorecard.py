"""Verdicts follow from the interval, whatever the numbers are."""

import math

import pandas as pd
import pytest
from made_up import demo_plan, fake_rows

from rekon.config.study import Claim
from rekon.errors import UserError
from rekon.files import write_text
from rekon.reporting.scorecard import build_scorecard, claim_views, counts, judge
from rekon.reporting.sources import Sources
from rekon.reporting.views import View

ID = "sim-fastmri-brain"


@pytest.fixture(scope="module")
def made():
    return demo_plan()


def claim(**changes) -> Claim:
    base = {"text": "x", "source": "Table 2", "better": "ueps", "worse": "ue-vit", "datasets": "id"}
    return Claim(**base | changes)


def write(sources: Sources, run: str, dataset: str, **columns) -> None:
    """Scores with given values per slice; 8 subjects with two slices unless the lists say otherwise."""
    length = len(next(iter(columns.values())))
    rows = fake_rows(dataset, "ueps/ueps", math.ceil(length / 2), 2, 0.0).head(length).assign(**columns)
    write_text(sources.result(run, dataset), rows.to_csv(index=False))


def two_runs(tmp_path, made, better: list[float], worse: list[float], metric="psnr", dataset=ID) -> Sources:
    sources = Sources(made, tmp_path)
    write(sources, "ueps/ueps", dataset, **{metric: better})
    write(sources, "ueps/ue-vit", dataset, **{metric: worse})
    return sources


def rising(step: float, n: int = 16) -> list[float]:
    return [30 + index % 5 + step + 0.01 * (index % 3) for index in range(n)]


@pytest.mark.parametrize(
    ("gain", "margin", "verdict"),
    [(1.0, 0.0, "holds"), (-1.0, 0.0, "does not hold"), (1.0, 2.0, "does not hold"), (1.0, 1.005, "inconclusive")],
)
def test_verdict_and_margin(tmp_path, made, gain, margin, verdict):
    worse = [value - gain + 0.02 * (index % 2) for index, value in enumerate(rising(0))]
    worse = [value - 0.02 * (index // 2 % 2) for index, value in enumerate(worse)]
    outcome = judge(two_runs(tmp_path, made, rising(0), worse), "ueps", claim(margin=margin))
    assert outcome.verdict == verdict
    assert outcome.overall.low <= outcome.overall.mean <= outcome.overall.high


@pytest.mark.parametrize(("gain", "verdict"), [(-0.3, "holds"), (-0.8, "does not hold"), (0.3, "holds")])
def test_no_worse_is_judged_against_the_loss_that_is_tolerated(tmp_path, made, gain, verdict):
    worse = [value - gain + 0.02 * (index // 2 % 2) for index, value in enumerate(rising(0))]
    tolerant = claim(relation="not worse", margin=0.5)
    assert tolerant.threshold == -0.5
    assert judge(two_runs(tmp_path, made, rising(0), worse), "ueps", tolerant).verdict == verdict


def test_scatter_around_zero_is_inconclusive(tmp_path, made):
    worse = [value + (1 if index // 2 % 2 else -1) for index, value in enumerate(rising(0))]
    assert judge(two_runs(tmp_path, made, rising(0), worse), "ueps", claim()).verdict == "inconclusive"


def test_few_subjects_cannot_decide(tmp_path, made):
    outcome = judge(two_runs(tmp_path, made, rising(5, 10), rising(0, 10)), "ueps", claim())
    assert outcome.verdict == "inconclusive" and "5 subjects" in outcome.why


@pytest.mark.parametrize("metric", ["milliseconds", "nmse"])
def test_less_is_better_for_time_and_error(tmp_path, made, metric):
    sources = two_runs(tmp_path, made, [1.0] * 16, [3.0] * 16, metric)
    outcome = judge(sources, "ueps", claim(metric=metric))
    assert outcome.verdict == "holds" and outcome.overall.mean == pytest.approx(2 * outcome.shown.factor)


def test_an_average_needs_every_set_to_have_an_interval(tmp_path, made):
    sources = two_runs(tmp_path, made, rising(1), rising(0))
    write(sources, "ueps/ueps", "sim-m4raw-gre", psnr=[31.0, 31.5])
    write(sources, "ueps/ue-vit", "sim-m4raw-gre", psnr=[30.0, 30.5])
    outcome = judge(sources, "ueps", claim(datasets="all"))
    assert outcome.verdict == "inconclusive" and "single subject" in outcome.why
    assert [part.dataset for part in outcome.each] == [ID, "sim-m4raw-gre"] and "sim-ahead-e3" in outcome.missing


def test_what_was_not_measured_says_why(tmp_path, made):
    sources = Sources(made, tmp_path)
    assert judge(sources, "ueps", claim()).why.startswith("no slice was scored")
    outcome = judge(sources, "ueps", claim(better="nas/nas"))
    assert outcome.verdict == "not measured" and "does not run nas/nas" in outcome.why
    assert judge(sources, "ueps", claim(datasets=("stanford-2d",))).why.startswith("this scale has none")


def test_sets_are_found_by_our_names_and_the_papers(made, tmp_path):
    sources = Sources(made, tmp_path)
    assert claim_views(sources, "ueps", claim(datasets=("m4raw-gre",))) == [View("sim-m4raw-gre")]
    assert claim_views(sources, "ueps", claim(datasets=ID)) == [View(ID)]
    assert claim_views(sources, "ueps", claim(datasets="ood")) == list(map(View, made.scale.evaluation.ood))


def test_the_papers_difference_is_signed_like_ours(tmp_path, made):
    sources = Sources(made, tmp_path)
    for dataset in made.scale.evaluation.ood:
        for run in ("ueps/ueps", "ueps/ue-vit"):
            write(sources, run, dataset, psnr=rising(0, 6), milliseconds=rising(0, 6))
    assert judge(sources, "ueps", claim(datasets="ood")).overall.paper == pytest.approx(38.13 - 37.90)
    slower = judge(sources, "ueps", claim(datasets="ood", metric="milliseconds"))
    assert slower.overall.paper == pytest.approx(97.28 - 38.02)
    knee = next(part for part in slower.each if part.dataset == "sim-fastmri-knee")
    assert knee.paper == pytest.approx(60.78 - 23.61)


def test_an_unknown_metric_is_named(tmp_path, made):
    with pytest.raises(UserError, match=r"ueps\.yaml.*'lpips'"):
        judge(Sources(made, tmp_path), "ueps", claim(metric="lpips"))


def test_the_file_has_every_claim(tmp_path, made):
    sources = two_runs(tmp_path, made, rising(1), rising(0))
    outcomes = build_scorecard(sources, tmp_path / "scorecard.csv")
    table = pd.read_csv(tmp_path / "scorecard.csv")
    assert table["claim"].nunique() == len(outcomes) == sum(len(study.claims) for study in made.studies.values())
    assert sum(counts(outcomes).values()) == len(outcomes)
    assert set(table["verdict"].dropna()) <= set(counts(outcomes))
