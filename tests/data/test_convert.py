import subprocess
import sys
from typing import get_args

import h5py
import numpy as np
import pytest
import scipy.io
from samples import head, image_of, make_dataset, undersampled, write_fastmri

from rekon.config import Dataset
from rekon.data.convert import convert
from rekon.data.formats import READERS, READERS_3D, read_raw
from rekon.data.phantom.writers import WRITERS
from rekon.data.volume import Volume
from rekon.errors import UserError
from rekon.files import sha256
from rekon.physics.fft import ifft2c

FASTMRI = make_dataset()
MATLAB = make_dataset(format="matlab-kspace", field_strength=0.055)
NPZ = make_dataset(format="npz-image", field_strength="unknown")
NPY = make_dataset(format="npy-kspace", reference=False)


def test_fastmri(tmp_path, fastmri_file):
    out = tmp_path / "out" / "v.h5"
    convert(fastmri_file, out, "set", FASTMRI, "v", "AXT2", "subject")
    with Volume(out) as volume, h5py.File(fastmri_file) as raw:
        assert volume.shape == (2, 3, 32, 40)
        assert volume.header.recon == (32, 36) and volume.header.acquired == (4, 36)
        assert volume.header.encoded_fov == (220.0, 220.0)  # the readout's was halved with its oversampling
        assert volume.attrs["acquisition"] == "AXT2" and volume.attrs["patient_id"] == "subject"
        assert volume.attrs["source_sha256"] == sha256(fastmri_file)
        assert {volume.attrs[name] for name in ("anatomy", "view", "vendor")} == {"brain", "axial", "tests & co"}
        image = image_of(raw["kspace"][1])
        np.testing.assert_allclose(volume.target(1), image[16:48, 2:38], atol=1e-5 * image.max())
        kept = ifft2c(raw["kspace"][1])[:, 16:48]  # complex images, not only their magnitude, keep their pixels
        np.testing.assert_allclose(ifft2c(volume.kspace(1)), kept, atol=1e-5 * image.max())
    assert list(out.parent.iterdir()) == [out]


def test_equal_raw_files_give_equal_volumes(tmp_path, fastmri_file):
    for name in ("a", "b"):
        convert(fastmri_file, tmp_path / f"{name}.h5", "set", FASTMRI, "v")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_names_default_to_the_file_s_own(tmp_path, fastmri_file):
    convert(fastmri_file, tmp_path / "v.h5", "set", FASTMRI, "v")
    with Volume(tmp_path / "v.h5") as volume:
        assert (volume.attrs["acquisition"], volume.attrs["patient_id"]) == ("AXT2", "p1")


def test_odd_matrix_gets_one_line_of_zeros(tmp_path):
    k = head(columns=39)
    write_fastmri(tmp_path / "raw.h5", k, (32, 39))
    convert(tmp_path / "raw.h5", tmp_path / "v.h5", "set", FASTMRI, "v")
    with Volume(tmp_path / "v.h5") as volume:
        assert volume.shape[-1] == 40
        assert volume.header.acquired == (1, 40)
        assert not volume.kspace(0)[..., 0].any()
        np.testing.assert_array_equal(volume.kspace(0)[..., 20], k[0, ..., 19])  # the centre stays the centre


def test_single_coil_fastmri(tmp_path):
    write_fastmri(tmp_path / "raw.h5", head(coils=1)[:, 0], (32, 40))
    with read_raw(tmp_path / "raw.h5", FASTMRI) as raw:
        assert raw.shape == (2, 1, 32, 40)
        np.testing.assert_array_equal(raw.slice(1), head(coils=1)[1])


def test_published_mask_means_no_reference(tmp_path, fastmri_file):
    with h5py.File(fastmri_file, "r+") as file:
        file["mask"] = np.ones(40)
    convert(fastmri_file, tmp_path / "v.h5", "set", FASTMRI, "v")
    with Volume(tmp_path / "v.h5") as volume:
        assert not volume.reference


def test_matlab(tmp_path, kspace):
    one_coil = kspace[:, :1]
    scipy.io.savemat(tmp_path / "k.mat", {"kspace": one_coil[:, 0].transpose(1, 2, 0).astype(complex)})
    convert(tmp_path / "k.mat", tmp_path / "v.h5", "set", MATLAB, "v", "T2w", "s")
    with Volume(tmp_path / "v.h5") as volume:
        assert volume.shape == one_coil.shape
        np.testing.assert_array_equal(volume.kspace(1), one_coil[1])
        assert volume.header.encoded_fov == (40.0, 40.0)  # a square field of view
        assert volume.header.field_strength == 0.055


