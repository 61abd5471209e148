from dataclasses import replace
from xml.etree import ElementTree

import h5py
import ismrmrd.xsd
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from measured import difference, measurement, truth
from samples import make_dataset

from rekon.data.convert import convert, source_hash
from rekon.data.formats import read_raw
from rekon.data.phantom import m4raw
from rekon.data.phantom.acquire import measured
from rekon.data.phantom.names import VolumeId
from rekon.data.volume import Volume
from rekon.errors import UserError
from rekon.files import sha256
from rekon.physics.coils import rss
from rekon.physics.fft import ifft2c

SINGLE = make_dataset(format="m4raw", vendor="XGY", field_strength=0.3)
MULTI = make_dataset(format="m4raw", vendor="XGY", field_strength=0.3, target="multi-rep")
SCANS = {"GRE": ("AXGRE", "sub_GRE01"), "T2": ("AXT2", "sub_T201")}


def scan(kind="GRE", repetitions=1, **changes):
    contrast, name = SCANS[kind]
    made = measurement(contrast=contrast, volume=name, **changes)
    simulation = made.simulation.model_copy(update={"repetitions": repetitions})
    return replace(made, simulation=simulation)


def write_all(folder, made):
    """Every repetition of a scan, each with its own noise; returns paths and measurements."""
    paths, all_made = [], []
    for number in range(made.simulation.repetitions):
        lines, rng = made.simulation.phase_lines, np.random.default_rng(number)
        kspace = measured(made.scan.clean, made.scan.noise, lines, rng)
        volume = VolumeId(f"{made.volume.name[:-2]}{number + 1:02d}", made.volume.subject, made.volume.contrast)
        all_made.append(replace(made, scan=replace(made.scan, kspace=kspace), volume=volume))
        paths.append(folder / f"{volume.name}.h5")
        m4raw.write(paths[-1], all_made[-1])
    return paths, all_made


def images(path, dataset=SINGLE):
    with read_raw(path, dataset) as raw:
        return ifft2c(np.stack([raw.slice(index) for index in range(raw.shape[0])]))


@pytest.fixture(params=sorted(SCANS))
def kind(request):
    return request.param


@pytest.fixture
def made(kind):
    return scan(kind)


@pytest.fixture
def file(tmp_path, made):
    path = tmp_path / f"{made.volume.name}.h5"
    m4raw.write(path, made)
    return path


# ---- the format, and what comes back


def test_the_complex_images_come_back(file, made):
    assert difference(images(file), truth(made)) < 1e-5


@given(
    kind=st.sampled_from(sorted(SCANS)), slices=st.integers(1, 3), coils=st.integers(1, 5), rows=st.integers(8, 20),
    columns=st.integers(8, 24), missing=st.integers(0, 9), oversampling=st.sampled_from([1, 2]),
)  # fmt: skip
@settings(max_examples=20, deadline=None)
def test_every_size_comes_back(tmp_path_factory, kind, slices, coils, rows, columns, missing, oversampling):
    lines = max(8, 2 * columns - missing)
    made = scan(
        kind, slices=slices, coils=coils, matrix=(2 * rows, 2 * columns), lines=lines, oversampling=oversampling
    )
    path = tmp_path_factory.mktemp("m4raw") / f"{made.volume.name}.h5"
    m4raw.write(path, made)
    assert difference(images(path), truth(made)) < 1e-5


def test_files_are_as_published(file, made, kind):
    size = (40, 32) if kind == "GRE" else (32, 40)
    with h5py.File(file) as opened:
        assert sorted(opened) == ["ismrmrd_header", "kspace", "reconstruction_rss"]
        assert sorted(opened.attrs) == ["acquisition", "max", "patient_id"]
        assert opened["kspace"].shape == (2, 3, *size) and opened["kspace"].dtype == np.complex64
        assert opened["reconstruction_rss"].shape == (2, *size)
        assert opened.attrs["max"] == opened["reconstruction_rss"][:].max()
        xml = opened["ismrmrd_header"][()]
    assert b"<ns0:ismrmrdHeader" in xml and ElementTree.fromstring(xml).tag.endswith("ismrmrdHeader")
    with pytest.raises(Exception, match=r"[Uu]nknown"):  # why a lenient parser is needed
        ismrmrd.xsd.CreateFromDocument(xml)


