"""Claim by claim: what the paper says, what was measured here, and whether the claim holds here.

A claim says that one run beats another. It is tested on the slices that both scored, as a paired difference averaged
over the claim's data sets, with a 95 % bootstrap interval over subjects. Of a set that the claim names in several views
(sampling patterns, say), the rows of all of them count together, because the subjects are the same ones.
The scorecard's words are definitions:

    holds           the whole interval lies above the claim's margin (0 unless the claim says otherwise; where a run is
                    only said to be no worse than another, the largest loss that is tolerated, as a negative number)
    does not hold   the whole interval lies below it
    inconclusive    the interval holds the margin, or there are too few subjects for an interval that means anything
    not measured    at least one of the two runs has no score on any of the claim's sets
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from rekon.config.study import Claim
from rekon.errors import UserError
from rekon.evaluation.statistics import KEYS, average, paired
from rekon.files import write_text
from rekon.reporting.metrics import METRICS, Shown
from rekon.reporting.sources import AVERAGE, Sources
from rekon.reporting.tables import why_empty
from rekon.reporting.views import View

Verdict = Literal["holds", "does not hold", "inconclusive", "not measured"]
VERDICTS: tuple[Verdict, ...] = ("holds", "does not hold", "inconclusive", "not measured")
# With n subjects that all point the same way a sign test gives p = 2^(1-n): six are the fewest with p < 0.05.
# Below that, a bootstrap interval excludes zero far too easily.
FEWEST_SUBJECTS = 6


@dataclass(frozen=True)
class Difference:
    """Paired difference, positive where the claim's `better` run is better, in the shown unit."""

    dataset: str  # the view; AVERAGE: mean over the claim's sets
    mean: float
    low: float
    high: float
    slices: int
    subjects: int
    paper: float | None  # the published means' difference


@dataclass(frozen=True)
class Outcome:
    """One row of the scorecard."""

    study: str
    claim: Claim
    better: str  # full run names
    worse: str
    datasets: tuple[str, ...]  # views of this scale's sets that both runs scored
    missing: tuple[str, ...]  # asked for, but not scored by both
    overall: Difference | None
    each: tuple[Difference, ...]
    verdict: Verdict
    why: str
    paper: float | None  # the published difference, whether or not anything was measured here

    @property
    def shown(self) -> Shown:
        return METRICS[self.claim.metric]

    @property
    def patterned(self) -> bool:
        """Whether the claim is on parts of sets."""
        return any(View.parse(name).pattern for name in self.datasets)

    @property
    def simulated(self) -> bool:
        return any(name.startswith("sim-") for name in self.datasets)


def scorecard(sources: Sources) -> list[Outcome]:
    """Every claim of every study of this scale, in the config's order."""
    return [judge(sources, name, claim) for name, study in sources.studies.items() for claim in study.claims]


def judge(sources: Sources, study: str, claim: Claim) -> Outcome:
    """Test one claim on this scale's results."""
    if claim.metric not in METRICS:
        raise UserError(
            f"config/studies/{study}.yaml: claim {claim.text!r}: unknown metric {claim.metric!r}; "
            f"choose one of {', '.join(METRICS)}."
        )
    better, worse = sources.named(claim.better, study), sources.named(claim.worse, study)
    wanted = claim_views(sources, study, claim)
    tables: dict[View, pd.DataFrame] = {}
    for view in wanted:
        first, second = (sources.scores(run, view, study) for run in (better, worse))
        known = all(rows[claim.metric].notna().any() for rows in (first, second))
        if known and len(both := paired(first, second, claim.metric)):
            tables[view] = both
    missing = tuple(str(view) for view in wanted if view not in tables)
    papers = {view: _paper(sources, study, claim, view) for view in wanted or named_views(claim)}
    each = tuple(_difference(sources, study, claim, str(view), [rows], papers[view]) for view, rows in tables.items())
    if not tables:
        verdict: Verdict = "not measured"
        why = _why_missing(sources, study, claim.metric, (better, worse), wanted)
        paper = _paper_average(sources, study, claim, list(papers.values()))
        return Outcome(study, claim, better, worse, (), missing, None, (), verdict, why, paper)
    overall = each[0]
    if len(each) > 1:
        paper = _paper_average(sources, study, claim, [papers[view] for view in tables])
        overall = _difference(sources, study, claim, AVERAGE, sets_of(tables), paper)
    verdict, why = _verdict(overall, claim.threshold)
    names = tuple(str(view) for view in tables)
    return Outcome(study, claim, better, worse, names, missing, overall, each, verdict, why, overall.paper)


def claim_views(sources: Sources, study: str, claim: Claim) -> list[View]:
    """The claim's views at this scale: "id", "ood", "all", or those on sets that are, or stand for, the named ones."""
    settings = sources.settings(study)
    groups = {"id": settings.id, "ood": settings.ood, "all": settings.datasets}
    if isinstance(claim.datasets, str) and claim.datasets in groups:
        return [View(dataset) for dataset in groups[claim.datasets]]
    return sources.views(study, [str(view) for view in named_views(claim)])


def named_views(claim: Claim) -> list[View]:
    """The views that a claim names; none for "id", "ood" and "all"."""
    names = (claim.datasets,) if isinstance(claim.datasets, str) else claim.datasets
    return [View.parse(name) for name in names if name not in ("id", "ood", "all")]


