"""Training ends early where patience is given and runs out, and interruptions change nothing about it."""

import json
import multiprocessing
import signal

import pytest
import torch
import toy
from pydantic import ValidationError
from test_resume import die_at, products

from rekon.training.history import read_history
from rekon.training.loop import BudgetReached
from rekon.training.weights import load_weights

VALUES = {12: 3.0, 24: 1.0, 36: 2.0, 48: 1.0, 60: 0.5}  # by finished steps; at 48 equal to the best, not better


@pytest.fixture
def given(monkeypatch):
    """Validations that give VALUES, or others, as a function of the steps done."""

    def give(values):
        monkeypatch.setattr(toy.Toy, "validate", lambda self: {"val_mae": values[int(self.count)]})

    give(VALUES)
    return give


def rows(folder):
    return read_history(toy.outputs(folder).metrics)


def test_it_ends_after_so_many_validations_without_a_better_one(given, tmp_path, monkeypatch):
    weights = {}
    product = toy.Toy.product

    def noting(self):
        weights[int(self.count)] = self.networks["student"][0].weight.detach().clone()
        return product(self)

    monkeypatch.setattr(toy.Toy, "product", noting)
    toy.run(tmp_path, patience=2)
    assert [row["step"] for row in rows(tmp_path) if "val_mae" in row] == [12, 24, 36, 48]
    run = json.loads(toy.outputs(tmp_path).provenance.read_text())
    assert run["steps"] == 48 and run["best"] == {"step": 24, "val_mae": 1.0}
    assert torch.equal(load_weights(toy.outputs(tmp_path).weights)[0]["student.0.weight"], weights[24])
    assert list((tmp_path / "work").iterdir()) == [], "whoever deletes the outputs and trains again, trains"


def test_a_better_one_gives_new_patience(given, tmp_path):
    given({12: 3.0, 24: 4.0, 36: 2.0, 48: 5.0, 60: 6.0})
    toy.run(tmp_path, patience=2)
    assert rows(tmp_path)[-1]["step"] == 60


@pytest.mark.parametrize("patience", [None, 3, 9])
def test_without_or_with_enough_patience_it_goes_on_to_the_end(given, tmp_path, patience):
    toy.run(tmp_path, patience=patience)
    assert json.loads(toy.outputs(tmp_path).provenance.read_text())["best"] == {"step": 60, "val_mae": 0.5}


def test_up_to_its_end_it_is_the_run_that_it_would_have_been(given, tmp_path):
    toy.run(tmp_path / "short", patience=1)
    toy.run(tmp_path / "long")
    short = rows(tmp_path / "short")
    assert short[-1]["step"] == 36 and short == rows(tmp_path / "long")[: len(short)]


def test_interruptions_and_workers_change_nothing(given, tmp_path):
    toy.run(tmp_path / "whole", patience=2)
    for _ in range(3):
        with pytest.raises(BudgetReached):
            toy.run(tmp_path / "parts", patience=2, minutes=0)
    toy.run(tmp_path / "parts", patience=2, workers=1)
    assert products(tmp_path / "parts") == products(tmp_path / "whole")


@pytest.mark.parametrize("place", ["save_weights", "write_json"])
def test_killed_between_its_early_end_and_its_outputs(given, tmp_path, monkeypatch, place):
    recipe = toy.recipe
    monkeypatch.setattr(toy, "recipe", lambda **training: recipe(**training | {"patience": 2}))
    toy.run(tmp_path / "whole")
    child = multiprocessing.get_context("fork").Process(target=die_at, args=(tmp_path, place, 1))
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    toy.run(tmp_path)
    assert rows(tmp_path)[-1]["step"] == 48
    assert products(tmp_path) == products(tmp_path / "whole")


def test_patience_is_at_least_one():
    with pytest.raises(ValidationError):
        toy.recipe(patience=0)
