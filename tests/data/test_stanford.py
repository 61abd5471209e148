import ismrmrd
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ismrmrd import xsd
from ismrmrd_files import acquisition, rewrite
from measured import difference, measurement, truth
from samples import make_dataset

from rekon.data.convert import convert
from rekon.data.formats import read_raw
from rekon.data.phantom import fse
from rekon.data.volume import Volume
from rekon.errors import UserError
from rekon.files import sha256
from rekon.physics.fft import ifft2c

STANFORD = make_dataset(format="stanford-fse", vendor="GE")


def images(path, dataset=STANFORD):
    with read_raw(path, dataset) as raw:
        return ifft2c(np.stack([raw.slice(index) for index in range(raw.shape[0])]))


@pytest.fixture
def made():
    return measurement()


@pytest.fixture
def file(tmp_path, made):
    fse.write(tmp_path / "raw.h5", made)
    return tmp_path / "raw.h5"


def edit_header(path, change):
    with ismrmrd.File(path, "r+") as opened:
        header = opened["dataset"].header
        change(header)
        opened["dataset"].header = header


def replace_array(path, name, values):
    with ismrmrd.Dataset(path, mode="r+") as opened:
        group = opened._dataset
        del group[name]
        if values is not None:
            group[name] = values


def change_array(path, name, change):
    with ismrmrd.Dataset(path, mode="r") as opened:
        values = opened._dataset[name][()]
    replace_array(path, name, change(values))


# ---- what is written is ISMRMRD, and what is read is what was measured


def test_the_complex_images_come_back(file, made):
    assert difference(images(file), truth(made)) < 1e-5


@given(
    slices=st.integers(1, 3), coils=st.integers(1, 5), rows=st.integers(8, 20), columns=st.integers(8, 24),
    missing=st.integers(0, 13), oversampling=st.sampled_from([1, 2]), seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=15, deadline=None)
def test_every_size_comes_back(tmp_path_factory, slices, coils, rows, columns, missing, oversampling, seed):
    lines = max(8, 2 * columns - missing)
    made = measurement(slices, coils, (2 * rows, 2 * columns), lines, oversampling, seed=seed)
    path = tmp_path_factory.mktemp("fse") / "raw.h5"
    fse.write(path, made)
    assert difference(images(path), truth(made)) < 1e-5


def test_file_follows_the_format(file):
    """Looked at with the format's own library, and compared with the conventions, not with the reader."""
    with ismrmrd.Dataset(file, mode="r") as opened:
        header = xsd.CreateFromDocument(opened.read_xml_header())
        space, limits = header.encoding[0].encodedSpace, header.encoding[0].encodingLimits
        assert (space.matrixSize.x, space.matrixSize.y, space.matrixSize.z) == (64, 40, 1)
        assert (limits.kspace_encoding_step_1.maximum, limits.kspace_encoding_step_1.center) == (31, 16)
        assert limits.segment.maximum == 7 and header.acquisitionSystemInformation.receiverChannels == 3
        assert {one.name: one.value for one in header.userParameters.userParameterLong}["ChopY"] == 0
        assert opened.read_array("rec_std", 0).shape == (3,)
        assert opened.number_of_acquisitions() == 2 * (32 + 8)
        first = opened.read_acquisition(0)
        assert first.data.shape == (3, 64) and first.center_sample == 32
        np.testing.assert_allclose(np.cross(first.read_dir, first.phase_dir), first.slice_dir, atol=1e-6)


def test_published_steps_on_the_file_give_the_measurement(file, made):
    """The published processing, written down a second time and plainly: chop, weights, segments' phases, padding."""
    with ismrmrd.Dataset(file, mode="r") as opened:
        lines = [opened.read_acquisition(number) for number in range(opened.number_of_acquisitions())]
        weights = 1 / opened.read_array("rec_std", 0)
    weights /= np.sqrt(np.sum(weights**2))
    space, echoes = np.zeros((2, 3, 64, 32), complex), np.zeros((2, 8, 3, 64), complex)
    for line in lines:
        ky, data = line.idx.kspace_encode_step_1, line.data * weights[:, None] * (-1) ** line.idx.kspace_encode_step_1
        data = np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(data, axes=-1)), axes=-1)
        if ky < 32:
            space[line.idx.slice, :, :, ky] = data
        else:
            echoes[line.idx.slice, line.idx.segment] = data
    for line in lines:
        ky, index = line.idx.kspace_encode_step_1, line.idx.slice
        if ky < 32:
            turn = np.angle(echoes[index, 0] * echoes[index, line.idx.segment].conj())  # pixel by pixel, no line fitted
            space[index, :, :, ky] *= np.exp(1j * turn)
    padded = np.pad(space, [(0, 0)] * 3 + [(4, 4)])
    coils = np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(padded, axes=-1)), axes=-1)[..., 16:48, :] * np.sqrt(64 * 40)
    bright = np.abs(truth(made)).max(1, keepdims=True) > 0.05 * np.abs(truth(made)).max()
    assert difference(coils * bright, truth(made) * bright) < 1e-3


