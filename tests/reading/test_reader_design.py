"""Randomisation: complete, balanced, repeats far apart, and a pure function of seed, cases and arms."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from rekon.reading.design import design

CASES = st.integers(1, 40).map(lambda n: [f"v/{index}" for index in range(n)])
TESTS = st.sampled_from([["dpm"], ["dpm", "wavelet"], ["a", "b", "c"]])
SEEDS, REPEATS = st.integers(0, 2**31), st.floats(0, 0.5)


@given(CASES, TESTS, SEEDS, REPEATS)
@settings(max_examples=60, deadline=None)
def test_every_pair_is_shown_once_and_some_twice(cases, tests, seed, repeats):
    shown = design(cases, "reference", tests, seed, repeats)
    first = Counter((one.case, *sorted((one.a, one.b))) for one in shown if one.repeat_of is None)
    assert first == Counter((case, *sorted(("reference", test))) for case in cases for test in tests)
    again = [(index, one) for index, one in enumerate(shown) if one.repeat_of is not None]
    assert abs(len(again) - repeats * len(first)) <= 0.5
    for index, one in again:
        original = shown[one.repeat_of]
        assert original.repeat_of is None
        assert (original.case, {original.a, original.b}) == (one.case, {one.a, one.b})
        assert index - one.repeat_of > len(first) // 4  # nobody remembers that long
    assert len({one.repeat_of for _, one in again}) == len(again)


@given(CASES, TESTS, SEEDS, REPEATS)
@settings(max_examples=60, deadline=None)
def test_sides_are_balanced_up_to_one(cases, tests, seed, repeats):
    shown = design(cases, "reference", tests, seed, repeats)

    def surplus(chosen):
        return abs(sum(1 if one.a == "reference" else -1 for one in chosen))

    assert surplus(shown) <= 1
    for test in tests:
        of_test = [one for one in shown if test in (one.a, one.b)]
        assert surplus(of_test) <= 1
        assert surplus([one for one in of_test if one.repeat_of is None]) <= 1
        assert surplus([one for one in of_test if one.repeat_of is not None]) <= 1


@given(CASES, SEEDS, REPEATS)
@settings(max_examples=20, deadline=None)
def test_order_of_the_input_does_not_matter(cases, seed, repeats):
    one = design(cases, "reference", ["a", "b"], seed, repeats)
    assert one == design(cases[::-1], "reference", ["b", "a"], seed, repeats)


def test_seeds_differ_and_nothing_is_guessable_from_the_position():
    designs = [design([f"v/{n}" for n in range(10)], "reference", ["dpm"], seed, 0.2) for seed in range(200)]
    assert len({tuple(one) for one in designs}) == 200
    for position in range(12):
        left = sum(shown[position].a == "reference" for shown in designs)
        assert 70 < left < 130  # of 200: four standard deviations
    assert len({shown[0].case for shown in designs}) == 10
