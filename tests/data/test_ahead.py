"""AHEAD: files written with the ismrmrd package come back as the coil images that they were made of."""

from __future__ import annotations

from pathlib import Path

import h5py
import ismrmrd
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from samples import make_dataset
from test_cc359 import error, images

from rekon.config.stack import Stack
from rekon.data.convert import convert
from rekon.data.formats import read_raw
from rekon.data.formats.ismrmrd_file import NOISE
from rekon.data.volume import Volume
from rekon.errors import UserError
from rekon.physics.fft import ifft2c

SHAPE = (20, 24, 6, 3)  # x, y, z, coils


def coil_images(shape: tuple[int, int, int, int] = SHAPE) -> np.ndarray:
    """(coil, x, y, z)."""
    x, y, z, coils = shape
    return np.ascontiguousarray(images((z, y, x, coils)).transpose(3, 2, 1, 0))


def kspace_of(image: np.ndarray, oversampling: int = 2) -> np.ndarray:
    """Centred k-space (coil, kx, ky, kz); the field of view along x is `oversampling` times that of the image."""
    x = image.shape[1]
    before = oversampling * x // 2 - x // 2
    wide = np.pad(image, ((0, 0), (before, (oversampling - 1) * x - before), (0, 0), (0, 0)))
    axes = (1, 2, 3)
    return np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(wide, axes), axes=axes, norm="ortho"), axes)


