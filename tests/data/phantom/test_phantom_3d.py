"""3D sets: the slab is what the thin slices show, its files keep their formats' conventions and come back unharmed."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path

import h5py
import ismrmrd
import numpy as np
import pytest
from conftest_phantom import catalogue

from rekon.config.datasets import Simulation
from rekon.data.formats import read_raw
from rekon.data.phantom import cohort
from rekon.data.phantom.acquire import Scan
from rekon.data.phantom.signal import FIRST_FLIP, FIRST_TRAIN, SECOND_SPACING, SPACING, TRAIN, mprage
from rekon.data.phantom.tissue import INDEX, Relaxation, relaxation
from rekon.files import sha256

AXIAL, SAGITTAL, ECHO = "sim-cc359-axial", "sim-cc359-sag", "sim-ahead-e3"
SLAB = (0, 2, 3)


def small(name: str) -> Simulation:
    simulation = catalogue()[name].simulation
    assert simulation is not None
    return simulation.model_copy(update={"matrix": (48, 40), "phase_lines": 40, "coils": (3,)})


@cache
def slab(name: str) -> Scan:
    return cohort.simulated_slab(name, small(name), "test", 0, catalogue()[name])


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Function that gives the first volume of a set as a file."""
    folder = tmp_path_factory.mktemp("raw")

    @cache
    def write(name: str) -> Path:
        cohort.simulate(name, small(name), "test", 0, folder / f"{name}.h5", catalogue()[name])
        return folder / f"{name}.h5"

    return write


def slices(path: Path, name: str) -> np.ndarray:
    with read_raw(path, catalogue()[name]) as raw:
        return np.stack([raw.slice(index) for index in range(raw.shape[0])])


