"""Differences and non-inferiority: subjects are the unit, the interval is honest, few subjects decide nothing."""

import math

import numpy as np
import pytest
from scipy import stats

from rekon.reading.differences import difference, preference

RULE = {"margin": 0.5, "alpha": 0.05}


def scores(shift, subjects=30, seed=0, noise=0.5):
    """Made-up scores of two arms, one case per subject; the test arm's are `shift` higher on average."""
    random = np.random.default_rng(seed)
    # a dithered scale rounds without bias
    truth = 3 + random.uniform(-0.5, 0.5, subjects)
    first, second = (truth + random.normal(0, noise, subjects) for _ in range(2))
    return np.rint(first), np.rint(second + shift), [f"s{index}" for index in range(subjects)]


@pytest.mark.parametrize(
    ("shift", "decision"), [(0, "non-inferior"), (0.6, "non-inferior"), (-1, "inferior"), (-0.5, "not shown")]
)
def test_decision(shift, decision):
    found = difference(*scores(shift), **RULE)
    assert found.decision == decision
    assert found.low < found.difference < found.high and found.low < found.bound < found.difference
    assert found.difference == pytest.approx(found.mean_test - found.mean_reference)
    assert found.higher + found.equal + found.lower == found.subjects == 30


def test_margin_and_alpha_decide():
    reference, test, subjects = scores(-0.3)
    assert difference(reference, test, subjects, margin=0.25, alpha=0.05).decision != "non-inferior"
    assert difference(reference, test, subjects, margin=0.8, alpha=0.05).decision == "non-inferior"
    bounds = [difference(reference, test, subjects, margin=0.5, alpha=alpha).bound for alpha in (0.01, 0.05, 0.2)]
    assert bounds == sorted(bounds) and bounds[0] < bounds[-1]
    found = difference(reference, test, subjects, **RULE)
    between = -(found.low + found.bound) / 2  # the one-sided bound decides, not the two-sided interval
    assert difference(reference, test, subjects, margin=between, alpha=0.05).decision == "non-inferior"


def test_slices_of_a_subject_count_once():
    reference, test, subjects = scores(-0.2)
    once = difference(reference, test, subjects, **RULE)
    often = difference(np.tile(reference, 9), np.tile(test, 9), subjects * 9, **RULE)
    assert once == often
    # one subject with many slices weighs as much as any other
    more = difference([*reference, *[5] * 50], [*test, *[1] * 50], [*subjects, *["outlier"] * 50], **RULE)
    assert more.difference == pytest.approx((30 * once.difference - 4) / 31) and more.subjects == 31


def test_p_is_wilcoxons_over_subjects():
    reference, test, subjects = scores(-0.4)
    assert difference(reference, test, subjects, **RULE).p == pytest.approx(stats.wilcoxon(test - reference).pvalue)
    assert difference(reference, reference, subjects, **RULE).p == 1


def test_interval_is_as_wide_as_students():
    reference, test, subjects = scores(0, subjects=12, seed=3)
    found = difference(reference, test, subjects, **RULE)
    values = test - reference
    student = stats.t(11, values.mean(), values.std(ddof=1) / math.sqrt(12))
    assert found.high - found.low == pytest.approx(student.ppf(0.975) - student.ppf(0.025), rel=0.15)
    assert found.bound == pytest.approx(student.ppf(0.05), abs=0.1)


def test_a_truly_inferior_arm_rarely_passes():
    """At a true difference of minus the margin, non-inferiority may be found in 5 % of studies."""
    passed = [difference(*scores(-0.5, 20, seed), **RULE).decision == "non-inferior" for seed in range(200)]
    assert np.mean(passed) <= 0.05 + 2.5 * math.sqrt(0.05 * 0.95 / 200)


def test_few_subjects_decide_nothing():
    for count in (2, 5):
        found = difference([3] * count, [4] * count, list(range(count)), **RULE)
        assert found.decision == "too few subjects" and found.bound == 1
    assert difference([3] * 6, [4] * 6, list(range(6)), **RULE).decision == "non-inferior"
    alone = difference([3, 4], [3, 5], ["s", "s"], **RULE)
    assert alone.difference == 0.5 and math.isnan(alone.bound) and alone.decision == "too few subjects"
    nothing = difference([], [], [], **RULE)
    assert nothing.subjects == 0 and math.isnan(nothing.difference) and nothing.decision == "too few subjects"


def test_preference_counts_pairs_and_tests_subjects():
    choices = [1, 1, -1, 1, 0, 0, -1]
    found = preference(choices, ["a", "a", "a", "b", "b", "c", "d"])
    assert (found.pairs, found.prefer_test, found.prefer_neither, found.prefer_reference) == (7, 3, 2, 2)
    assert (found.subjects_test, found.subjects_reference) == (2, 1) and found.p == 1
    assert preference([1] * 8, list("abcdefgh")).p == pytest.approx(2 * 0.5**8)
    assert preference([0, 0], ["a", "b"]).p == 1 and preference([], []).pairs == 0
