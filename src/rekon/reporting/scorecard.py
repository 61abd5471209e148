"""Claim by claim: what the paper says, what was measured here, and whether the claim holds here.

A claim says that one run beats another. It is tested on the slices that both scored, as a paired difference averaged
over the claim's data sets, with a 95 % bootstrap interval over subjects. The scorecard's words are definitions:

    holds           the whole interval lies above the claim's margin (0 unless the claim says otherwise)
    does not hold   the whole interval lies below it
    inconclusive    the interval holds the margin, or there are too few subjects for an interval that means anything
    not measured    at least one of the two runs has no score on any of the claim's sets
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from rekon.config.study import Claim
from rekon.errors import UserError
from rekon.evaluation.statistics import Summary, average, paired
from rekon.files import write_text
from rekon.reporting.metrics import METRICS, Shown
from rekon.reporting.sources import AVERAGE, Sources

Verdict = Literal["holds", "does not hold", "inconclusive", "not measured"]
VERDICTS: tuple[Verdict, ...] = ("holds", "does not hold", "inconclusive", "not measured")
# With n subjects that all point the same way a sign test gives p = 2^(1-n): six are the fewest with p < 0.05.
# Below that, a bootstrap interval excludes zero far too easily.
FEWEST_SUBJECTS = 6


@dataclass(frozen=True)
class Difference:
    """Paired difference, positive where the claim's `better` run is better, in the shown unit."""

    dataset: str  # AVERAGE: mean over the claim's sets
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
    datasets: tuple[str, ...]  # sets of this scale that both runs scored
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
    wanted = claim_datasets(sources, claim)
    tables = {}
    for dataset in wanted:
        both = paired(sources.scores(better, dataset), sources.scores(worse, dataset), claim.metric)
        if len(both):
            tables[dataset] = both
    missing = tuple(dataset for dataset in wanted if dataset not in tables)
    each = tuple(_difference(sources, study, claim, dataset, [rows]) for dataset, rows in tables.items())
    if not tables:
        verdict: Verdict = "not measured"
        why = _why_missing(sources, better, worse, wanted)
        paper = _paper_difference(sources, study, claim, AVERAGE)
        return Outcome(study, claim, better, worse, (), missing, None, (), verdict, why, paper)
    overall = each[0] if len(each) == 1 else _difference(sources, study, claim, AVERAGE, list(tables.values()))
    verdict, why = _verdict(overall, claim.margin)
    return Outcome(study, claim, better, worse, tuple(tables), missing, overall, each, verdict, why, overall.paper)


def claim_datasets(sources: Sources, claim: Claim) -> tuple[str, ...]:
    """The claim's sets at this scale: "id", "ood", "all" or names (the paper's names find what stands for them)."""
    settings = sources.plan.scale.evaluation
    if isinstance(claim.datasets, str):
        groups = {"id": settings.id, "ood": settings.ood, "all": settings.datasets}
        return groups[claim.datasets] if claim.datasets in groups else claim_datasets_named(sources, (claim.datasets,))
    return claim_datasets_named(sources, claim.datasets)


def claim_datasets_named(sources: Sources, names: tuple[str, ...]) -> tuple[str, ...]:
    """This scale's sets that are, or stand for, the named ones."""
    known = dict.fromkeys(names)
    return tuple(dataset for dataset in sources.datasets if sources.published_name(dataset, known))


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


def _difference(sources: Sources, study: str, claim: Claim, dataset: str, tables: list[pd.DataFrame]) -> Difference:
    settings, shown = sources.plan.scale.evaluation, METRICS[claim.metric]
    summary = average(tables, claim.metric, aggregation=settings.aggregation, resamples=settings.bootstrap)
    sign = shown.factor if shown.higher_is_better else -shown.factor
    low, high = sorted((sign * summary.low, sign * summary.high))
    return Difference(
        dataset, sign * summary.mean, low, high, summary.slices, _subjects(summary),
        _paper_difference(sources, study, claim, dataset),
    )  # fmt: skip


def _subjects(summary: Summary) -> int:
    return summary.subjects


def _paper_difference(sources: Sources, study: str, claim: Claim, dataset: str) -> float | None:
    """Difference of the published means, in the shown unit, from the first table that has both runs on the set.

    For the mean over a claim's sets: the published average if the claim is on all zero-shot sets.
    """
    if dataset == AVERAGE and claim.datasets != "ood":
        return None
    for table in sources.studies[study].published.values():
        name = AVERAGE if dataset == AVERAGE else sources.published_name(dataset, table)
        values = table.get(name or "", {}).get(claim.metric, {})
        if claim.better in values and claim.worse in values:
            difference = values[claim.better] - values[claim.worse]
            return difference if METRICS[claim.metric].higher_is_better else -difference
    return None


def _verdict(overall: Difference, margin: float) -> tuple[Verdict, str]:
    if overall.subjects < FEWEST_SUBJECTS:
        return "inconclusive", f"only {overall.subjects} subjects; fewer than {FEWEST_SUBJECTS} cannot decide"
    if math.isnan(overall.low):
        return "inconclusive", "a set with a single subject gives no interval"
    if overall.low > margin:
        return "holds", "the whole interval lies above the margin"
    if overall.high < margin:
        return "does not hold", "the whole interval lies below the margin"
    return "inconclusive", "the interval includes the margin"


def _why_missing(sources: Sources, better: str, worse: str, wanted: tuple[str, ...]) -> str:
    if not wanted:
        return "this scale has none of the claim's data sets"
    planned = {f"{study}/{run}" for study, run in sources.plan.recipes}
    absent = [run for run in (better, worse) if run not in planned]
    if absent:
        return f"this scale does not run {' and '.join(absent)}"
    return "no slice was scored by both runs on " + ", ".join(wanted)
