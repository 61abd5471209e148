"""AHEAD: a file that is damaged, or not what its header says, is refused with one sentence."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from samples import make_dataset
from test_ahead import coil_images, dataset, kspace_of, write
from test_cc359 import refused

from rekon.data.convert import convert
from rekon.data.formats.ismrmrd_file import NOISE, REVERSE


def _rows(change):
    def damage(path):
        with h5py.File(path, "r+") as file:
            rows = file["dataset/data"][:]
            change(rows)
            file["dataset/data"][:] = rows

    return damage


def _short(rows):
    rows["head"]["number_of_samples"][5] = 20


def _coils(rows):
    rows["head"]["active_channels"][5] = 2


def _nan(rows):
    rows["data"][40][3] = np.nan


def _silent(rows):
    for row in rows["data"]:
        row.reshape(3, -1)[1] = 0


def _all_noise(rows):
    rows["head"]["flags"] = 1 << (NOISE - 1)


def _head(name, value):
    def change(rows):
        rows["head"][name][7] = value

    return _rows(change)


def _scaled(name, value):
    def damage(path):
        with h5py.File(path, "r+") as file:
            text = file["dataset/xml"][0]
            assert name in text
            file["dataset/xml"][0] = text.replace(name, value)

    return damage


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_rows(_short), "acquisition 5 has 20"),
        (_rows(_coils), "acquisition 5 has 2"),
        (_rows(_nan), "NaN or Inf"),
        (_rows(_silent), "coil 1 of the k-space is zero"),
        (_rows(_all_noise), "none of the acquisitions is image data"),
        (_head("flags", 1 << (REVERSE - 1)), "acquisition 7 is flagged as a reversed readout, which"),
        (_head("discard_pre", 4), "acquisition 7 has samples to be discarded"),
        (_head("discard_post", 1), "acquisition 7 has samples to be discarded"),
        (_head("center_sample", 10), "acquisition 7 has its echo .* far from the middle"),
        (_scaled(b"<y>24</y>", b"<y>12</y>"), "12 x 6 phase encodings"),
        (_scaled(b"<y>24</y>", b"<y>48</y>"), "at the centre of k-space are missing"),
        (_scaled(b"<x>40</x>", b"<x>20</x>"), "acquisition 1 has 40"),
        (_scaled(b"<ismrmrdHeader", b"<header"), "does not follow the ISMRMRD schema"),
    ],
)
def test_bad_files(tmp_path, damage, words):
    path = write(tmp_path / "v.h5", kspace_of(coil_images()), 20)
    damage(path)
    refused(path, dataset(), words)


@pytest.mark.parametrize("centre", [0, 20, 19, 23])
def test_an_echo_near_the_middle_or_not_told_is_fine(tmp_path, centre):
    path = write(tmp_path / "v.h5", kspace_of(coil_images()), 20)
    _head("center_sample", centre)(path)
    with h5py.File(path, "r+") as file:  # a noise scan may be as it likes
        first = file["dataset/data"][0]
        first["head"]["flags"] |= np.uint64(1 << (REVERSE - 1))
        file["dataset/data"][0] = first
    convert(path, tmp_path / "out.h5", "set", dataset(), "v")


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.98])
def test_truncated(tmp_path, keep):
    path = write(tmp_path / "v.h5", kspace_of(coil_images()), 20)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    refused(path, dataset(), "not a readable HDF5 file|cannot be read")


def test_lines_missing_at_the_centre(tmp_path):
    path = write(tmp_path / "v.h5", kspace_of(coil_images()), 20, leave_out=[(11, 3), (12, 3)])
    refused(path, dataset(), "2 phase encodings at the centre")


def test_other_views(tmp_path):
    path = write(tmp_path / "v.h5", kspace_of(coil_images()), 20)
    refused(path, make_dataset(format="ahead", view="sagittal"), "read as axial slices")


def test_kspace_far_from_the_centre(tmp_path):
    path = write(tmp_path / "v.h5", np.roll(kspace_of(coil_images()), 8, axis=2), 20)
    refused(path, dataset(), r"strongest phase encoding is \(20, 3\)")
