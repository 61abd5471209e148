import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from measured import difference, measurement, truth
from samples import make_dataset

from rekon.data.convert import convert
from rekon.data.formats import read_raw
from rekon.data.phantom import rawfile
from rekon.data.volume import Volume
from rekon.errors import UserError
from rekon.files import sha256
from rekon.physics.coils import rss
from rekon.physics.fft import ifft2c

FASTMRI = make_dataset()


def images(path, dataset=FASTMRI):
    with read_raw(path, dataset) as raw:
        return ifft2c(np.stack([raw.slice(index) for index in range(raw.shape[0])]))


@pytest.fixture
def made():
    return measurement()


@pytest.fixture
def file(tmp_path, made):
    rawfile.write(tmp_path / "raw.h5", made)
    return tmp_path / "raw.h5"


# ---- the format, and what comes back


def test_the_complex_images_come_back(file, made):
    assert difference(images(file), truth(made)) < 1e-5


@given(
    slices=st.integers(1, 3), coils=st.integers(1, 6), rows=st.integers(8, 20), columns=st.integers(8, 24),
    missing=st.integers(0, 13), oversampling=st.sampled_from([1, 2]),
)  # fmt: skip
@settings(max_examples=20, deadline=None)
def test_every_size_comes_back(tmp_path_factory, slices, coils, rows, columns, missing, oversampling):
    made = measurement(slices, coils, (2 * rows, 2 * columns), max(8, 2 * columns - missing), oversampling)
    path = tmp_path_factory.mktemp("fastmri") / "raw.h5"
    rawfile.write(path, made)
    assert difference(images(path), truth(made)) < 1e-5


def test_sets_mix_coils_and_sizes(tmp_path):
    for number, (coils, matrix) in enumerate([(4, (32, 32)), (16, (40, 36)), (20, (24, 48))]):
        rawfile.write(tmp_path / f"{number}.h5", measurement(coils=coils, matrix=matrix, lines=30))
        convert(tmp_path / f"{number}.h5", tmp_path / "v" / f"{number}.h5", "set", FASTMRI, "v")
        with Volume(tmp_path / "v" / f"{number}.h5") as volume:
            assert volume.shape == (2, coils, *matrix) and volume.target(0).shape == matrix


def test_files_are_as_published(file, made):
    with h5py.File(file) as opened:
        assert sorted(opened) == ["ismrmrd_header", "kspace", "reconstruction_rss"]
        assert sorted(opened.attrs) == ["acquisition", "max", "norm", "patient_id"]
        assert opened["kspace"].shape == (2, 3, 64, 40) and opened["kspace"].dtype == np.complex64
        np.testing.assert_allclose(
            opened["reconstruction_rss"][:], np.linalg.norm(truth(made), axis=1), rtol=1e-4, atol=1e-6
        )
        assert opened.attrs["norm"] == pytest.approx(np.linalg.norm(opened["reconstruction_rss"][:]))


def test_fastmri_s_own_loader_reads_the_files(file, made):
    mri_data = pytest.importorskip("fastmri.data.mri_data", reason="the fastmri package is not installed")
    kspace, _, target, attrs, _, index = mri_data.SliceDataset(root=file.parent, challenge="multicoil")[1]
    np.testing.assert_array_equal(kspace, made.scan.kspace[1])
    np.testing.assert_allclose(target, rss(truth(made)[1], 0), rtol=1e-4, atol=1e-6)
    assert (attrs["padding_left"], attrs["padding_right"], attrs["recon_size"], index) == (4, 36, (32, 40, 1), 1)


def test_equal_measurements_give_equal_bytes(tmp_path, made):
    for name in "ab":
        rawfile.write(tmp_path / name, made)
    assert sha256(tmp_path / "a") == sha256(tmp_path / "b")


def test_vendor_s_name_may_hold_any_character(tmp_path):
    rawfile.write(tmp_path / "raw.h5", measurement())  # by "tests & co"
    assert images(tmp_path / "raw.h5").shape == (2, 3, 32, 40)


