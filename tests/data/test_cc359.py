"""CC-359: what the publishers' own reconstruction shows is what the converted volume shows, phase included."""

from __future__ import annotations

import math
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from samples import make_dataset

from rekon.config.stack import Stack
from rekon.data.convert import convert
from rekon.data.formats import read_raw
from rekon.data.volume import Volume
from rekon.errors import UserError
from rekon.physics.fft import ifft2c

SHAPE = (6, 20, 24, 3)  # readout, ky, kz, coils


def images(shape: tuple[int, int, int, int] = SHAPE, seed: int = 0) -> np.ndarray:
    """Coil images (readout, ky, kz, coil) of an off-centre, textured blob."""
    rng = np.random.default_rng(seed)
    x, y, z, coils = shape
    i, j, k = np.meshgrid(*(np.linspace(-1, 1, n) for n in (x, y, z)), indexing="ij")
    blob = np.exp(-2 * ((i / 2) ** 2 + (j - 0.2) ** 2 + (k + 0.1) ** 2)) * (1 + 0.3 * (j > 0) + 0.2 * (k > 0.3))
    maps = np.exp(1j * (rng.normal(size=(coils, 1, 1, 1)) + rng.normal(size=(coils, 1, 1, 1)) * j)) * (
        1 + 0.4 * rng.uniform(-1, 1, (coils, 1, 1, 1)) * k
    )
    noise = rng.normal(size=(coils, x, y, z)) + 1j * rng.normal(size=(coils, x, y, z))
    return np.moveaxis(maps * blob + 0.01 * noise, 0, -1)


def raw_array(image: np.ndarray) -> np.ndarray:
    """The file's array: |ifft2(k)| is |image|, the zero frequency in the middle, kz acquired to 85 %."""
    k = np.fft.fftshift(np.fft.fft2(image, axes=(1, 2)), axes=(1, 2))
    k[:, :, acquired(k.shape[2]) :] = 0
    out = np.empty((*k.shape[:3], 2 * k.shape[3]), np.float32)
    out[..., ::2], out[..., 1::2] = k.real, k.imag
    return out


def acquired(kz: int) -> int:
    return math.ceil(0.85 * kz)


def write(path: Path, array: np.ndarray) -> Path:
    with h5py.File(path, "w") as file:
        file["kspace"] = array
    return path


def official(array: np.ndarray) -> np.ndarray:
    """The publishers' coil images (readout, ky, kz, coil): neither shifted nor scaled."""
    return np.abs(np.fft.ifft2(array[..., ::2] + 1j * array[..., 1::2], axes=(1, 2)))


def dataset(view: str = "axial", **stack: object):
    return make_dataset(format="cc359", view=view, stack=Stack(**stack))


def slices(path: Path, entry) -> np.ndarray:
    with read_raw(path, entry) as raw:
        return np.stack([raw.slice(index) for index in range(raw.shape[0])])


def truth(array: np.ndarray) -> np.ndarray:
    """Complex coil images (readout, coil, ky, kz) on the scale of the orthonormal transform."""
    k = array[..., ::2] + 1j * array[..., 1::2]
    image = np.fft.ifft2(np.fft.ifftshift(k, axes=(1, 2)), axes=(1, 2), norm="ortho")
    return np.moveaxis(image, -1, 1)


def error(got: np.ndarray, expected: np.ndarray) -> float:
    assert got.shape == expected.shape
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


@pytest.fixture
def array() -> np.ndarray:
    return raw_array(images())


# ---- what is read


def test_axial_coil_images_are_the_official_ones(tmp_path, array):
    got = np.abs(ifft2c(slices(write(tmp_path / "v.h5", array), dataset())))
    scale = math.sqrt(array.shape[1] * array.shape[2])
    assert error(got, scale * np.moveaxis(official(array), -1, 1)) < 1e-5


def test_sagittal_coil_images_are_the_official_ones_seen_from_the_side(tmp_path, array):
    got = np.abs(ifft2c(slices(write(tmp_path / "v.h5", array), dataset("sagittal"))))
    scale = math.sqrt(array.shape[1] * array.shape[2])
    assert error(got, scale * official(array).transpose(2, 3, 0, 1)) < 1e-5


