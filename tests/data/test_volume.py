import io
import time

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import head, image_of

from rekon import hdf5
from rekon.data.header import Header, full_header, parse_header
from rekon.data.volume import REQUIRED, Volume, write_volume
from rekon.errors import UserError

even = st.integers(1, 12).map(lambda n: 2 * n)


@settings(deadline=None, max_examples=25)
@given(
    slices=st.integers(1, 3), coils=st.integers(1, 4), rows=even, columns=even, recon=st.tuples(even, even),
    scale=st.sampled_from([1e-8, 1.0, 1e9]), reference=st.booleans(), seed=st.integers(0, 5),
)  # fmt: skip
def test_round_trip(tmp_path_factory, slices, coils, rows, columns, recon, scale, reference, seed):
    path = tmp_path_factory.mktemp("volume") / "v.h5"
    rng = np.random.default_rng(seed)
    k = (scale * rng.standard_normal((slices, coils, rows, columns, 2)).astype(np.float32)).astype(np.float32)
    k = k.view(np.complex64)[..., 0]
    header = Header((rows, columns), recon, columns // 2, columns - 1)
    attrs = {"acquisition": "AXT2", "patient_id": "p", "reference": reference, "field_strength": 3.0}
    write_volume(path, k, header_xml=header.xml(), attrs=attrs)
    with Volume(path) as volume:
        assert volume.shape == k.shape
        assert volume.reference is reference
        assert {name: volume.attrs[name] for name in attrs} == attrs
        images = image_of(k)
        top, left = rows // 2 - min(rows, recon[0]) // 2, columns // 2 - min(columns, recon[1]) // 2
        images = images[:, top : top + min(rows, recon[0]), left : left + min(columns, recon[1])]
        for index in range(slices):
            np.testing.assert_array_equal(volume.kspace(index), k[index])
            if reference:
                np.testing.assert_allclose(volume.target(index), images[index], rtol=1e-4, atol=1e-5 * images.max())
        assert np.isclose(volume.max, images.max(), rtol=1e-5)
        assert np.isclose(volume.attrs["norm"], np.linalg.norm(images), rtol=1e-4)
        if not reference:
            with pytest.raises(UserError, match="no reference image"):
                volume.target(0)


def test_equal_input_gives_equal_bytes_at_another_time_and_as_a_stream(tmp_path, kspace):
    write_volume(tmp_path / "a.h5", kspace, attrs={"acquisition": "AXT2", "patient_id": "p"})
    time.sleep(1.1)  # HDF5 keeps times in seconds
    write_volume(tmp_path / "b.h5", iter(kspace), shape=kspace.shape, attrs={"patient_id": "p", "acquisition": "AXT2"})
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_a_chunk_is_a_slice(tmp_path, kspace):
    write_volume(tmp_path / "a.h5", kspace)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["kspace"].chunks == (1, *kspace.shape[1:])
        assert file["kspace"].dtype == np.complex64
        assert file["reconstruction_rss"].dtype == np.float32


def test_fastmri_loaders_find_what_they_look_for(tmp_path, kspace):
    header = Header((32, 40), (32, 36), 16, 31)  # columns 4 to 35 acquired
    write_volume(tmp_path / "a.h5", kspace, header_xml=header.xml())
    with h5py.File(tmp_path / "a.h5") as file:
        parsed = parse_header(file["ismrmrd_header"][()], "a.h5")
    assert parsed.acquired == (4, 36)
    assert parsed.encoded[1] // 2 - parsed.center + parsed.maximum + 1 == 36  # their padding_right


def test_header_is_valid_ismrmrd():
    schema = pytest.importorskip("ismrmrd").xsd
    header = full_header((32, 40), 4, 'A "vendor" & <co>', 3.0, (200.0, 250.0), (4, 36))
    document = schema.CreateFromDocument(header.xml())
    assert document.encoding[0].reconSpace.matrixSize.y == 40
    assert document.acquisitionSystemInformation.systemVendor == 'A "vendor" & <co>'
    assert parse_header(header.xml(), "x").encoded_fov == (200.0, 250.0)


def test_headers_are_read_whatever_their_namespace():
    xml = full_header((32, 40), 4).xml()
    other = (
        xml.replace("<", "<ns0:").replace("<ns0:/", "</ns0:").replace("<ns0:?", "<?").replace("xmlns=", "xmlns:ns0=")
    )
    assert parse_header(other, "x") == parse_header(xml, "x")


@pytest.mark.parametrize(
    ("xml", "words"),
    [("<a>", "not XML"), ("<a/>", "encoding"), (full_header((8, 8), 1).xml().replace(">7<", ">x<"), "maximum")],
)
def test_damaged_headers(xml, words):
    with pytest.raises(UserError, match=words) as caught:
        parse_header(xml, "file.h5")
    assert str(caught.value).startswith("file.h5: ")


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((0, 2, 8, 8), "zero slices"),
        ((2, 0, 8, 8), "zero coils"),
        ((1, 2, 7, 8), "odd matrix 7 x 8"),
        ((1, 2, 8, 9), "odd"),
    ],
)
def test_impossible_sizes_are_not_written(tmp_path, shape, words):
    with pytest.raises(UserError, match=words):
        write_volume(tmp_path / "v.h5", np.ones(shape, np.complex64))
    assert not list(tmp_path.iterdir())