def test_matlab_with_coils_and_zero_padding(tmp_path, kspace):
    padded = kspace.astype(complex)
    padded[..., :3] = 1e-15  # what a transform leaves of zeros
    scipy.io.savemat(tmp_path / "k.mat", {"kspace": padded.transpose(2, 3, 0, 1)})
    with read_raw(tmp_path / "k.mat", MATLAB) as raw:
        assert raw.shape == kspace.shape
        assert raw.header.acquired == (3, 40)


def test_npz_images_become_k_space(tmp_path, kspace):
    images = ifft2c(kspace[0])
    np.savez(tmp_path / "i.npz", np.moveaxis(images, 0, -1))
    convert(tmp_path / "i.npz", tmp_path / "v.h5", "set", NPZ, "v", "T1w", "s")
    with Volume(tmp_path / "v.h5") as volume:
        assert volume.shape == (1, *kspace.shape[1:])
        np.testing.assert_allclose(volume.kspace(0), kspace[0], atol=1e-5 * np.abs(kspace).max())
        assert volume.attrs["field_strength"] == "unknown"


@pytest.mark.parametrize("axes", [3, 4])
def test_npy_prospectively_undersampled(tmp_path, kspace, axes):
    values = undersampled(kspace)
    np.save(tmp_path / "k.npy", values if axes == 4 else values[0])
    convert(tmp_path / "k.npy", tmp_path / "v.h5", "set", NPY, "v", "T1w", "s")
    with Volume(tmp_path / "v.h5") as volume:
        assert volume.shape == (2 if axes == 4 else 1, *kspace.shape[1:])
        assert not volume.reference
        np.testing.assert_array_equal(volume.kspace(0), values[0])


def test_conversion_starts_without_torch():
    code = "import rekon.data.convert, rekon.data.summarise, rekon.data.calibrate, sys; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_names_come_from_the_catalogue(tmp_path, fastmri_file):
    file = {
        "volume": "v", "path": "raw.h5", "url": "https://example.org/raw.h5", "sha256": "0" * 64,
        "contrast": "FLAIR", "subject": "s7",
    }  # fmt: skip
    convert(fastmri_file, tmp_path / "v.h5", "set", make_dataset(files=(file,)), "v")
    with Volume(tmp_path / "v.h5") as volume:
        assert (volume.attrs["acquisition"], volume.attrs["patient_id"]) == ("FLAIR", "s7")


# ---- damaged input: one sentence that names the file, and nothing under the final name


def check_refused(raw, dataset, words):
    out = raw.parent / "out" / "v.h5"
    with pytest.raises(UserError, match=words) as caught:
        convert(raw, out, "set", dataset, "v")
    message = str(caught.value)
    assert message.startswith(f"{raw}: ") and message.endswith(".") and "\n" not in message
    assert not out.exists() and not list(out.parent.glob("*")) and not list(out.parent.glob(".*"))


def _change(name, value):
    def damage(file):
        del file[name]
        if value is not None:
            file[name] = value

    return damage


def _poison(value):
    def damage(file):
        file["kspace"][1, 0, 5, 9] = value

    return damage


def _gap(file):
    file["kspace"][..., 10:12] = 0


def _header(old, new):
    def damage(file):
        xml = file["ismrmrd_header"][()].decode()
        assert old in xml
        del file["ismrmrd_header"]
        file["ismrmrd_header"] = xml.replace(old, new)

    return damage