@pytest.mark.parametrize("mirror", [(), ("rows",), ("slices",), ("rows", "slices")])
def test_axial_is_lossless_with_its_phase(tmp_path, array, mirror):
    got = ifft2c(slices(write(tmp_path / "v.h5", array), dataset(mirror=mirror, drop=(1, 2))))
    expected = truth(array)[1:-2]
    expected = expected[::-1] if "slices" in mirror else expected
    assert error(got, expected[:, :, ::-1] if "rows" in mirror else expected) < 1e-5


@pytest.mark.parametrize("mirror", [(), ("rows",), ("columns",), ("slices", "rows", "columns")])
def test_sagittal_is_lossless_with_its_phase(tmp_path, array, mirror):
    got = ifft2c(slices(write(tmp_path / "v.h5", array), dataset("sagittal", mirror=mirror, drop=(3, 5))))
    expected = truth(array).transpose(3, 1, 0, 2)[3:-5]
    for axis, name in ((0, "slices"), (2, "rows"), (3, "columns")):
        expected = np.flip(expected, axis) if name in mirror else expected
    assert error(got, expected) < 1e-5


@given(
    shape=st.tuples(st.integers(1, 5), st.integers(4, 9), st.integers(4, 9), st.integers(1, 3)),
    view=st.sampled_from(["axial", "sagittal"]),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_size(tmp_path, shape, view):
    x, y, z, coils = shape[0] * (1 if view == "axial" else 2), 2 * shape[1], 2 * shape[2], shape[3]
    array = raw_array(images((x, y, z, coils)))
    got = slices(write(tmp_path / "v.h5", array), dataset(view))
    if view == "axial":
        assert error(ifft2c(got), truth(array)) < 1e-5
        assert not got[..., acquired(z) :].any()
    else:
        assert error(ifft2c(got), truth(array).transpose(3, 1, 0, 2)) < 1e-5


@pytest.mark.parametrize("width", [170, 174, 180])
def test_the_published_widths(tmp_path, width):
    path = write(tmp_path / "v.h5", raw_array(images((2, 218, width, 1))))
    convert(path, tmp_path / "out" / "v.h5", "set", dataset(voxel=(1.0, 1.0, 1.0)), "v")
    with Volume(tmp_path / "out" / "v.h5") as volume:
        assert volume.shape == (2, 1, 218, width)
        assert volume.header.acquired == (0, {170: 145, 174: 148, 180: 153}[width])  # as the official masks
        assert volume.header.encoded_fov == (218.0, float(width))


def test_sagittal_header_has_the_readout_as_rows(tmp_path, array):
    with read_raw(write(tmp_path / "v.h5", array), dataset("sagittal", voxel=(2.0, 1.5, 5.0))) as raw:
        assert raw.header.encoded_fov == (12.0, 30.0)
        assert raw.header.thickness == 5.0
        assert raw.header.acquired == (0, 20)


def test_what_was_not_acquired_is_zero(tmp_path, array):
    noisy = array.copy()
    noisy[:, :, acquired(24) :] = 1e-5 * np.abs(array).max() * np.random.default_rng(0).normal(size=(6, 20, 3, 6))
    for view in ("axial", "sagittal"):
        got = slices(write(tmp_path / "noisy.h5", noisy), dataset(view))
        np.testing.assert_array_equal(got, slices(write(tmp_path / "clean.h5", array), dataset(view)))


# ---- each convention, broken on purpose: the images differ, or the file is refused


def _unsigned(array: np.ndarray) -> np.ndarray:
    y, z = np.indices(array.shape[1:3])
    return array * (1.0 - 2.0 * ((y + z) % 2))[..., None].astype(np.float32)


BROKEN = {
    "missing checkerboard": _unsigned,
    "other sign of the transform": lambda a: a * np.tile(np.float32([1, -1]), a.shape[-1] // 2),
    "zero frequency in the corner": lambda a: np.fft.ifftshift(a, axes=(1, 2)),
    "off by one along ky": lambda a: np.roll(a, 1, axis=1),
    "off by one along kz": lambda a: np.roll(a, 1, axis=2),
    "ky and kz exchanged": lambda a: np.ascontiguousarray(a.transpose(0, 2, 1, 3)),
    "readout and ky exchanged": lambda a: np.ascontiguousarray(a.transpose(1, 0, 2, 3)),
    "imaginary part first": lambda a: a.reshape(*a.shape[:3], -1, 2)[..., ::-1].reshape(a.shape),
    "real parts, then imaginary parts": lambda a: np.concatenate([a[..., ::2], a[..., 1::2]], axis=-1),
    "readout in k-space": lambda a: _transformed(a),
}


def _transformed(array: np.ndarray) -> np.ndarray:
    k = np.fft.fftshift(np.fft.fft(np.ascontiguousarray(array).view(np.complex64), axis=0, norm="ortho"), axes=0)
    return k.astype(np.complex64).view(np.float32)


@pytest.mark.parametrize("view", ["axial", "sagittal"])
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_convention_shows(tmp_path, array, name, view):
    expected = truth(array) if view == "axial" else truth(array).transpose(3, 1, 0, 2)
    path = write(tmp_path / "v.h5", np.ascontiguousarray(BROKEN[name](array), dtype=np.float32))
    try:
        got = ifft2c(slices(path, dataset(view)))
    except UserError:
        return
    assert got.shape != expected.shape or error(got, expected) > 0.1


# ---- bad files: one sentence


def _zero_coil(array):
    array[..., 2:4] = 0
    return array


def _poison(array):
    array[2, 5, 7, 1] = np.nan
    return array


@pytest.mark.parametrize("view", ["axial", "sagittal"])
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda a: a.astype(np.float64), "must be float32"),
        (lambda a: a.view(np.complex64), "must be float32"),
        (lambda a: a[..., :5], "must be float32"),
        (lambda a: a[0], "must be float32"),
        (lambda a: a[:0], "is empty"),
        (lambda a: a[:, :19], "odd matrix"),
        (lambda a: 0 * a, "k-space is zero throughout"),
        (_zero_coil, "coil 1 of the k-space is zero"),
        (_poison, "NaN or Inf"),
        (BROKEN["ky and kz exchanged"], "must be kz"),
        (BROKEN["zero frequency in the corner"], "not centred"),
    ],
)
def test_bad_files(tmp_path, array, view, damage, words):
    refused(write(tmp_path / "v.h5", np.ascontiguousarray(damage(array))), dataset(view), words)