def test_fastmri_s_own_loader_reads_the_files(tmp_path):
    mri_data = pytest.importorskip("fastmri.data.mri_data", reason="the fastmri package is not installed")
    made = scan("T2")
    m4raw.write(tmp_path / "sub_T201.h5", made)
    kspace, _, target, *_ = mri_data.SliceDataset(root=tmp_path, challenge="multicoil")[1]
    assert difference(ifft2c(kspace), truth(made)[1]) < 1e-5
    np.testing.assert_allclose(target, rss(truth(made)[1], 0), rtol=1e-4, atol=1e-6)


def test_gradient_echoes_as_published_converters_turn_them(tmp_path):
    """roll, transpose, flip: gives the RSS image that the scan has; a column more or less does not."""
    made = scan("GRE")
    m4raw.write(tmp_path / "a.h5", made)
    with h5py.File(tmp_path / "a.h5") as opened:
        kspace = np.flip(np.roll(opened["kspace"][:], -45, axis=-1).transpose(0, 1, 3, 2), axis=-1)
        peak = np.unravel_index(np.square(np.abs(kspace)).sum((0, 1)).argmax(), kspace.shape[2:])
    assert abs(peak[0] - 16) <= 1 and abs(peak[1] - 20) <= 1
    np.testing.assert_allclose(rss(ifft2c(kspace), 1), rss(truth(made), 1), atol=1e-5 * np.abs(truth(made)).max())


def test_equal_measurements_give_equal_bytes(tmp_path, made):
    assert len({m4raw.write(tmp_path / name, made) or sha256(tmp_path / name) for name in "ab"}) == 1


def test_only_filled_columns_count_as_acquired(file):
    with read_raw(file, SINGLE) as raw:
        start, stop = raw.header.acquired
        assert stop - start == 32 and raw.header.encoded == (32, 40) and raw.header.encoded_fov == (200.0, 250.0)
        assert not raw.slice(0)[..., :start].any() and not raw.slice(0)[..., stop:].any()


# ---- repetitions


def test_target_is_the_mean_magnitude_of_all_repetitions(tmp_path, kind):
    paths, repeated = write_all(tmp_path, scan(kind, repetitions=3))
    convert(paths[1], tmp_path / "v" / "v.h5", "set", MULTI, "v")
    magnitudes = [rss(truth(one), 1) for one in repeated]
    with Volume(tmp_path / "v" / "v.h5") as volume:
        found = np.stack([volume.target(index) for index in range(2)])
        kspace = np.stack([volume.kspace(index) for index in range(2)])
        assert volume.attrs["target"] == "multi-rep" and volume.max == found.max()
    np.testing.assert_allclose(found, np.mean(magnitudes, 0), rtol=1e-4, atol=1e-6)
    assert difference(ifft2c(kspace), truth(repeated[1])) < 1e-5  # the input is the one repetition
    noise_of_mean = rss(np.mean([truth(one) for one in repeated], 0), 1)
    assert np.abs(found - noise_of_mean).max() > 1e-3 * found.max()  # not the magnitude of the complex mean


def test_single_repetition_is_its_own_target(tmp_path):
    paths, repeated = write_all(tmp_path, scan(repetitions=2))
    convert(paths[0], tmp_path / "v" / "v.h5", "set", SINGLE, "v")
    with Volume(tmp_path / "v" / "v.h5") as volume:
        np.testing.assert_allclose(volume.target(0), rss(truth(repeated[0]), 1)[0], rtol=1e-4, atol=1e-6)
        assert "target" not in volume.attrs


def test_other_subjects_and_contrasts_are_no_repetitions(tmp_path):
    paths, repeated = write_all(tmp_path, scan("T2", repetitions=2))
    for name in ("sub_T101", "sub_FLAIR01", "other_T203"):
        m4raw.write(tmp_path / f"{name}.h5", scan("T2", seed=5))
    with read_raw(paths[0], MULTI) as raw:
        np.testing.assert_allclose(raw.target(0), np.mean([rss(truth(one), 1)[0] for one in repeated], 0), rtol=1e-4)


def test_a_changed_repetition_changes_what_the_volume_was_made_from(tmp_path):
    paths, repeated = write_all(tmp_path, scan(repetitions=2))
    before = {name: source_hash(paths[0], dataset) for name, dataset in (("single", SINGLE), ("multi", MULTI))}
    m4raw.write(paths[1], repeated[0])
    assert source_hash(paths[0], SINGLE) == before["single"] == sha256(paths[0])
    assert source_hash(paths[0], MULTI) != before["multi"]


def test_missing_repetition(tmp_path):
    paths, _ = write_all(tmp_path, scan(repetitions=3))
    paths[2].unlink()
    refused(paths[0], "repetition sub_GRE03 is not in the folder.*'target: single-rep'", MULTI)


