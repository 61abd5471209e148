"""Stanford 2D FSE: a file that is damaged, or not what its header says, is refused with one sentence that names it."""

import ismrmrd
import numpy as np
import pytest
from ismrmrd_files import rewrite
from measured import measurement
from test_stanford import STANFORD, each_line, edit_header, exchange_axes, replace_array

from rekon.data.convert import convert
from rekon.data.phantom import fse
from rekon.errors import UserError


@pytest.fixture
def file(tmp_path):
    fse.write(tmp_path / "raw.h5", measurement())
    return tmp_path / "raw.h5"


def refused(path, words):
    out = path.parent / "out" / "v.h5"
    with pytest.raises(UserError, match=words) as caught:
        convert(path, out, "set", STANFORD, "v")
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and message.endswith(".") and "\n" not in message
    assert not out.exists()


def drop(condition):
    return lambda path: rewrite(path, lambda one: None if condition(one.idx) else one)


def poison(value, coils=slice(None)):
    def change(one):
        one.data[coils] = value

    return each_line(change)


def no_limits(header):
    header.encoding[0].encodingLimits.kspace_encoding_step_1 = None


def many_partitions(header):
    header.encoding[0].encodedSpace.matrixSize.z = 8


def other_coils(header):
    header.acquisitionSystemInformation.receiverChannels = 4


def off_the_matrix(header):
    header.encoding[0].encodingLimits.kspace_encoding_step_1.maximum = 300


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-4000]), "not a readable HDF5 file"),
        (lambda path: edit_header(path, exchange_axes), "has number_of_samples 64, encodedSpace has x = 40 .*swapped"),
        (lambda path: edit_header(path, other_coils), "has active_channels 3, receiverChannels = 4"),
        (lambda path: edit_header(path, no_limits), "has no encodingLimits/kspace_encoding_step_1"),
        (lambda path: edit_header(path, many_partitions), "a 3D scan"),
        (lambda path: edit_header(path, off_the_matrix), "places 301 phase encodings at columns 4 to 304 of 40"),
        (drop(lambda idx: idx.slice == 1 and idx.kspace_encode_step_1 in (5, 6)), "slice 1 lacks 2 of the 32"),
        (drop(lambda idx: idx.slice == 0 and idx.kspace_encode_step_1 == 16), "slice 0 lacks 1 of the 32"),
        (drop(lambda idx: idx.slice == 0 and idx.kspace_encode_step_1 > 29), "slice 0 lacks 2 of the 32"),
        (each_line(lambda one: one.setFlag(ismrmrd.ACQ_IS_REVERSE)), "acquisition 0 is flagged as a reversed readout"),
        (drop(lambda idx: idx.kspace_encode_step_1 == 34), "slice 0 has lines of segment 2 but no calibration"),
        (drop(lambda idx: idx.kspace_encode_step_1 < 32), "no acquisition is image data"),
        (lambda path: replace_array(path, "rec_std", np.ones((1, 2))), "rec_std' must hold a positive number for each"),
        (lambda path: replace_array(path, "rec_std", np.array([[1.0, 0, 1]])), "rec_std' must hold a positive number"),
        (lambda path: replace_array(path, "data", np.zeros(4)), "no ISMRMRD acquisitions"),
        (poison(np.nan), "slice 0 of the k-space holds NaN or Inf"),
        (poison(0), "zero throughout"),
    ],
)  # fmt: skip
def test_bad_files(file, damage, words):
    damage(file)
    refused(file, words)