@pytest.mark.parametrize("view", ["axial", "sagittal"])
@pytest.mark.parametrize("keep", [0.0, 0.5, 0.98])
def test_truncated(tmp_path, array, view, keep):
    path = write(tmp_path / "v.h5", array)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    refused(path, dataset(view), "not a readable HDF5 file")


@pytest.mark.parametrize("view", ["axial", "sagittal"])
@pytest.mark.parametrize("share", [0.1, 0.2, 0.9])
def test_an_undersampled_file_gives_no_reference(tmp_path, array, view, share):
    """As the publishers' test files are: samples at random, the centre whole, no empty column in between."""
    mask = np.random.default_rng(0).random(array.shape[1:3]) < share
    mask[6:14, 8:16] = True
    path = write(tmp_path / "v.h5", array * mask[..., None])
    refused(path, dataset(view), r"of the samples in the acquired part of kz are exactly zero, .* no reference")
    entry = make_dataset(format="cc359", view=view, reference=False, stack=Stack())
    with read_raw(path, entry) as raw:
        assert not raw.reference and raw.slice(0).any()


def test_a_few_samples_may_be_zero(tmp_path, array):
    array[:, 0, :4] = 0
    convert(write(tmp_path / "v.h5", array), tmp_path / "out.h5", "set", dataset(), "v")


def test_other_mistakes(tmp_path, array):
    path = write(tmp_path / "v.h5", array)
    refused(path, dataset("coronal"), "axial and sagittal")
    refused(path, dataset(mirror=("columns",)), "cannot be mirrored")
    refused(write(path, array[:5]), dataset("sagittal"), "5 readout positions")
    write(path, array)
    refused(path, dataset(drop=(3, 3)), r"drops 3 \+ 3 slices, the file has 6")
    with h5py.File(path, "w") as file:
        file["data"] = array
    refused(path, dataset(), "'kspace' is missing")


def refused(path, entry, words):
    out = path.parent / "out" / "v.h5"
    with pytest.raises(UserError, match=words) as caught:
        convert(path, out, "set", entry, "v")
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and message.endswith(".") and "\n" not in message
    assert not out.parent.exists() or not list(out.parent.iterdir())