def test_no_other_repetition(tmp_path):
    m4raw.write(tmp_path / "sub_T201.h5", scan("T2"))
    refused(tmp_path / "sub_T201.h5", "is not in the folder.*'target: single-rep'", MULTI)
    (tmp_path / "sub_T201.h5").rename(tmp_path / "sub.h5")
    refused(tmp_path / "sub.h5", "does not end in a contrast and a repetition", MULTI)


def test_repetitions_of_other_sizes(tmp_path):
    paths, _ = write_all(tmp_path, scan(repetitions=2))
    m4raw.write(paths[1], scan(repetitions=2, coils=2))
    refused(paths[0], r"that of repetition sub_GRE02.h5 \(2, 2, 32, 40\)", MULTI)


# ---- every convention, broken on purpose, is seen


def rewrite(change):
    def apply(path):
        with h5py.File(path, "r+") as file:
            kspace = file["kspace"][:]
            del file["kspace"]
            file["kspace"] = np.ascontiguousarray(change(kspace))

    return apply


BROKEN = {
    "axes": rewrite(lambda k: k.swapaxes(-1, -2)),
    "sign of the transform": rewrite(np.conj),
    "phase encoding reversed": rewrite(lambda k: k[..., ::-1, :]),
    "readout reversed": rewrite(lambda k: k[..., ::-1]),
    "shifted by one": rewrite(lambda k: np.roll(k, 1, axis=-1)),
    "centre as in other contrasts": rewrite(lambda k: np.roll(k, -45, axis=-1)),
    "corner-centred": rewrite(lambda k: np.fft.ifftshift(k, (-2, -1))),
    "checkerboard": rewrite(lambda k: k * (-1) ** np.add.outer(np.arange(k.shape[-2]), np.arange(k.shape[-1]))),
    "slices reversed": rewrite(lambda k: k[::-1]),
    "coils exchanged": rewrite(lambda k: k[:, ::-1]),
    "oversampling kept": rewrite(lambda k: np.repeat(k, 2, axis=-1)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_conventions_are_seen(file, made, name):
    BROKEN[name](file)
    try:
        read = images(file)
    except UserError:  # seen even earlier
        return
    assert difference(read, truth(made)) > 0.01


def test_contrast_in_the_name_decides_on_the_orientation(tmp_path):
    made = scan("GRE", matrix=(32, 32), lines=28)
    m4raw.write(tmp_path / "sub_T101.h5", made)
    refused(tmp_path / "sub_T101.h5", "centre of k-space lies at sample")


def test_contrast_in_the_attributes_decides_where_the_name_has_none(tmp_path):
    made = scan("GRE")
    m4raw.write(tmp_path / "v.h5", made)
    assert difference(images(tmp_path / "v.h5"), truth(made)) < 1e-5


# ---- bad files: one sentence that names the file


def refused(path, words, dataset=SINGLE):
    out = path.parent / "out" / "v.h5"
    with pytest.raises(UserError, match=words) as caught:
        convert(path, out, "set", dataset, "v")
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and message.endswith(".") and "\n" not in message
    assert not out.exists()


def remove(name):
    def apply(path):
        with h5py.File(path, "r+") as file:
            del file[name]

    return apply


def poison(value, coil=slice(None)):
    def change(kspace):
        kspace[:, coil] = value
        return kspace

    return rewrite(change)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-2000]), "not a readable HDF5 file"),
        (remove("kspace"), "dataset 'kspace' is missing"),
        (remove("ismrmrd_header"), "dataset 'ismrmrd_header' is missing"),
        (rewrite(lambda k: k.real), "must be complex"),
        (rewrite(lambda k: k[0]), "must be complex"),
        (rewrite(lambda k: k[:, :0]), "is empty"),
        (rewrite(lambda k: k[..., :20]), "says the matrix is"),
        (poison(np.nan), "slice 0 of the k-space holds NaN or Inf"),
        (poison(0), "the k-space is zero throughout"),
        (poison(0, 1), "coil 1 of the k-space is zero throughout"),
    ],
)
def test_bad_files(file, damage, words):
    damage(file)
    refused(file, words)


def test_exchanged_axes_of_a_square_matrix(tmp_path):
    m4raw.write(tmp_path / "sub_T201.h5", scan("T2", matrix=(32, 32), lines=24))
    BROKEN["axes"](tmp_path / "sub_T201.h5")
    refused(tmp_path / "sub_T201.h5", "zero padding lies along the readout")
