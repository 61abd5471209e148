import subprocess
import sys

import h5py
import ismrmrd
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ismrmrd_files import acquisition, header, write

from rekon.data.formats.ismrmrd_file import NOISE, IsmrmrdFile
from rekon.data.formats.ismrmrd_heads import heads_alone
from rekon.errors import UserError

RNG = np.random.default_rng(0)


def samples(coils=2, count=8):
    return (RNG.standard_normal((coils, count)) + 1j * RNG.standard_normal((coils, count))).astype(np.complex64)


@pytest.fixture
def file(tmp_path):
    """One noise scan with fewer samples, then 12 lines of two slices."""
    lines = [acquisition(samples(count=5), (ismrmrd.ACQ_IS_NOISE_MEASUREMENT,))]
    lines += [acquisition(samples(), kspace_encode_step_1=i // 2, slice=i % 2) for i in range(12)]
    return write(tmp_path / "a.h5", header(), lines, rec_std=np.array([1.0, 2.0], np.float32))


def test_headers_flags_and_arrays(file):
    with IsmrmrdFile(file) as opened:
        assert opened.header.encoding[0].encodedSpace.matrixSize.x == 8
        assert opened.heads["idx"]["slice"].tolist() == [0, *[0, 1] * 6]
        assert opened.heads["number_of_samples"].tolist() == [5, *[8] * 12]
        assert opened.flagged(NOISE).tolist() == [True, *[False] * 12]
        assert opened.imaging.tolist() == [False, *[True] * 12]
        np.testing.assert_array_equal(opened.array("rec_std"), [1.0, 2.0])
        assert opened.array("other") is None and opened.user_parameters == {}


@pytest.mark.parametrize(
    ("layout", "alone"),
    [({}, True), ({"chunks": (1,)}, True), ({"chunks": (5,)}, True), ({"chunks": (5,), "compression": "gzip"}, False)],
)
def test_headers_do_not_depend_on_how_the_file_is_laid_out(file, layout, alone):
    with h5py.File(file, "r+") as opened:
        rows = opened["dataset/data"][:]
        rows["head"]["center_sample"] = np.arange(len(rows))
        del opened["dataset/data"]
        opened.create_dataset("dataset/data", data=rows, dtype=ismrmrd.hdf5.acquisition_dtype, **layout)
        assert (heads_alone(file, opened["dataset/data"], ("flags",)) is not None) == alone
    with IsmrmrdFile(file) as opened:
        heads = opened.heads
    for name in heads.dtype.names:
        np.testing.assert_array_equal(heads[name], rows["head"][name])


def test_flags_are_those_of_the_format(tmp_path):
    no_image = [name for name in dir(ismrmrd) if name.startswith("ACQ_IS_") and any(
        word in name for word in ("NOISE", "NAVIGATION", "PHASECORR", "FEEDBACK", "DUMMY", "SURFACECOIL", "PHASE_STAB")
    )] + ["ACQ_IS_PARALLEL_CALIBRATION"]  # fmt: skip
    image = ["ACQ_IS_PARALLEL_CALIBRATION_AND_IMAGING", "ACQ_IS_REVERSE", "ACQ_LAST_IN_MEASUREMENT"]
    lines = [acquisition(samples(), (getattr(ismrmrd, name),)) for name in no_image + image]
    with IsmrmrdFile(write(tmp_path / "a.h5", header(), lines)) as opened:
        assert dict(zip(no_image + image, opened.imaging.tolist(), strict=True)) == {
            **dict.fromkeys(no_image, False), **dict.fromkeys(image, True)
        }  # fmt: skip


@given(
    shapes=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 6)), min_size=1, max_size=12),
    keep=st.integers(1, 5),
    limit=st.integers(1, 400),
)
@settings(max_examples=25, deadline=None)
def test_blocks_hold_every_chosen_acquisition_once(tmp_path_factory, shapes, keep, limit):
    values = [samples(*shape) for shape in shapes]
    path = write(tmp_path_factory.mktemp("blocks") / "a.h5", header(), [acquisition(one) for one in values])
    chosen = np.array([i for i in range(len(shapes)) if i % keep == 0 or i % 3 == 1])
    seen = []
    with IsmrmrdFile(path) as opened:
        for indices, block in opened.blocks(chosen[::-1], limit):
            assert block.dtype == np.complex64 and (block.nbytes <= limit or len(block) == 1)
            for index, one in zip(indices, block, strict=True):
                np.testing.assert_array_equal(one, values[index])
            seen += indices.tolist()
    assert seen == chosen.tolist()


def test_peak_memory_is_a_block_not_the_file(tmp_path):
    path = write(tmp_path / "a.h5", header(), [acquisition(samples(16, 512)) for _ in range(400)])
    code = (
        "import sys, tracemalloc, numpy as np\n"
        "from rekon.data.formats.ismrmrd_file import IsmrmrdFile\n"
        "with IsmrmrdFile(sys.argv[1]) as f:\n"
        "    indices = np.flatnonzero(f.imaging); tracemalloc.start()\n"
        "    total = sum(block.nbytes for _, block in f.blocks(indices, 2**20))\n"
        "    print(total, tracemalloc.get_traced_memory()[1])\n"
    )
    out = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True).stdout
    total, peak = map(int, out.split())
    assert total == 400 * 16 * 512 * 8 and peak < total / 4


# ---- other and damaged files: one sentence that names the file


def refused(path, words, read=lambda opened: None):
    with pytest.raises(UserError, match=words) as caught, IsmrmrdFile(path) as opened:
        read(opened)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and message.endswith(".") and "\n" not in message


@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.99])
def test_truncated(file, keep):
    content = file.read_bytes()
    file.write_bytes(content[: keep if isinstance(keep, int) else int(keep * len(content))])
    refused(file, "not a readable HDF5 file")


def change(path, name, value):
    with h5py.File(path, "r+") as opened:
        del opened[name]
        if value is not None:
            opened[name] = value


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("dataset", None, "no ISMRMRD acquisitions"),
        ("dataset/data", None, "no ISMRMRD acquisitions"),
        ("dataset/data", np.zeros((3, 4)), "no ISMRMRD acquisitions"),
        ("dataset/data", np.zeros(3, [("head", [("version", "u2")]), ("data", "f4")]), "lack fields of ISMRMRD"),
        ("dataset/data", np.zeros(3, [("head", ismrmrd.hdf5.acquisition_header_dtype), ("data", "f8")]), "float32"),
        ("dataset/data", np.zeros(0, ismrmrd.hdf5.acquisition_dtype), "has no acquisitions"),
        ("dataset/xml", None, "header 'dataset/xml' is missing"),
        ("dataset/xml", [b"<ismrmrdHeader"], "does not follow the ISMRMRD schema"),
        ("dataset/xml", [b"<other/>"], "does not follow the ISMRMRD schema"),
    ],
)
def test_other_files(file, name, value, words):
    change(file, name, value)
    refused(file, words)


def test_samples_and_header_disagree(file):
    with h5py.File(file, "r+") as opened:
        one = opened["dataset/data"][4]
        one["head"]["number_of_samples"] = 9
        opened["dataset/data"][4] = one
    refused(file, "acquisition 4 holds 16 samples, its header says 2 coils of 9", lambda f: list(f.blocks([3, 4])))