def centred(function, k: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    return np.fft.fftshift(function(np.fft.ifftshift(k, axes), axes=axes, norm="ortho"), axes)


def coil_images(k: np.ndarray, rows: int = 48, columns: int = 40) -> np.ndarray:
    """(slice, coil, H, W) of 3D k-space, readout oversampling removed."""
    image = centred(np.fft.ifftn, k, SLAB)
    top, left = image.shape[2] // 2 - rows // 2, image.shape[3] // 2 - columns // 2
    return image[:, :, top : top + rows, left : left + columns]


def without_last(images: np.ndarray, axis: int) -> np.ndarray:
    """Images of which the last 15 % of the encodings along an axis were not acquired."""
    k = np.moveaxis(centred(np.fft.fftn, images, (axis,)), axis, -1)
    k[..., math.ceil(0.85 * k.shape[-1]) :] = 0
    return centred(np.fft.ifftn, np.moveaxis(k, -1, axis), (axis,))


def error(got: np.ndarray, expected: np.ndarray) -> float:
    assert got.shape == expected.shape
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


# ---- the acquisition


def test_partitions_show_what_was_drawn() -> None:
    scan, step = slab(ECHO), small(ECHO).slice_gap
    middle = np.sqrt(np.sum(np.abs(coil_images(scan.clean)) ** 2, axis=1))[2]  # at depth 0
    near = np.flatnonzero(np.abs(scan.positions[:, 0, 0, 2] - scan.positions[:, 0, 0, 2].mean()) < step / 2)
    drawn = np.abs(scan.image[near]) * np.sqrt(np.sum(np.abs(scan.maps[near]) ** 2, axis=1))
    drawn = drawn.mean(axis=0)[:, 20:60]  # the readout is twice oversampled
    assert np.corrcoef(middle.ravel(), drawn.ravel())[0, 1] > 0.97


@pytest.mark.parametrize("name", [AXIAL, SAGITTAL, ECHO])
def test_only_the_readout_is_oversampled(name: str) -> None:
    shape = {AXIAL: (4, 3, 48, 40), SAGITTAL: (8, 3, 96, 40), ECHO: (4, 3, 48, 80)}[name]
    assert slab(name).kspace.shape == shape


def test_noise_is_as_strong_as_it_says() -> None:
    scan = slab(ECHO)
    noise = scan.kspace - scan.clean
    assert np.sqrt(np.mean(np.abs(noise) ** 2)) == pytest.approx(scan.noise, rel=0.05)
    brightest = np.percentile(np.sqrt(np.sum(np.abs(coil_images(scan.clean)) ** 2, axis=1)), 99)
    assert brightest / scan.noise == pytest.approx(small(ECHO).snr, rel=0.25)


def test_echoes_are_of_one_subject_and_decay() -> None:
    scans = [slab(f"sim-ahead-e{echo}") for echo in range(2, 6)]
    np.testing.assert_array_equal(scans[0].tissues, scans[1].tissues)
    np.testing.assert_array_equal(scans[0].maps, scans[3].maps)
    white = scans[0].tissues[INDEX["white"]] > 0.95
    level = [float(np.median(np.abs(scan.object[white]) / scan.gain)) for scan in scans]
    rates = -np.diff(np.log(level)) / np.array([8.5, 8.5, 8.5])  # per ms
    assert rates.min() > 1 / 45 and rates.max() < 1 / 15  # T2* of white matter at 7 T, about 26 ms
    assert rates.max() < 1.3 * rates.min()
    peaks = [np.abs(coil_images(scan.kspace)).max() for scan in scans]
    assert peaks == sorted(peaks, reverse=True)
    noises = [scan.kspace - scan.clean for scan in scans[:2]]
    assert abs(np.vdot(*noises)) < 0.05 * np.linalg.norm(noises[0]) * np.linalg.norm(noises[1])


def test_first_inversion_is_read_before_the_second() -> None:
    tissue = relaxation(7.0, False, np.random.default_rng(0))
    tr, te, ti, flip = 6778.0, 3.0, 3675.0, 5.0
    got = mprage(tissue, tr, te, ti, flip, SECOND_SPACING, FIRST_FLIP, read_before=True)
    np.testing.assert_allclose(got, stepped(tissue, tr, te, ti, flip), rtol=1e-6, atol=1e-12)


def stepped(tissue: Relaxation, tr: float, te: float, ti: float, flip: float) -> np.ndarray:
    """Signal at the first train's centre, pulse by pulse until nothing changes."""

    def recover(mz: np.ndarray, time: float) -> np.ndarray:
        return 1 + (mz - 1) * np.exp(-time / tissue.t1)

    mz = np.ones_like(tissue.t1)
    for _ in range(60):
        mz, clock, read = -mz, 0.0, mz
        for centre, angle, gap in ((FIRST_TRAIN, FIRST_FLIP, SPACING), (ti, flip, SECOND_SPACING)):
            mz = recover(mz, max(centre - TRAIN / 2 * gap - clock, 0))
            for pulse in range(TRAIN):
                if centre == FIRST_TRAIN and pulse == TRAIN // 2:
                    read = mz
                mz = recover(mz * np.cos(np.deg2rad(angle)), gap)
            clock = centre + TRAIN / 2 * gap
        mz = recover(mz, max(tr - clock, 0))
    return tissue.pd * read * np.sin(np.deg2rad(FIRST_FLIP)) * np.exp(-te / tissue.t2_star)


# ---- the files


@pytest.mark.parametrize("name", [AXIAL, SAGITTAL, ECHO])
def test_equal_arguments_give_equal_bytes(tmp_path: Path, written, name: str) -> None:
    cohort.simulate(name, small(name), "test", 0, tmp_path / "again.h5", catalogue()[name])
    assert sha256(tmp_path / "again.h5") == sha256(written(name))
    assert [path.name for path in tmp_path.iterdir()] == ["again.h5"]


@pytest.mark.parametrize(("name", "axis"), [(AXIAL, 3), (SAGITTAL, 0)])
def test_publishers_reconstruction_of_cc359_shows_our_coil_images(written, name: str, axis: int) -> None:
    with h5py.File(written(name)) as file:
        assert list(file) == ["kspace"] and not file.attrs
        stored = file["kspace"][()]
    assert stored.dtype == np.float32
    official = np.abs(np.fft.ifft2(stored[..., ::2] + 1j * stored[..., 1::2], axes=(1, 2)))
    ours = without_last(coil_images(slab(name).kspace), axis)[:, :, ::-1]  # their rows run the other way
    ours = np.abs(ours.transpose((0, 2, 3, 1) if name == AXIAL else (2, 3, 0, 1)))
    assert stored.shape == (*ours.shape[:3], 6)
    assert error(official * math.sqrt(ours.shape[1] * ours.shape[2]), ours) < 3e-4  # what is left beyond the 85 %
    centre = np.unravel_index(np.square(stored).sum(axis=(0, 3)).argmax(), stored.shape[1:3])
    assert all(abs(at - n // 2) <= 1 for at, n in zip(centre, stored.shape[1:3], strict=True))


@pytest.mark.parametrize(("name", "axis"), [(AXIAL, 3), (SAGITTAL, 0)])
def test_cc359_comes_back_with_its_phase(written, name: str, axis: int) -> None:
    got = centred(np.fft.ifftn, slices(written(name), name), (2, 3))
    drop = catalogue()[name].stack.drop[0]
    expected = without_last(coil_images(slab(name).kspace), axis)[drop:-drop]
    assert error(got, expected) < 1e-5


def test_ahead_comes_back_with_its_phase(written) -> None:
    got = centred(np.fft.ifftn, slices(written(ECHO), ECHO), (2, 3))
    assert error(got, coil_images(slab(ECHO).kspace)[1:-1]) < 1e-5


def test_ahead_is_ismrmrd(written) -> None:
    with ismrmrd.Dataset(str(written(ECHO)), mode="r") as file:
        header = ismrmrd.xsd.CreateFromDocument(file.read_xml_header())
        encoding = header.encoding[0]
        size, shown = encoding.encodedSpace.matrixSize, encoding.reconSpace.matrixSize
        assert (size.x, size.y, size.z) == (80, 48, 4) and (shown.x, shown.y, shown.z) == (40, 48, 4)
        assert encoding.encodedSpace.fieldOfView_mm.x == 2 * encoding.reconSpace.fieldOfView_mm.x == 364.0
        assert header.sequenceParameters.TE == [11.5] and header.acquisitionSystemInformation.receiverChannels == 3
        assert file.number_of_acquisitions() == 1 + 48 * 4
        noise = file.read_acquisition(0)
        assert noise.is_flag_set(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
        assert noise.data.std() == pytest.approx(slab(ECHO).noise, rel=0.15)
        seen = set()
        for number in range(1, file.number_of_acquisitions()):
            one = file.read_acquisition(number)
            ky, kz = one.idx.kspace_encode_step_1, one.idx.kspace_encode_step_2
            np.testing.assert_array_equal(one.data, slab(ECHO).kspace[kz, :, ky])
            seen.add((ky, kz))
        assert len(seen) == 48 * 4
        assert one.is_flag_set(ismrmrd.ACQ_LAST_IN_MEASUREMENT)


# ---- readers and catalogue together: what one of them has wrong shows


@pytest.mark.parametrize("name", [AXIAL, SAGITTAL])
def test_a_set_that_forgets_the_rows_is_upside_down(written, name: str) -> None:
    entry = catalogue()[name]
    forgetful = entry.model_copy(update={"stack": entry.stack.model_copy(update={"mirror": ()})})
    path = written(name)
    with read_raw(path, entry) as right, read_raw(path, forgetful) as wrong:
        up, down = (np.abs(centred(np.fft.ifftn, raw.slice(0), (1, 2))) for raw in (right, wrong))
    assert error(down[:, ::-1], up) < 1e-5 < error(down, up)


def test_heads_lie_as_in_the_other_sets(written) -> None:
    """The neck is below; axial heads are as in 2D sets, of which the subjects are the same."""

    def profile(images: np.ndarray) -> np.ndarray:
        """Share of each row that is head."""
        return (images > 0.1 * images.max()).mean(axis=(0, 2))

    def read(name: str) -> np.ndarray:
        return np.abs(centred(np.fft.ifftn, slices(written(name), name), (2, 3))).max(axis=1)

    sagittal = profile(read(SAGITTAL))
    assert sagittal[:3].max() < 0.1 < sagittal[-3:].min()
    for name in (AXIAL, ECHO):
        flat = small(name).model_copy(update={"slices": 2})
        there = profile(np.abs(cohort.simulated_scan(name, flat, "test", 0, catalogue()[name]).image))
        here = profile(read(name))
        assert np.corrcoef(here, there)[0, 1] > np.corrcoef(here[::-1], there)[0, 1]
