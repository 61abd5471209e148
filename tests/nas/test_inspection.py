"""The inspection's file: what is written comes back, and what is missing is named."""

import math

import numpy as np
import pytest

from rekon.errors import UserError
from rekon.nas.inspection import (
    Accuracy,
    Ceiling,
    Codebook,
    Divergence,
    Inspection,
    Timing,
    perplexity,
    read_inspection,
    write_inspection,
)

LEVELS = ("32", "16", "8", "4", "2", "FS")


def made_up() -> Inspection:
    random = np.random.default_rng(0)
    runs, scales = ("base", "distilled"), LEVELS[1:]
    return Inspection(
        "sim-set", 4,
        Codebook(LEVELS, random.poisson(2, (6, 32))),
        Accuracy(runs, scales, random.random((2, 5)), random.random((2, 5)), random.random(5), 1 / 32),
        Divergence(runs, scales, random.random((2, 5))),
        Ceiling(("es-x", "radial"), np.array([30.0, 31.0]), np.array([20.0, 21.0])),
        Timing(runs, np.array([0.1, 0.2]), "cpu"),
    )  # fmt: skip


def test_what_is_written_comes_back(tmp_path):
    first = made_up()
    write_inspection(tmp_path / "inspect.npz", first)
    second = read_inspection(tmp_path / "inspect.npz")
    assert (second.dataset, second.slices) == ("sim-set", 4)
    for name in ("codebook", "accuracy", "divergence", "ceiling", "timing"):
        for key, value in vars(getattr(first, name)).items():
            stored = getattr(getattr(second, name), key)
            np.testing.assert_array_equal(stored, value)
            assert type(stored) is type(value)


def test_absent_parts_stay_absent(tmp_path):
    write_inspection(tmp_path / "inspect.npz", Inspection("sim-set", 0))
    assert read_inspection(tmp_path / "inspect.npz") == Inspection("sim-set", 0)


def test_perplexity_is_the_number_of_codes_where_all_are_equally_common():
    assert perplexity(np.array([5, 5, 0, 5, 5])) == pytest.approx(4)
    assert perplexity(np.array([0, 9])) == pytest.approx(1)
    assert math.isnan(perplexity(np.zeros(4, int)))
    book = Codebook(("32", "FS"), np.array([[1, 1, 0, 0], [3, 0, 0, 0]]))
    assert book.vocabulary == 4 and book.used.tolist() == [2, 1]
    np.testing.assert_allclose(book.perplexity, [2, 1])


def test_damage_is_named_with_the_remedy(tmp_path):
    path = tmp_path / "inspect.npz"
    with pytest.raises(UserError, match=r"inspect\.npz: no such file; run the rule inspect_nas"):
        read_inspection(path)
    path.write_bytes(b"nothing")
    with pytest.raises(UserError, match="not a readable"):
        read_inspection(path)
    write_inspection(path, made_up())
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files if name != "divergence.kl"}
    np.savez(path, **arrays)
    with pytest.raises(UserError, match=r"'divergence\.kl' is missing"):
        read_inspection(path)
