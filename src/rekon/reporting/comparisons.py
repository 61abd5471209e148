"""Runs against one of them, paired over subjects, with a test that knows how many comparisons were made."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from rekon.evaluation.statistics import average, paired
from rekon.reporting.metrics import METRICS
from rekon.reporting.scorecard import FEWEST_SUBJECTS, sets_of
from rekon.reporting.sources import Sources
from rekon.reporting.views import View


class Comparison(NamedTuple):
    """A run minus the reference, in the metric's shown unit: mean over slices, 95 % bootstrap over subjects."""

    run: str
    views: tuple[View, ...]
    mean: float
    low: float  # NaN, like `high`, with fewer than two subjects
    high: float
    subjects: int
    p: float  # Wilcoxon signed-rank over the subjects' means, two-sided; NaN with fewer than FEWEST_SUBJECTS
    adjusted: float = math.nan  # p after Holm's correction


def compare(
    sources: Sources, study: str, run: str, reference: str, views: Iterable[View], metric: str
) -> Comparison | None:
    """Two runs (full names) on the slices of some views that both scored; None where there are none."""
    tables: dict[View, pd.DataFrame] = {}
    for view in views:
        first, second = (sources.scores(name, view, study) for name in (run, reference))
        if len(first) and len(second) and len(both := paired(first, second, metric)):
            tables[view] = both
    if not tables:
        return None
    settings, factor, sets = sources.settings(study), METRICS[metric].factor, sets_of(tables)
    found = average(sets, metric, aggregation=settings.aggregation, resamples=settings.bootstrap)
    subjects = pd.concat(sets).groupby(["dataset", "subject"])[metric].mean().to_numpy()
    p = signed_rank(subjects) if len(subjects) >= FEWEST_SUBJECTS else math.nan
    return Comparison(
        run, tuple(tables), factor * found.mean, factor * found.low, factor * found.high, found.subjects, p
    )


def corrected(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The same, with p adjusted for all of them."""
    adjusted = holm([one.p for one in comparisons])
    return [one._replace(adjusted=value) for one, value in zip(comparisons, adjusted, strict=True)]


def holm(values: Sequence[float]) -> list[float]:
    """p values after Holm's step-down correction (Scand. J. Stat. 6:65, 1979); NaN was not tested and stays."""
    adjusted, highest = [math.nan] * len(values), 0.0
    known = sorted((value, place) for place, value in enumerate(values) if not math.isnan(value))
    for done, (value, place) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - done) * value))
        adjusted[place] = highest
    return adjusted


def signed_rank(values: np.ndarray) -> float:
    """p of Wilcoxon's signed-rank test that differences (n,) are symmetric about 0, two-sided."""
    from scipy.stats import wilcoxon

    if not values.any():  # scipy would divide by zero
        return 1.0
    return float(wilcoxon(values).pvalue)


def smallest_p(subjects: int, comparisons: int) -> float:
    """What p, after Holm, cannot fall below where all subjects point the same way in one comparison."""
    return min(1.0, comparisons * 2.0 ** (1 - subjects))
