"""Scores of a test arm minus those of the reference, with non-inferiority. The unit is the subject: slices of one head
are not independent, so they are averaged first.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from rekon.randomness import generator

RESAMPLES = 10_000
# With n subjects that all point the same way a sign test gives p = 2^(1-n): six are the fewest with p < 0.05.
FEWEST_SUBJECTS = 6
Decision = Literal["non-inferior", "inferior", "not shown", "too few subjects"]


class Difference(NamedTuple):
    """Test minus reference over subjects, in points of the scale; positive: the test arm was scored higher."""

    subjects: int
    mean_reference: float  # score
    mean_test: float
    difference: float
    low: float  # two-sided interval, confidence 1 - alpha
    high: float
    bound: float  # lower bound, one-sided, confidence 1 - alpha: what decides
    p: float  # Wilcoxon signed-rank, two-sided, no difference
    higher: int  # subjects whose test images were scored higher
    equal: int
    lower: int
    decision: Decision


class Preference(NamedTuple):
    """Which image of a pair readers prefer."""

    pairs: int
    prefer_test: int  # pairs
    prefer_neither: int
    prefer_reference: int
    subjects_test: int  # subjects with more pairs for the test arm than for the reference
    subjects_reference: int
    p: float  # sign test over those subjects, two-sided


def difference(
    reference: ArrayLike, test: ArrayLike, subjects: ArrayLike, *, margin: float, alpha: float, seed: int = 0
) -> Difference:
    """Compare scores of the same n cases, (n,) each, without gaps; subjects: whose case it is.

    Non-inferior: the one-sided lower bound of the mean difference exceeds -margin. Inferior: the upper end of the
    two-sided interval is below -margin. Anything else is not shown. With fewer than six subjects nothing is decided.
    """
    names, owner = np.unique(np.asarray(subjects, dtype=str), return_inverse=True)
    if not len(names):
        nan = float("nan")
        return Difference(0, nan, nan, nan, nan, nan, nan, nan, 0, 0, 0, "too few subjects")
    cases = np.bincount(owner)
    before, after = np.asarray(reference, dtype=np.float64), np.asarray(test, dtype=np.float64)
    values = np.bincount(owner, after - before) / cases  # of sums of whole numbers: equal is exactly 0
    low, high, bound = _bounds(values, alpha, seed)
    decision: Decision = "not shown"
    if len(values) < FEWEST_SUBJECTS:
        decision = "too few subjects"
    elif bound > -margin:
        decision = "non-inferior"
    elif high < -margin:
        decision = "inferior"
    return Difference(
        len(values), float((np.bincount(owner, before) / cases).mean()),
        float((np.bincount(owner, after) / cases).mean()), float(values.mean()), low, high, bound,
        _wilcoxon(values), int((values > 0).sum()), int((values == 0).sum()), int((values < 0).sum()), decision,
    )  # fmt: skip


def preference(choices: ArrayLike, subjects: ArrayLike) -> Preference:
    """choices (n,): 1 the test image is preferred, -1 the reference image, 0 neither; subjects: whose case it is."""
    from scipy.stats import binomtest

    chosen = np.asarray(choices, dtype=np.int64)
    owner = np.unique(np.asarray(subjects, dtype=str), return_inverse=True)[1]
    balance = np.bincount(owner, chosen) if len(chosen) else np.zeros(0)
    test, reference = int((balance > 0).sum()), int((balance < 0).sum())
    p = float(binomtest(test, test + reference).pvalue) if test + reference else 1.0
    counts = (int((chosen == 1).sum()), int((chosen == 0).sum()), int((chosen == -1).sum()))
    return Preference(len(chosen), *counts, test, reference, p)


def _bounds(values: np.ndarray, alpha: float, seed: int) -> tuple[float, float, float]:
    """Two-sided interval and one-sided lower bound of the mean: bootstrap over subjects, expanded percentiles.

    Plain percentiles are too narrow by sqrt((n - 1) / n) and by normal instead of t quantiles, which would make
    non-inferiority too easy; their levels are moved outwards by as much (Hesterberg, Am. Stat. 69:371, 2015, 3.2.2).
    NaN with fewer than two subjects.
    """
    from scipy.special import ndtr, stdtrit

    n = len(values)
    if n < 2:
        return (float("nan"),) * 3
    drawn = generator(seed, "reader-study differences").integers(n, size=(RESAMPLES, n))
    levels = ndtr(np.sqrt(n / (n - 1)) * stdtrit(n - 1, np.array([alpha / 2, 1 - alpha / 2, alpha])))
    low, high, bound = np.quantile(values[drawn].mean(1), levels)
    return float(low), float(high), float(bound)


def _wilcoxon(values: np.ndarray) -> float:
    from scipy.stats import wilcoxon

    if not values.any():  # scipy would divide by zero
        return 1.0
    return float(wilcoxon(values).pvalue)
