"""Means, intervals over subjects, paired differences."""

import numpy as np
import pandas as pd
import pytest

from rekon.evaluation.statistics import average, paired, summarise


def rows(values: dict[str, list[float]], dataset: str = "set") -> pd.DataFrame:
    """subject -> values of its slices (one volume each)."""
    return pd.DataFrame(
        [
            {"dataset": dataset, "volume": f"v-{subject}", "subject": subject, "slice": index, "psnr": value,
             "pattern": "es-x", "acceleration": 32}
            for subject, list_ in values.items()
            for index, value in enumerate(list_)
        ],
        columns=["dataset", "volume", "subject", "slice", "pattern", "acceleration", "psnr"],
    )  # fmt: skip


def random_rows(seed: int, subjects: int, slices: int, between: float, within: float, dataset="set") -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return rows(
        {
            f"s{i:02d}": list(30 + between * random.standard_normal() + within * random.standard_normal(slices))
            for i in range(subjects)
        },
        dataset,
    )


def test_mean_and_std_follow_the_unit_of_aggregation():
    table = rows({"a": [1.0, 2.0, 3.0], "b": [10.0]})
    by_slice, by_volume = (summarise(table, "psnr", aggregation=unit) for unit in ("slice", "volume"))
    assert by_slice.mean == pytest.approx(4.0) and by_volume.mean == pytest.approx(6.0)
    assert by_slice.std == pytest.approx(np.std([1, 2, 3, 10]))
    assert (by_slice.slices, by_slice.subjects) == (4, 2)


def test_the_same_seed_gives_the_same_interval_and_row_order_does_not_matter():
    table = random_rows(0, 8, 4, 1.0, 0.5)
    first = summarise(table, "psnr", seed=3)
    assert first == summarise(table, "psnr", seed=3)
    shuffled = summarise(table.sample(frac=1, random_state=1), "psnr", seed=3)
    assert shuffled == pytest.approx(first)
    assert first[2:4] != summarise(table, "psnr", seed=4)[2:4]


def test_interval_holds_the_mean_and_agrees_with_normal_theory():
    table = random_rows(1, 200, 3, 1.0, 0.0)
    summary = summarise(table, "psnr", resamples=4000)
    subject_means = table.groupby("subject")["psnr"].mean()
    half = 1.96 * subject_means.std(ddof=0) / np.sqrt(len(subject_means))
    assert summary.low < summary.mean < summary.high
    assert (summary.high - summary.low) / 2 == pytest.approx(half, rel=0.1)


def test_slices_of_a_subject_do_not_count_as_independent():
    few, many = (summarise(rows({f"s{i}": [float(i)] * n for i in range(6)}), "psnr", resamples=4000) for n in (1, 50))
    assert many.high - many.low == pytest.approx(few.high - few.low)


def test_coverage_of_the_interval():
    hits = 0
    for seed in range(100):
        summary = summarise(random_rows(seed, 12, 2, 1.0, 0.2), "psnr", resamples=300)
        hits += summary.low <= 30 <= summary.high
    assert 80 <= hits <= 99  # a percentile bootstrap of 12 subjects covers a little less than 95 %


def test_one_subject_has_no_interval_and_no_scored_row_no_mean():
    summary = summarise(rows({"a": [1.0, 2.0]}), "psnr")
    assert summary.mean == 1.5 and np.isnan(summary.low)
    empty = summarise(rows({"a": [float("nan")]}), "psnr")
    assert np.isnan(empty.mean) and empty.slices == 0
    assert np.isnan(average([], "psnr").mean)


def test_average_weighs_sets_equally():
    big, small = rows({f"s{i}": [10.0] * 10 for i in range(5)}, "big"), rows({"t0": [20.0], "t1": [22.0]}, "small")
    summary = average([big, small], "psnr")
    assert summary.mean == pytest.approx((10 + 21) / 2)
    assert summary.low == pytest.approx((10 + 20) / 2) and summary.high == pytest.approx((10 + 22) / 2)
    assert (summary.slices, summary.subjects) == (52, 7)


def test_paired_differences_remove_what_slices_share():
    base = random_rows(2, 10, 4, 3.0, 1.0)
    better = base.assign(psnr=base["psnr"] + 0.1).sample(frac=1, random_state=0)
    summary = summarise(paired(better, base, "psnr"), "psnr")
    assert summary.mean == pytest.approx(0.1)
    assert summary.low == pytest.approx(0.1) and summary.high == pytest.approx(0.1)


def test_paired_uses_the_slices_that_both_scored():
    first, second = rows({"a": [1.0, 2.0, float("nan")]}), rows({"a": [0.5, float("nan"), 1.0], "b": [3.0]})
    assert paired(first, second, "psnr")["psnr"].tolist() == [0.5]


def test_a_slice_twice_is_refused():
    table = rows({"a": [1.0]})
    with pytest.raises(ValueError):
        paired(pd.concat([table, table]), table, "psnr")


def test_pairs_are_of_one_sampling():
    base = rows({"a": [1.0, 2.0]})
    other = base.assign(pattern="radial", psnr=base["psnr"] + 10)
    both = pd.concat([base, other])
    better = pd.concat([other.assign(psnr=other["psnr"] + 2), base.assign(psnr=base["psnr"] + 1)])
    differences = paired(better, both, "psnr")
    assert sorted(differences["psnr"]) == [1.0, 1.0, 2.0, 2.0]
    assert set(differences.loc[differences["pattern"] == "radial", "psnr"]) == {2.0}
    assert paired(base, base.assign(acceleration=16), "psnr").empty


def test_slices_as_acquired_pair_with_themselves(tmp_path):
    base = rows({"a": [1.0, 2.0]}).assign(pattern="as acquired", acceleration=float("nan"))
    assert paired(base.assign(psnr=base["psnr"] + 1), base, "psnr")["psnr"].tolist() == [1.0, 1.0]
    # a column of None beside one of numbers, and no rows at all
    assert len(paired(base.assign(acceleration=None), base, "psnr")) == 2
    assert paired(base, base.iloc[:0].astype(object), "psnr").empty
