"""The images of an arm survive the disk, and damaged files are named."""

import h5py
import numpy as np
import pytest

from rekon.errors import UserError
from rekon.reading.images import read_images, write_images

IMAGES = {"v2/10": np.ones((3, 4)), "v1/0": np.arange(12.0).reshape(3, 4)}


def write(path, images=IMAGES, **changes):
    write_images(path, images, **{"arm": "sense", "dataset": "sim-x"} | changes)
    return path


def test_round_trip(tmp_path):
    back = read_images(write(tmp_path / "a.h5", unit="mT", subjects={"v2/10": "s", "v1/0": "s"}))
    assert (back.arm, back.dataset, back.unit) == ("sense", "sim-x", "mT")
    assert list(back.images) == ["v1/0", "v2/10"] and set(back.subjects.values()) == {"s"}
    assert back.images["v1/0"].dtype == np.float32
    np.testing.assert_array_equal(back.images["v1/0"], IMAGES["v1/0"])
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_a_volume_is_a_subject_unless_told(tmp_path):
    assert read_images(write(tmp_path / "a.h5")).subjects == {"v1/0": "v1", "v2/10": "v2"}


def test_equal_images_give_equal_bytes_in_any_order(tmp_path):
    first = write(tmp_path / "a.h5").read_bytes()
    assert write(tmp_path / "b.h5", dict(reversed(IMAGES.items()))).read_bytes() == first


@pytest.mark.parametrize(
    "image", [np.full((2, 2), np.nan), -np.ones((2, 2)), np.ones(4), np.ones((2, 2), complex), np.ones((0, 2))]
)
def test_only_finite_magnitudes_are_written(tmp_path, image):
    with pytest.raises(AssertionError):
        write(tmp_path / "a.h5", {"v/0": image})
    assert not (tmp_path / "a.h5").exists()


def test_damaged_and_foreign_files_are_named(tmp_path):
    def broken(name, change):
        with h5py.File(write(tmp_path / name), "r+") as file:
            change(file)

    def replaced(file, values):
        del file["v1/0/image"]
        file["v1/0/image"] = values
        file["v1/0/image"].attrs["subject"] = "s"

    write(tmp_path / "whole.h5")
    (tmp_path / "cut.h5").write_bytes((tmp_path / "whole.h5").read_bytes()[:300])
    broken("arm.h5", lambda file: file.attrs.pop("arm"))
    broken("subject.h5", lambda file: file["v1/0/image"].attrs.pop("subject"))
    broken("double.h5", lambda file: replaced(file, np.ones((2, 2))))
    broken("negative.h5", lambda file: replaced(file, -np.ones((2, 2), np.float32)))
    broken("stray.h5", lambda file: file.create_group("v1/first"))
    broken("none.h5", lambda file: file.clear())
    for name, problem in {
        "absent.h5": "no such file", "cut.h5": "not a readable HDF5", "arm.h5": "'arm' is missing",
        "subject.h5": "'v1/0/image' has no attribute 'subject'", "double.h5": "'v1/0/image' is missing or not float32",
        "negative.h5": "finite magnitudes", "stray.h5": "'v1/first/image' is missing", "none.h5": "holds no images",
    }.items():  # fmt: skip
        with pytest.raises(UserError, match=f"{name}: .*{problem}"):
            read_images(tmp_path / name)
