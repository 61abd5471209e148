"""Means with their uncertainty. The unit of resampling is the subject: slices of one head are not independent.

Rows are those of `rekon.evaluation.score`: at least the columns dataset, volume, subject, slice, pattern, acceleration
and the metric.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from rekon.randomness import generator

CONFIDENCE = 0.95
KEYS = ["dataset", "volume", "slice", "pattern", "acceleration"]  # identify a measurement across runs


class Summary(NamedTuple):
    """A metric's mean, standard deviation (over slices or volumes), and 95 % interval of the mean over subjects.

    NaN where it cannot be computed: everything without scored rows, the interval with fewer than two subjects.
    """

    mean: float
    std: float
    low: float
    high: float
    slices: int
    subjects: int


def summarise(
    rows: pd.DataFrame, metric: str, *, aggregation: str = "slice", resamples: int = 2000, seed: int = 0
) -> Summary:
    """One data set's `metric`: mean ± std over slices (or over volumes' means), 95 % bootstrap over subjects."""
    values = _units(rows, metric, aggregation)
    if values.empty:
        nan = float("nan")
        return Summary(nan, nan, nan, nan, 0, 0)
    low, high = _interval([values], metric, resamples, seed)
    units = values[metric]
    # population standard deviation: what numpy's default gives and papers of the field print
    return Summary(
        float(units.mean()), float(units.std(ddof=0)), low, high, int(rows[metric].notna().sum()), _subjects(values)
    )


def average(
    sets: Sequence[pd.DataFrame], metric: str, *, aggregation: str = "slice", resamples: int = 2000, seed: int = 0
) -> Summary:
    """Mean over data sets of each set's mean, as in UEPS's row "Average"; the interval resamples subjects within sets.

    `std` is that of the sets' means. Sets without a scored row are left out.
    """
    units = [values for rows in sets if not (values := _units(rows, metric, aggregation)).empty]
    if not units:
        nan = float("nan")
        return Summary(nan, nan, nan, nan, 0, 0)
    means = np.array([values[metric].mean() for values in units])
    low, high = _interval(units, metric, resamples, seed)
    slices = sum(int(rows[metric].notna().sum()) for rows in sets)
    return Summary(float(means.mean()), float(means.std()), low, high, slices, sum(map(_subjects, units)))


def paired(first: pd.DataFrame, second: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Rows of `metric` in `first` minus `second`, on the measurements that both scored: a paired comparison.

    A measurement is a slice with a sampling; one as acquired, of NaN acceleration, pairs with itself too. The result
    goes into `summarise` or `average`. Raises ValueError when a run holds a measurement twice.
    """
    # the empty column of a table read from CSV and one of numbers have different types, which would not merge
    first, second = (rows.astype({"acceleration": float}) for rows in (first, second))
    keep = [*KEYS, "subject", metric]
    both = first[keep].merge(second[[*KEYS, metric]], on=KEYS, validate="one_to_one", suffixes=("", "_other"))
    both[metric] = both[metric] - both.pop(f"{metric}_other")
    return both[both[metric].notna()].reset_index(drop=True)


def _units(rows: pd.DataFrame, metric: str, aggregation: str) -> pd.DataFrame:
    """Scored rows, or their means per volume."""
    assert aggregation in ("slice", "volume"), aggregation
    values = rows[rows[metric].notna()]
    if aggregation == "volume" and not values.empty:
        values = values.groupby(["dataset", "subject", "volume"], as_index=False, sort=True)[[metric]].mean()
    return values


def _subjects(values: pd.DataFrame) -> int:
    return int(values["subject"].nunique())


def _interval(sets: Sequence[pd.DataFrame], metric: str, resamples: int, seed: int) -> tuple[float, float]:
    """Percentile cluster bootstrap of the mean over sets of each set's mean.

    A resample draws as many subjects as a set has, with replacement, and keeps all slices of each drawn subject.
    """
    if any(_subjects(values) < 2 for values in sets):
        return float("nan"), float("nan")
    total = np.zeros(resamples)
    for index, values in enumerate(sets):
        groups = values.groupby("subject", sort=True)[metric].agg(["sum", "count"])
        random = generator(seed, "bootstrap", index=index)
        drawn = random.integers(len(groups), size=(resamples, len(groups)))
        total += groups["sum"].to_numpy()[drawn].sum(1) / groups["count"].to_numpy()[drawn].sum(1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(total / len(sets), [tail, 1 - tail])
    return float(low), float(high)