def sets_of(tables: dict[View, pd.DataFrame]) -> list[pd.DataFrame]:
    """Rows per set: those of all its views, a measurement once."""
    sets: dict[str, list[pd.DataFrame]] = {}
    for view, rows in tables.items():
        sets.setdefault(view.dataset, []).append(rows)
    return [pd.concat(rows, ignore_index=True).drop_duplicates(KEYS, ignore_index=True) for rows in sets.values()]


def counts(outcomes: list[Outcome]) -> dict[Verdict, int]:
    """How many claims got each verdict."""
    counter = Counter(outcome.verdict for outcome in outcomes)
    return {verdict: counter[verdict] for verdict in VERDICTS}


def build_scorecard(sources: Sources, path: Path) -> list[Outcome]:
    """Write the scorecard as CSV, a row per claim and set (and per claim over its sets), and return it."""
    outcomes = scorecard(sources)
    rows = []
    for number, outcome in enumerate(outcomes, 1):
        parts = [outcome.overall, *(outcome.each if len(outcome.each) > 1 else ())] if outcome.overall else [None]
        for part in parts:
            rows.append(
                {
                    "scale": sources.plan.scale.scale,
                    "study": outcome.study,
                    "claim": number,
                    "text": outcome.claim.text,
                    "source": outcome.claim.source,
                    "better": outcome.better,
                    "worse": outcome.worse,
                    "metric": outcome.claim.metric,
                    "unit": outcome.shown.unit,
                    "margin": outcome.claim.margin,
                    **(asdict(part) if part else {}),
                    "verdict": outcome.verdict if part is outcome.overall else "",
                    "why": outcome.why if part is outcome.overall else "",
                }
            )
    columns = [
        "scale", "study", "claim", "text", "source", "better", "worse", "metric", "unit", "margin", "dataset", "paper",
        "mean", "low", "high", "slices", "subjects", "verdict", "why",
    ]  # fmt: skip
    table = pd.DataFrame(rows).reindex(columns=columns)
    write_text(path, table.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    return outcomes


def _difference(
    sources: Sources, study: str, claim: Claim, name: str, sets: list[pd.DataFrame], paper: float | None
) -> Difference:
    settings, shown = sources.settings(study), METRICS[claim.metric]
    summary = average(sets, claim.metric, aggregation=settings.aggregation, resamples=settings.bootstrap)
    sign = shown.factor if shown.higher_is_better else -shown.factor
    low, high = sorted((sign * summary.low, sign * summary.high))
    return Difference(name, sign * summary.mean, low, high, summary.slices, summary.subjects, paper)


def _paper(sources: Sources, study: str, claim: Claim, view: View) -> float | None:
    """Difference of the published means, in the shown unit, from the first table that has both runs in the view.

    Where a table has only the groups of a view (its contrasts), their mean.
    """
    for table in sources.studies[study].published.values():
        name = sources.published_name(view, table)
        parts = [View.parse(key) for key in table if key != AVERAGE]
        inside = [str(part) for part in parts for alias in sources.aliases(view.dataset) if part.within(view.on(alias))]
        found = [_published(table.get(key, {}), claim) for key in ([name] if name else inside)]
        known = [difference for difference in found if difference is not None]
        if known and len(known) == len(found):
            return sum(known) / len(known)
    return None


def _paper_average(sources: Sources, study: str, claim: Claim, parts: list[float | None]) -> float | None:
    """Mean of the published differences over a claim's views, if all are; of all zero-shot sets, the paper's own."""
    if claim.datasets == "ood":
        tables = sources.studies[study].published.values()
        found = (_published(table.get(AVERAGE, {}), claim) for table in tables)
        return next((difference for difference in found if difference is not None), None)
    known = [difference for difference in parts if difference is not None]
    return sum(known) / len(known) if known and len(known) == len(parts) else None


def _published(values: Mapping[str, Mapping[str, float | None]], claim: Claim) -> float | None:
    """Difference in one row of a published table, positive for the claim; None where a run has no value."""
    row = values.get(claim.metric, {})
    better, worse = row.get(claim.better), row.get(claim.worse)
    if better is None or worse is None:
        return None
    difference = better - worse
    return difference if METRICS[claim.metric].higher_is_better else -difference


def _verdict(overall: Difference, threshold: float) -> tuple[Verdict, str]:
    if overall.subjects < FEWEST_SUBJECTS:
        known = "1 subject" if overall.subjects == 1 else f"{overall.subjects} subjects"
        return "inconclusive", f"only {known}; fewer than {FEWEST_SUBJECTS} cannot decide"
    if math.isnan(overall.low):
        return "inconclusive", "a set with a single subject gives no interval"
    if overall.low > threshold:
        return "holds", "the whole interval lies above the margin"
    if overall.high < threshold:
        return "does not hold", "the whole interval lies below the margin"
    return "inconclusive", "the interval includes the margin"


def _why_missing(sources: Sources, study: str, metric: str, runs: tuple[str, str], wanted: list[View]) -> str:
    if not wanted:
        return "this scale has none of the claim's data sets"
    planned = {f"{of}/{run}" for of, run in sources.plan.recipes}
    absent = [run for run in runs if run not in planned]
    if absent:
        return f"this scale does not run {' and '.join(absent)}"
    scored = [[sources.scores(run, view, study) for view in wanted] for run in runs]
    if all(any(map(len, tables)) for tables in scored):
        reasons = [why_empty(tables, metric) for tables in scored]
        if any(reasons):
            return next(reason for reason in reasons if reason)
    return "no slice was scored by both runs on " + ", ".join(map(str, wanted))