K = head(rows=64)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_change("kspace", None), "dataset 'kspace' is missing"),
        (_change("ismrmrd_header", None), "dataset 'ismrmrd_header' is missing"),
        (_change("ismrmrd_header", "<ismrmrd"), "not XML"),
        (_header("<center>", "<middle>"), "not XML"),
        (_header("<maximum>31</maximum>", ""), "no element encoding/encodingLimits"),
        (_header("<maximum>31</maximum>", "<maximum>300</maximum>"), "places the acquired phase encodings"),
        (_header("<x>32</x>", "<x>0</x>"), "empty reconSpace"),
        (_change("kspace", K.real), "must be complex"),
        (_change("kspace", K[0, 0]), "must be complex"),
        (_change("kspace", K[:, :0]), "zero coils"),
        (_change("kspace", K[:0]), "zero slices"),
        (_change("kspace", K[..., :20]), "'kspace' has 20"),
        (_poison(np.nan), "slice 1 of the k-space holds NaN or Inf"),
        (_poison(np.inf), "slice 1 of the k-space holds NaN or Inf"),
        (_gap, "reference: false"),
    ],
)
def test_damaged_fastmri(fastmri_file, damage, words):
    with h5py.File(fastmri_file, "r+") as file:
        damage(file)
    check_refused(fastmri_file, FASTMRI, words)


@pytest.mark.parametrize("keep", [0, 50, 0.5, 0.98])
def test_truncated_fastmri(fastmri_file, keep):
    content = fastmri_file.read_bytes()
    fastmri_file.write_bytes(content[: keep if isinstance(keep, int) else int(keep * len(content))])
    check_refused(fastmri_file, FASTMRI, "not a readable HDF5 file")


def test_missing_raw_file(tmp_path):
    check_refused(tmp_path / "none.h5", FASTMRI, "no such raw file")


@pytest.mark.parametrize("content", [b"", b"junk" * 100])
@pytest.mark.parametrize(("dataset", "suffix"), [(MATLAB, "mat"), (NPZ, "npz"), (NPY, "npy")])
def test_files_of_another_kind(tmp_path, dataset, suffix, content):
    path = tmp_path / f"k.{suffix}"
    path.write_bytes(content)
    check_refused(path, dataset, "not a readable")


@pytest.mark.parametrize(("dataset", "suffix"), [(MATLAB, "mat"), (NPZ, "npz"), (NPY, "npy")])
@pytest.mark.parametrize("keep", [0.2, 0.9])
def test_truncated_arrays(tmp_path, kspace, dataset, suffix, keep):
    path = save(tmp_path, suffix, kspace)
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    check_refused(path, dataset, "not a readable")


@pytest.mark.parametrize(("dataset", "suffix"), [(MATLAB, "mat"), (NPZ, "npz"), (NPY, "npy")])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda k: k.real, "complex array"),
        (lambda k: k[0, 0, 0], "complex array"),
        (lambda k: np.where(np.arange(40) == 7, np.nan, k), "NaN or Inf"),
        (lambda k: k[:, :0], "zero coils"),
        (lambda k: 0 * k, "zero throughout"),
    ],
)
def test_wrong_arrays(tmp_path, kspace, dataset, suffix, change, words):
    path = save(tmp_path, suffix, change(kspace))
    check_refused(path, dataset, words)


def test_wrong_names_inside(tmp_path, kspace):
    scipy.io.savemat(tmp_path / "k.mat", {"data": kspace})
    check_refused(tmp_path / "k.mat", MATLAB, "variable 'kspace' is missing")
    np.savez(tmp_path / "k.npz", a=kspace, b=kspace)
    check_refused(tmp_path / "k.npz", NPZ, "found 2")


def test_pickles_are_not_executed(tmp_path):
    values = np.array([print], dtype=object)
    np.save(tmp_path / "k.npy", values, allow_pickle=True)
    np.savez(tmp_path / "k.npz", values, allow_pickle=True)
    check_refused(tmp_path / "k.npy", NPY, "not a readable")
    check_refused(tmp_path / "k.npz", NPZ, "not a readable")


def save(folder, suffix, kspace):
    """(slice, coil, H, W) in the axes of each format."""
    path = folder / f"k.{suffix}"
    if suffix == "mat":
        scipy.io.savemat(
            path, {"kspace": kspace.transpose(2, 3, 0, 1) if kspace.ndim == 4 else kspace.reshape(-1, 1, 1, 1, 1)}
        )
    elif suffix == "npz":
        np.savez(path, np.moveaxis(kspace[0], 0, -1) if kspace.ndim == 4 else kspace)
    else:
        np.save(path, kspace)
    return path


def test_every_format_of_the_catalogue_has_a_reader_and_every_writer_s_format_too():
    formats = set(get_args(Dataset.model_fields["format"].annotation))
    assert formats == {*READERS, *READERS_3D} and set(WRITERS) <= formats
