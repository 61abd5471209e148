"""Weighted kappa against hand-computed and published values, its interval, its words."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rekon.reading.agreement import agreement, landis_koch, weighted_kappa

READINGS = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=2, max_size=40).map(np.array)


def table(first, second, categories=5):
    counts = np.zeros((categories, categories))
    np.add.at(counts, (np.array(first) - 1, np.array(second) - 1), 1)
    return counts


def test_by_hand():
    """1 3 3 2 against 1 2 3 3: half a point of disagreement on average; by chance 7/8, or 11/8 squared."""
    counts = table([1, 3, 3, 2], [1, 2, 3, 3], 3)
    assert weighted_kappa(counts, 1) == pytest.approx(1 - (2 / 4) / (14 / 16))
    assert weighted_kappa(counts, 2) == pytest.approx(1 - (2 / 4) / (22 / 16))


def test_published():
    """Ratings of 91 couples (Hout, Duncan and Sobel, 1987), linear weighted kappa 0.237 (R's vcd: 0.2374)."""
    couples = [[7, 7, 2, 3], [2, 8, 3, 7], [1, 5, 4, 9], [2, 8, 9, 14]]
    assert weighted_kappa(couples, 1) == pytest.approx(0.2374, abs=5e-5)


def test_two_categories_are_cohens_kappa():
    """(0.7 - 0.5) / (1 - 0.5) = 0.4, whatever the weights."""
    assert weighted_kappa([[20, 5], [10, 15]], 1) == pytest.approx(0.4)
    assert weighted_kappa([[20, 5], [10, 15]], 2) == pytest.approx(0.4)


@pytest.mark.parametrize("power", [1, 2])
def test_extremes(power):
    scores = [1, 2, 3, 4, 5, 5]
    assert weighted_kappa(table(scores, scores), power) == 1
    independent = np.outer([1, 2, 3, 4, 0], [2, 0, 1, 1, 6])
    assert weighted_kappa(independent, power) == pytest.approx(0)
    assert weighted_kappa(table([1, 5], [5, 1]), power) == pytest.approx(-1)
    assert weighted_kappa(table([3, 3, 3], [1, 3, 5]), power) == pytest.approx(0)  # one reading says nothing
    assert np.isnan(weighted_kappa(table([3, 3, 3], [3, 3, 3]), power))
    assert np.isnan(weighted_kappa(np.zeros((5, 5)), power))


@given(READINGS)
@settings(deadline=None)
def test_quadratic_kappa_is_the_concordance_correlation(readings):
    """Fleiss and Cohen, Educ. Psychol. Meas. 33:613 (1973)."""
    x, y = readings.T.astype(float)
    spread = x.var() + y.var() + (x.mean() - y.mean()) ** 2
    assume(spread > 0)
    expected = 2 * ((x - x.mean()) * (y - y.mean())).mean() / spread
    assert weighted_kappa(table(*readings.T), 2) == pytest.approx(expected, abs=1e-9)


def test_words_of_landis_and_koch():
    words = {-0.1: "poor", 0.0: "slight", 0.2: "slight", 0.21: "fair", 0.4: "fair", 0.5: "moderate", 0.6: "moderate"}
    words |= {0.7: "substantial", 0.8: "substantial", 0.81: "almost perfect", 1.0: "almost perfect"}
    assert {kappa: landis_koch(kappa) for kappa in words} == words
    assert landis_koch(math.nan) == "undefined"


def test_interval_resamples_subjects_not_images():
    """Forty times the same eight images tell no more than once."""
    random = np.random.default_rng(0)
    first = random.integers(1, 6, 8)
    second = np.clip(first + random.integers(-1, 2, 8), 1, 5)
    subjects = [f"s{index}" for index in range(8)]
    once = agreement(first, second, subjects)
    often = agreement(np.tile(first, 40), np.tile(second, 40), subjects * 40)
    assert (once.images, often.images, once.subjects, often.subjects) == (8, 320, 8, 8)
    for kind in ("linear", "quadratic"):
        one, many = getattr(once, kind), getattr(often, kind)
        assert one[:3] == pytest.approx(many[:3]) and one.low < one.kappa < one.high <= 1
    assert once.identical == often.identical == (first == second).mean()


def test_interval_covers_what_readers_share():
    """Made-up readers with a known agreement: the interval of 60 subjects covers the kappa of 20,000."""

    def read(count, seed):
        random = np.random.default_rng(seed)
        truth = random.normal(3, 1, count)
        return [np.clip(np.rint(truth + random.normal(0, 0.7, count)), 1, 5).astype(int) for _ in range(2)]

    expected = float(weighted_kappa(table(*read(20_000, 0)), 2))
    found = [agreement(*read(60, seed), np.arange(60)).quadratic for seed in range(1, 21)]
    assert sum(one.low < expected < one.high for one in found) >= 16
    assert np.mean([one.high - one.low for one in found]) < 0.5


def test_nothing_to_compare():
    empty = agreement([], [], [])
    assert empty.images == 0 and math.isnan(empty.linear.kappa) and empty.quadratic.word == "undefined"
    alone = agreement([1, 2, 3], [1, 2, 4], ["s"] * 3).linear
    assert alone.kappa > 0 and math.isnan(alone.low) and math.isnan(alone.high)
    constant = agreement([3] * 6, [3] * 6, list("abcdef"))
    assert constant.identical == 1 and math.isnan(constant.linear.kappa) and math.isnan(constant.linear.low)