def test_published_test_file(tmp_path, file, made):
    """Undersampled, with `mask` and without the target: reconstructed, not scored."""
    mask = np.arange(40) % 4 == 0
    with h5py.File(file, "r+") as opened:
        del opened["reconstruction_rss"]
        opened["mask"] = mask
        opened["kspace"][...] *= mask
    convert(file, tmp_path / "v" / "v.h5", "set", FASTMRI, "v")
    with Volume(tmp_path / "v" / "v.h5") as volume:
        assert not volume.reference and volume.header.acquired == (4, 36)
        sampled = volume.kspace(0).any((0, 1))
        np.testing.assert_array_equal(sampled, mask & (np.arange(40) >= 4) & (np.arange(40) < 36))


# ---- every convention, broken on purpose, is seen


def rewrite(change):
    def apply(path):
        with h5py.File(path, "r+") as file:
            kspace = file["kspace"][:]
            del file["kspace"]
            file["kspace"] = np.ascontiguousarray(change(kspace))

    return apply


def header(old, new):
    def apply(path):
        with h5py.File(path, "r+") as file:
            xml = file["ismrmrd_header"][()].decode()
            assert xml.count(old) >= 1
            del file["ismrmrd_header"]
            file["ismrmrd_header"] = xml.replace(old, new)

    return apply


BROKEN = {
    "axes": rewrite(lambda k: k.swapaxes(-1, -2)),
    "slices and coils": rewrite(lambda k: k.swapaxes(0, 1)),
    "sign of the transform": rewrite(np.conj),
    "phase encoding reversed": rewrite(lambda k: k[..., ::-1]),
    "readout reversed": rewrite(lambda k: k[..., ::-1, :]),
    "readout shifted by one": rewrite(lambda k: np.roll(k, 1, axis=-2)),
    "phase encoding shifted by one": rewrite(lambda k: np.roll(k, 1, axis=-1)),
    "corner-centred": rewrite(lambda k: np.fft.ifftshift(k, (-2, -1))),
    "checkerboard": rewrite(lambda k: k * (-1) ** np.add.outer(np.arange(k.shape[-2]), np.arange(k.shape[-1]))),
    "not orthonormal": rewrite(lambda k: k / np.sqrt(k.shape[-1] * k.shape[-2])),
    "oversampling kept": header("<matrixSize><x>32</x>", "<matrixSize><x>64</x>"),
    "limits shifted": header("<center>16</center></kspace_encoding_step_1>", "<center>15</center></kspace_encoding_step_1>"),  # noqa: E501
    "limits too narrow": header("<maximum>31</maximum>", "<maximum>29</maximum>"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_conventions_are_seen(file, made, name):
    BROKEN[name](file)
    try:
        read = images(file)
    except UserError:  # seen even earlier
        return
    assert difference(read, truth(made)) > 0.01


# ---- bad files: one sentence that names the file


def poison(value, coil):
    def change(kspace):
        kspace[:, coil, :, 4:36] = value
        return kspace

    return rewrite(change)


def add_mask(path):
    with h5py.File(path, "r+") as file:
        file["mask"] = np.ones(12)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-2000]), "not a readable HDF5 file"),
        (BROKEN["axes"], r"says 64 readout samples, 'kspace' has 40 \(axes swapped\?\)"),
        (rewrite(lambda k: k[..., :60, :]), "says 64 readout samples, 'kspace' has 60; get"),
        (BROKEN["limits shifted"], "columns 5 to 36 were acquired, slice 0 of 'kspace' has others"),
        (rewrite(lambda k: k.view(np.float32)), "must be complex"),
        (add_mask, r"'mask' must have a value for each of 40 columns, got \(12,\)"),
        (poison(np.nan, 1), "slice 0 of the k-space holds NaN or Inf"),
        (poison(0, 1), "coil 1 of the k-space is zero throughout"),
        (poison(0, slice(None)), "the k-space is zero throughout"),
    ],
)
def test_bad_files(file, damage, words):
    damage(file)
    out = file.parent / "out" / "v.h5"
    with pytest.raises(UserError, match=words) as caught:
        convert(file, out, "set", FASTMRI, "v")
    message = str(caught.value)
    assert message.startswith(f"{file}: ") and message.endswith(".") and "\n" not in message
    assert not out.exists()