def test_equal_measurements_give_equal_bytes(tmp_path):
    for name in "ab":
        fse.write(tmp_path / name, measurement())
    assert sha256(tmp_path / "a") == sha256(tmp_path / "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_canonical_volume(tmp_path, file, made):
    convert(file, tmp_path / "v.h5", "set", STANFORD, "v")
    with Volume(tmp_path / "v.h5") as volume:
        assert volume.shape == (2, 3, 32, 40) and volume.header.acquired == (4, 36)
        assert volume.header.encoded_fov == (200.0, 250.0) and volume.header.field_strength == 3.0
        assert (volume.attrs["acquisition"], volume.attrs["patient_id"]) == ("AXT2", "p1")
        np.testing.assert_allclose(volume.target(1), np.linalg.norm(truth(made)[1], axis=0), rtol=1e-4, atol=1e-5)


def test_scans_that_are_no_image_change_nothing(file, made):
    def noise(one):
        one.setFlag(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
        return one

    with ismrmrd.File(file, "r+") as opened:
        old = list(opened["dataset"].acquisitions)
        other = [
            acquisition(old[0].data * 9, kspace_encode_step_1=7, contrast=1),
            noise(acquisition(old[0].data[:, :5])),
        ]
        opened["dataset"].acquisitions = [*other, *old]
    assert difference(images(file), truth(made)) < 1e-5


def test_echo_phases_are_estimated_from_the_calibration_of_each_segment_in_any_order(file, made):
    """Calibration lines need not come in the order of their segments."""

    def exchange(one):
        ky = one.idx.kspace_encode_step_1
        if ky in (34, 37):
            one.data[:] *= -1  # chop follows the line number, which changes from even to odd and back
            one.idx.kspace_encode_step_1 = 71 - ky
        return one

    rewrite(file, exchange)
    assert difference(images(file), truth(made)) < 1e-5


@pytest.mark.parametrize("flag", [ismrmrd.ACQ_IS_PHASECORR_DATA, ismrmrd.ACQ_IS_PARALLEL_CALIBRATION])
def test_calibration_lines_may_be_flagged_as_such(file, made, flag):
    def flagged(one):
        if one.idx.kspace_encode_step_1 >= 32:
            one.setFlag(flag)
        return one

    rewrite(file, flagged)
    assert difference(images(file), truth(made)) < 1e-5


def test_a_line_missing_at_the_end_of_kspace_is_zero(file, made):
    rewrite(file, lambda one: None if one.idx.slice == 1 and one.idx.kspace_encode_step_1 == 31 else one)
    with read_raw(file, STANFORD) as raw:
        kspace = [raw.slice(index) for index in range(2)]
    made.scan.kspace[1, ..., 35] = 0
    assert difference(ifft2c(np.stack(kspace)), truth(made)) < 1e-5
    convert(file, file.parent / "out.h5", "set", STANFORD, "v")


# ---- every convention, broken on purpose, is seen


def set_chop(header):
    next(one for one in header.userParameters.userParameterLong if one.name == "ChopY").value = 1


def each_line(change):
    return lambda path: rewrite(path, lambda one: (change(one), one)[1])


def assign(**values):
    def change(one):
        for name, value in values.items():
            setattr(one.idx, name, value(one.idx))

    return each_line(change)


def shift_lines(header):
    header.encoding[0].encodingLimits.kspace_encoding_step_1.center += 1


def keep_oversampling(header):
    header.encoding[0].reconSpace.fieldOfView_mm.x = header.encoding[0].encodedSpace.fieldOfView_mm.x


def exchange_axes(header):
    size = header.encoding[0].encodedSpace.matrixSize
    size.x, size.y = size.y, size.x


def echoes_as_lines(header):
    header.encoding[0].encodingLimits.kspace_encoding_step_1.maximum += 4


def conjugate(one):
    one.data[:] = one.data.conj()


def reverse(one):
    one.data[:] = one.data[:, ::-1].copy()


def late_echo(one):
    one.data[:] = np.roll(one.data, 1, axis=-1)


BROKEN = {
    "chop left in": lambda path: edit_header(path, set_chop),
    "no whitening": lambda path: replace_array(path, "rec_std", None),
    "variances for deviations": lambda path: change_array(path, "rec_std", np.square),
    "echoes in one segment": assign(segment=lambda idx: 0),
    "echoes exchanged": assign(segment=lambda idx: 7 - idx.segment if idx.kspace_encode_step_1 < 32 else idx.segment),
    "phase encoding shifted": lambda path: edit_header(path, shift_lines),
    "phase encoding reversed": assign(
        kspace_encode_step_1=lambda idx: 31 - idx.kspace_encode_step_1 if idx.kspace_encode_step_1 < 32 else
        idx.kspace_encode_step_1
    ),
    "slices exchanged": assign(slice=lambda idx: 1 - idx.slice),
    "oversampling kept": lambda path: edit_header(path, keep_oversampling),
    "calibration taken as lines": lambda path: edit_header(path, echoes_as_lines),
    "sign of the transform": each_line(conjugate),
    "readout reversed": each_line(reverse),
    "readout shifted": each_line(late_echo),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_conventions_are_seen(file, made, name):
    BROKEN[name](file)
    try:
        read = images(file)
    except UserError:  # seen even earlier
        return
    assert difference(read, truth(made)) > 0.01