def header(shape: tuple[int, ...], x: int) -> ismrmrd.xsd.ismrmrdHeader:
    coils, nx, ny, nz = shape
    xsd = ismrmrd.xsd
    space = {
        "encodedSpace": ((nx, ny, nz), (10.0 * nx / x, 12.0, 3.0)),
        "reconSpace": ((x, ny, nz), (10.0, 12.0, 3.0)),
    }
    spaces = {
        name: xsd.encodingSpaceType(
            matrixSize=xsd.matrixSizeType(**dict(zip("xyz", size, strict=True))),
            fieldOfView_mm=xsd.fieldOfViewMm(**dict(zip("xyz", map(float, fov), strict=True))),
        )
        for name, (size, fov) in space.items()
    }
    limits = xsd.encodingLimitsType(
        kspace_encoding_step_1=xsd.limitType(minimum=0, maximum=ny - 1, center=ny // 2),
        kspace_encoding_step_2=xsd.limitType(minimum=0, maximum=nz - 1, center=nz // 2),
    )
    return xsd.ismrmrdHeader(
        measurementInformation=xsd.measurementInformationType(protocolName="MP2RAGEME", patientPosition="HFS"),
        subjectInformation=xsd.subjectInformationType(patientID="p7"),
        acquisitionSystemInformation=xsd.acquisitionSystemInformationType(
            systemFieldStrength_T=7.0, receiverChannels=coils
        ),
        experimentalConditions=xsd.experimentalConditionsType(H1resonanceFrequency_Hz=298000000),
        encoding=[xsd.encodingType(**spaces, encodingLimits=limits, trajectory=xsd.trajectoryType.CARTESIAN)],
    )


def write(path: Path, k: np.ndarray, x: int, order=None, leave_out=(), number=lambda y, z: (y, z), edit=None) -> Path:
    """k: (coil, kx, ky, kz); order: of the lines (ky, kz) in the file; number: what a line is called."""
    lines = [(y, z) for z in range(k.shape[3]) for y in range(k.shape[2])]
    lines = lines if order is None else [lines[i] for i in order]
    lines = [line for line in lines if line not in leave_out]
    given = header(k.shape, x)
    if edit:
        edit(given)
    rows = np.zeros(1 + len(lines), ismrmrd.hdf5.acquisition_dtype)
    head = rows["head"]
    head["version"], head["number_of_samples"] = 1, k.shape[1]
    head["active_channels"] = head["available_channels"] = k.shape[0]
    head["flags"][0] = 1 << (NOISE - 1)  # the first is a noise scan
    rows["data"][0] = np.full(2 * k.shape[0] * k.shape[1], 7, np.float32)
    rows["traj"] = [np.zeros(0, np.float32)] * len(rows)
    for row, (y, z) in enumerate(lines, 1):
        head["idx"]["kspace_encode_step_1"][row], head["idx"]["kspace_encode_step_2"][row] = number(y, z)
        rows["data"][row] = np.ascontiguousarray(k[:, :, y, z], np.complex64).view(np.float32).ravel()
    with h5py.File(path, "w") as file:
        file["dataset/xml"] = np.array([ismrmrd.xsd.ToXML(given)], h5py.string_dtype())
        file["dataset/data"] = rows
    return path


def dataset(**stack: object):
    return make_dataset(format="ahead", stack=Stack(**stack))


def slices(path: Path, entry) -> np.ndarray:
    with read_raw(path, entry) as raw:
        return np.stack([raw.slice(index) for index in range(raw.shape[0])])


def axial(image: np.ndarray) -> np.ndarray:
    """(coil, x, y, z) as slices (z, coil, y, x)."""
    return image.transpose(3, 0, 2, 1)


# ---- what is read


def test_these_files_are_ismrmrd(tmp_path):
    k = kspace_of(coil_images())
    with ismrmrd.Dataset(str(write(tmp_path / "v.h5", k, 20)), mode="r") as file:
        noise, line = file.read_acquisition(0), file.read_acquisition(30)
        assert noise.is_flag_set(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
        y, z = line.idx.kspace_encode_step_1, line.idx.kspace_encode_step_2
        np.testing.assert_allclose(line.data, k[:, :, y, z], rtol=1e-6)


@pytest.mark.parametrize("mirror", [(), ("rows",), ("columns",), ("slices", "rows", "columns")])
@pytest.mark.parametrize("oversampling", [1, 2])
def test_axial_slices_are_lossless_with_their_phase(tmp_path, oversampling, mirror):
    image = coil_images()
    path = write(tmp_path / "v.h5", kspace_of(image, oversampling), image.shape[1])
    got = ifft2c(slices(path, dataset(drop=(1, 2), mirror=mirror)))
    expected = axial(image)[1:-2]
    for axis, name in ((0, "slices"), (2, "rows"), (3, "columns")):
        expected = np.flip(expected, axis) if name in mirror else expected
    assert error(got, expected) < 1e-5


@given(
    shape=st.tuples(st.integers(3, 7), st.integers(3, 7), st.integers(1, 5), st.integers(1, 3)),
    block=st.sampled_from([1, 3000, 2**20]),
    shuffled=st.booleans(),
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_size_order_and_block(tmp_path, monkeypatch, shape, block, shuffled):
    monkeypatch.setattr("rekon.data.formats.out_of_core.BLOCK", block)
    x, y, z, coils = 2 * shape[0], 2 * shape[1], shape[2], shape[3]
    image = coil_images((x, y, z, coils))
    order = np.random.default_rng(0).permutation(y * z) if shuffled else None
    got = ifft2c(slices(write(tmp_path / "v.h5", kspace_of(image), x, order), dataset()))
    assert error(got, axial(image)) < 1e-5


def test_odd_sizes_get_a_line_of_zeros(tmp_path):
    image = coil_images((9, 11, 3, 2))
    with read_raw(write(tmp_path / "v.h5", kspace_of(image, 2), 9), dataset()) as raw:
        assert raw.shape == (3, 2, 12, 10)
        got = raw.slice(1)
    assert not got[:, 0].any() and not got[:, :, 0].any()


def test_names_and_header(tmp_path):
    image = coil_images()
    k = kspace_of(image)
    convert(write(tmp_path / "v.h5", k, 20), tmp_path / "a.h5", "set", dataset(), "v")
    convert(write(tmp_path / "mp2rageme_003_inv2_te4.h5", k, 20), tmp_path / "b.h5", "set", dataset(), "v")
    with Volume(tmp_path / "a.h5") as a, Volume(tmp_path / "b.h5") as b:
        assert (a.attrs["patient_id"], a.attrs["acquisition"]) == ("p7", "MP2RAGEME")
        assert (b.attrs["patient_id"], b.attrs["acquisition"]) == ("mp2rageme_003", "inv2_te4")
        assert a.header.encoded_fov == pytest.approx((12.0, 10.0))
        assert (a.header.thickness, a.header.field_strength) == (0.5, 7.0)
        assert a.header.acquired == (0, 20)


def test_a_repeated_line_replaces_the_first(tmp_path):
    image = coil_images()
    k = kspace_of(image)
    order = [60, *range(144)]  # line 60 first and again in its place
    path = write(tmp_path / "v.h5", k, 20, order)
    with h5py.File(path, "r+") as file:
        first = file["dataset/data"][1]
        first["data"] = first["data"] * 5
        file["dataset/data"][1] = first
    assert error(ifft2c(slices(path, dataset())), axial(image)) < 1e-5


def test_corners_may_be_left_out(tmp_path):
    k = kspace_of(coil_images())
    corners = [(y, z) for y in (0, 1, 22, 23) for z in (0, 5)]
    got = slices(write(tmp_path / "v.h5", k, 20, leave_out=corners), dataset())
    for y, z in corners:
        k[:, :, y, z] = 0
    assert error(got, slices(write(tmp_path / "w.h5", k, 20), dataset())) < 1e-6


# ---- each convention, broken on purpose: the images differ, or the file is refused

BROKEN = {
    "other sign of the transform": (lambda k: k.conj(), {}),
    "zero frequency in the corner": (lambda k: np.fft.ifftshift(k, (1, 2, 3)), {}),
    "kz not centred": (lambda k: np.fft.ifftshift(k, 3), {}),
    "off by one along ky": (lambda k: np.roll(k, 1, 2), {}),
    "off by one along kz": (lambda k: np.roll(k, 1, 3), {}),
    "off by one along kx": (lambda k: np.roll(k, 1, 1), {}),
    "steps exchanged": (lambda k: k, {"number": lambda y, z: (z, y)}),
    "header's axes exchanged": (lambda k: k.transpose(0, 2, 1, 3), {"edit": "xy"}),
    "kz in space": (lambda k: np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(k, 3), axis=3), 3), {}),
    "noise scan among the lines": (lambda k: k, {"noise": True}),
    "oversampling kept": (lambda k: k, {"edit": "wide"}),
}


def _exchange(given):
    for space in (given.encoding[0].encodedSpace, given.encoding[0].reconSpace):
        size = space.matrixSize
        size.x, size.y = size.y, size.x


def _wide(given):
    given.encoding[0].reconSpace = given.encoding[0].encodedSpace


EDITS = {"xy": _exchange, "wide": _wide}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_convention_shows(tmp_path, name):
    image = coil_images()
    change, options = BROKEN[name]
    options = dict(options)
    noise = options.pop("noise", False)
    if "edit" in options:
        options["edit"] = EDITS[options["edit"]]
    path = write(tmp_path / "v.h5", change(kspace_of(image)), 20, **options)
    if noise:  # a noise scan that is not flagged as one
        with h5py.File(path, "r+") as file:
            rows = file["dataset/data"][:]
            rows["head"]["flags"] = 0
            rows["head"]["idx"]["kspace_encode_step_1"][0], rows["head"]["idx"]["kspace_encode_step_2"][0] = 12, 3
            file["dataset/data"][:] = rows[np.r_[1 : len(rows), 0]]
    try:
        got = ifft2c(slices(path, dataset()))
    except UserError:
        return
    assert got.shape != axial(image).shape or error(got, axial(image)) > 0.1
