"""Archives: what is in them stays in the target folder, whatever they say."""

import hashlib
import io
import tarfile
import zipfile

import pytest

from rekon.data import unpack as module
from rekon.data.unpack import is_archive, unpack
from rekon.errors import UserError

H5 = (".h5",)


def tar(path, *members, mode="w:xz"):
    """members: (name, bytes) or a ready TarInfo."""
    with tarfile.open(path, mode) as file:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                file.addfile(member)
            else:
                entry = tarfile.TarInfo(member[0])
                entry.size = len(member[1])
                file.addfile(entry, io.BytesIO(member[1]))
    return path


def special(name, kind, target=""):
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


def zipped(path, *members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members:
            file.writestr(name, content)
    return path


@pytest.mark.parametrize("name", ["a.tar.xz", "a.tar.gz", "a.tar", "a.zip"])
def test_files_come_out_without_the_archives_folders(tmp_path, name):
    members = [("set/train/a.h5", b"A" * 5000), ("b.H5", b"B"), ("set/read.me", b"-"), ("set/._a.h5", b"-")]
    path = tmp_path / name
    if name.endswith("zip"):
        zipped(path, *members)
    else:
        tar(path, *members, mode="w" + (":" + name.split(".")[2] if name.count(".") > 1 else ""))
    out = tmp_path / "out"
    out.mkdir()
    found = unpack(path, out, H5)
    assert found == {"a.h5": hashlib.sha256(b"A" * 5000).hexdigest(), "b.H5": hashlib.sha256(b"B").hexdigest()}
    assert sorted(one.name for one in out.iterdir()) == ["a.h5", "b.H5"]
    assert is_archive(name) and not is_archive("a.h5")


def test_what_is_there_is_kept_and_what_is_cut_is_replaced(tmp_path):
    path = tar(tmp_path / "a.tar.xz", ("a.h5", b"A" * 100), ("b.h5", b"B" * 100))
    (tmp_path / "a.h5").write_bytes(b"x" * 100)
    (tmp_path / "b.h5").write_bytes(b"B" * 99)
    found = unpack(path, tmp_path, H5)
    assert (tmp_path / "a.h5").read_bytes() == b"x" * 100 and (tmp_path / "b.h5").read_bytes() == b"B" * 100
    assert found["a.h5"] == hashlib.sha256(b"x" * 100).hexdigest()  # of what is there


@pytest.mark.parametrize("name", ["../a.h5", "/a.h5", "x/../../a.h5", "..\\a.h5", "C:\\a.h5"])
def test_a_place_outside_is_refused(tmp_path, name):
    (tmp_path / "in").mkdir()
    for path in (tar(tmp_path / "a.tar.xz", (name, b"evil")), zipped(tmp_path / "a.zip", (name, b"evil"))):
        with pytest.raises(UserError, match="a place outside the archive"):
            unpack(path, tmp_path / "in", H5)
    assert list((tmp_path / "in").iterdir()) == [] and not list(tmp_path.glob("a.h5"))


def test_links_and_devices_are_left_out(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("mine")
    out = tmp_path / "out"
    out.mkdir()
    path = tar(
        tmp_path / "a.tar.xz",
        special("l.h5", tarfile.SYMTYPE, str(secret)),
        special("h.h5", tarfile.LNKTYPE, "l.h5"),
        special("d.h5", tarfile.CHRTYPE),
        special("f.h5", tarfile.FIFOTYPE),
        ("good.h5", b"good"),
    )
    assert list(unpack(path, out, H5)) == ["good.h5"]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        link = zipfile.ZipInfo("l.h5")
        link.external_attr = 0o120777 << 16
        file.writestr(link, str(secret))
    assert unpack(tmp_path / "a.zip", out, H5) == {}
    assert [one.name for one in out.iterdir()] == ["good.h5"]


def test_a_link_that_is_there_is_not_followed(tmp_path):
    """A file is written beside, and takes the place of the link, not of what it points to."""
    other = tmp_path / "other"
    other.write_bytes(b"keep me")
    (tmp_path / "a.h5").symlink_to(other)
    unpack(tar(tmp_path / "a.tar", ("a.h5", b"new bytes here"), mode="w"), tmp_path, H5)
    assert other.read_bytes() == b"keep me" and (tmp_path / "a.h5").read_bytes() == b"new bytes here"


@pytest.mark.parametrize("kind", ["tar.xz", "tar.gz", "zip"])
@pytest.mark.parametrize("cut", [30, 400])
def test_damaged_archives_leave_nothing_partial(tmp_path, kind, cut):
    content = bytes(hashlib.sha256(str(i).encode()).digest()[0] for i in range(3000))
    path = tmp_path / f"a.{kind}"
    if kind == "zip":
        zipped(path, ("a.h5", content))
    else:
        tar(path, ("a.h5", content), mode=f"w:{kind[4:]}")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UserError, match=r"damaged \(.*delete it and run again"):
        unpack(path, tmp_path, H5)
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_two_files_of_one_name(tmp_path):
    with pytest.raises(UserError, match=r"two files called 'a\.h5'"):
        unpack(tar(tmp_path / "a.tar.xz", ("x/a.h5", b"1"), ("y/a.h5", b"2")), tmp_path, H5)


def test_no_room(tmp_path, monkeypatch):
    path = zipped(tmp_path / "a.zip", ("a.h5", b"1" * 100))
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: type("U", (), {"free": 50})())
    with pytest.raises(UserError, match=r"GB unpacked, 0\.0 GB are free"):
        unpack(path, tmp_path, H5)
