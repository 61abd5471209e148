import pytest
import toy

from rekon.training.sampling import items
from rekon.training.schedule import factor, log_interval, total_steps, validation_steps


def test_learning_rate_at_the_knots():
    settings = toy.recipe().training  # the recipe's defaults are UEPS's: 1 %, 65 %, 95 %, floor 10 %
    values = {0: 0.01, 5: 0.505, 10: 1.0, 300: 1.0, 649: 1.0, 650: 1.0, 800: 0.55, 950: 0.1, 999: 0.1}
    for step, value in values.items():
        assert factor(step, 1000, settings) == pytest.approx(value, abs=1e-12), step
    assert 0.1 < factor(949, 1000, settings) < 0.1001
    curve = [factor(step, 1000, settings) for step in range(650, 1000)]
    assert curve == sorted(curve, reverse=True)


def test_schedule_without_warm_up_or_decay():
    flat = toy.recipe(warmup=0.0, decay_from=1.0, decay_until=1.0).training
    assert {factor(step, 10, flat) for step in range(10)} == {1.0}
    sudden = toy.recipe(warmup=0.0, decay_from=0.5, decay_until=0.5).training
    assert [factor(step, 4, sudden) for step in range(4)] == [1.0, 1.0, 0.1, 0.1]


def test_steps_of_epochs():
    assert total_steps(toy.recipe(steps=None, epochs=3, batch=4).training, 10) == 8
    assert total_steps(toy.recipe(steps=7).training, 10) == 7


def test_validations_are_spread_evenly_and_end_with_the_run():
    assert validation_steps(100, 4) == {25, 50, 75, 100}
    assert validation_steps(3, 10) == {1, 2, 3}
    assert max(validation_steps(1237, 10)) == 1237
    assert len(validation_steps(1237, 10)) == 10


def test_histories_have_a_bounded_length():
    assert log_interval(60) == 1
    for steps in (500, 3000, 150_000):
        assert 130 <= steps / log_interval(steps) <= 270


def test_items_are_a_function_of_seed_and_step():
    row = [i for step in range(10) for i in items(5, step, 3, 10)]
    epochs = [row[start : start + 10] for start in (0, 10, 20)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert items(5, 7, 3, 10) == row[21:24]
    assert items(6, 7, 3, 10) != row[21:24]
    assert len(items(0, 0, 8, 3)) == 8, "a batch larger than the set is full all the same"
