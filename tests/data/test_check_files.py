"""What is wrong with a raw file, told without converting it."""

import h5py
import numpy as np
import pytest
import test_cc359
from samples import make_dataset

from rekon.data.check_files import problem


@pytest.mark.parametrize(
    ("form", "content", "words"),
    [
        ("cc359", {"kspace": np.ones((4, 4, 4, 6), np.float32)}, ""),
        ("cc359", {"kspace": np.ones((4, 4, 4, 5), np.float32)}, "5 numbers a sample"),
        ("cc359", {"kspace": np.ones((4, 4, 4, 6), np.complex64)}, "complex64"),
        ("ahead", {"dataset/xml": b"<x/>", "dataset/data": np.ones(3)}, ""),
        ("stanford-fse", {"dataset/xml": b"<x/>"}, "'dataset/data' is missing"),
        ("ahead", {"kspace": np.ones(3)}, "'dataset' is missing"),
    ],
)
def test_structure_of_other_formats(tmp_path, form, content, words):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, value in content.items():
            file[name] = value
    found = problem(tmp_path / "a.h5", make_dataset(format=form), quick=True)
    assert words in found and bool(found) == bool(words)


def test_an_undersampled_file_of_cc359_is_told_before_it_is_converted(tmp_path):
    path = tmp_path / "a.h5"
    mask = np.random.default_rng(0).random((20, 24, 1)) < 0.3
    mask[6:14, 8:16] = True
    array = test_cc359.raw_array(test_cc359.images())
    for values, words in ((array, ""), (array * mask, "exactly zero")):
        test_cc359.write(path, values)
        found = problem(path, make_dataset(format="cc359"), quick=False)
        assert words in found and bool(found) == bool(words)