def test_empty_k_space_is_not_written(tmp_path):
    with pytest.raises(UserError, match="zero throughout"):
        write_volume(tmp_path / "v.h5", np.zeros((1, 1, 8, 8), np.complex64))
    assert not list(tmp_path.iterdir())


def test_an_error_on_the_way_leaves_the_old_file(tmp_path, kspace):
    path = tmp_path / "v.h5"
    write_volume(path, kspace)
    before = path.read_bytes()

    def broken():
        yield kspace[0]
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_volume(path, broken(), shape=kspace.shape)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def _replace(name, value):
    def damage(file):
        del file[name]
        if value is not None:
            file[name] = value

    return damage


def _attribute(name, value):
    def damage(file):
        del file.attrs[name]
        if value is not None:
            file.attrs[name] = value

    return damage


def _poison(name, value):
    def damage(file):
        file[name][1, ..., 3] = value

    return damage


K = head()
DAMAGES = [
    *[(_replace(name, None), name) for name in ("kspace", "reconstruction_rss", "ismrmrd_header")],
    *[(_attribute(name, None), name) for name in REQUIRED],
    (_attribute("max", -1.0), "max"),
    (_attribute("max", np.nan), "max"),
    (_replace("kspace", K.real), "complex64 with 4 axes, got float32"),
    (_replace("kspace", K.astype(np.complex128)), "got complex128"),
    (_replace("kspace", K[0]), r"shape \(3, 32, 40\)"),
    (_replace("kspace", K[:, :0]), "zero coils"),
    (_replace("kspace", K[..., :39]), "odd matrix"),
    (_replace("kspace", K[..., :38]), "'ismrmrd_header' says"),
    (_replace("reconstruction_rss", np.ones((2, 8, 8), np.float32)), "'reconstruction_rss' has shape"),
    (_replace("ismrmrd_header", "<a>"), "not XML"),
    (_poison("kspace", np.nan), "slice 1 of 'kspace' holds NaN or Inf"),
    (_poison("kspace", np.inf), "slice 1 of 'kspace' holds NaN or Inf"),
    (_poison("reconstruction_rss", np.nan), "slice 1 of 'reconstruction_rss' holds NaN"),
]


@pytest.mark.parametrize(("damage", "words"), DAMAGES)
def test_damaged_volumes(tmp_path, damage, words):
    path = tmp_path / "v.h5"
    write_volume(path, K)
    with h5py.File(path, "r+") as file:
        damage(file)
    with pytest.raises(UserError, match=words) as caught, Volume(path) as volume:
        for index in range(volume.slices):
            volume.kspace(index)
            volume.target(index)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and message.endswith(".") and "\n" not in message


@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.95])
def test_truncated_volumes(tmp_path, keep):
    path = tmp_path / "v.h5"
    write_volume(path, K)
    content = path.read_bytes()
    path.write_bytes(content[: keep if isinstance(keep, int) else int(keep * len(content))])
    with pytest.raises(UserError, match="not a readable HDF5 file"):
        Volume(path)


def test_missing_volume_and_folder(tmp_path):
    with pytest.raises(UserError, match="no such volume"):
        Volume(tmp_path / "none.h5")
    with pytest.raises(UserError, match="no such volume"):
        Volume(tmp_path)


@pytest.mark.parametrize("room", [0, 100, 5_000, 30_000])
@pytest.mark.parametrize("before", [b"", b"what was there"])
def test_full_disk_leaves_what_was_there(tmp_path, monkeypatch, before, room):
    """A disk on which only `room` bytes fit: the last write takes a part, as real ones do."""
    path = tmp_path / "v.h5"
    if before:
        path.write_bytes(before)
    left = room

    def write(self, data):
        nonlocal left
        if not left:
            raise OSError(28, "No space left on device")
        done = io.FileIO.write(self, data[:left])
        left -= done
        return done

    monkeypatch.setattr(hdf5._Patient, "put", write)
    with pytest.raises(UserError, match="no space left") as caught:
        write_volume(path, K)
    assert str(path) in str(caught.value)
    assert [(file, file.read_bytes()) for file in tmp_path.iterdir()] == ([(path, before)] if before else [])


def test_the_fastmri_package_reads_it(tmp_path, kspace):
    mri_data = pytest.importorskip("fastmri.data.mri_data", reason="the fastmri package is not installed")
    header = Header((32, 40), (32, 36), 16, 31)
    write_volume(tmp_path / "v.h5", kspace, header_xml=header.xml(), attrs={"acquisition": "AXT2", "patient_id": "p"})
    dataset = mri_data.SliceDataset(tmp_path, challenge="multicoil")
    assert len(dataset) == 2
    values, _, target, attrs, name, index = dataset[1]
    np.testing.assert_array_equal(values, kspace[1])
    assert target.shape == (32, 36) and (name, index) == ("v.h5", 1)
    assert (attrs["padding_left"], attrs["padding_right"]) == (4, 36)
    assert attrs["recon_size"] == (32, 36, 1) and attrs["max"] > 0
