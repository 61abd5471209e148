"""Downloads against a server on this machine that misbehaves in all the ways servers do."""

import hashlib
import logging
from pathlib import Path

import pytest
from misbehaving import BODY, SECRET, SHA, files_below, remote, serving

from rekon.config import Dataset
from rekon.data import http
from rekon.data.download import Published, download, fetch
from rekon.data.listing import check_manual
from rekon.errors import UserError


@pytest.fixture
def server(monkeypatch):
    with serving(monkeypatch) as running:
        yield running


@pytest.fixture
def waits(monkeypatch):
    """Pauses are noted, not slept."""
    noted = []
    monkeypatch.setattr(http, "wait", noted.append)
    return noted


@pytest.mark.parametrize(
    ("script", "ranges"),
    [
        ([], [None]),
        (["drops 300000"], [None, "bytes=300000-"]),
        (["drops 300000", "drops 500000", "silent"], [None, "bytes=300000-", "bytes=500000-", "bytes=500000-"]),
        (["drops 300000", "ignores_range"], [None, "bytes=300000-"]),
        (["drops 300000", "other_range"], [None, "bytes=300000-", None]),
        (["drops 300000", "status 416"], [None, "bytes=300000-", None]),
        (["silent", "status 500", "status 503", "status 429 7"], [None] * 5),
        (["unframed 300000"], [None, None]),
        (["moved"], [None, None]),
        (["drops 1000"] + ["silent"] * 5, [None] + ["bytes=1000-"] * 6),
    ],
)
def test_gets_the_file_from_a_server_that_misbehaves(server, waits, tmp_path, script, ranges):
    server.script = list(script)
    out = tmp_path / "raw" / "k.npy"
    download("real", remote(server), out, retries=5)
    assert out.read_bytes() == BODY
    assert server.ranges == ranges
    assert files_below(tmp_path) == ["raw/k.npy"]


def test_waits_as_long_as_the_server_asks_and_longer_each_time_otherwise(server, waits, tmp_path):
    server.script = ["status 429 7", "status 503 Fri,_01_Jan_1999_00:00:00_GMT", "status 500", "silent", "status 429 x"]
    download("real", remote(server), tmp_path / "k.npy")
    assert waits == [7, 0, 4, 8, 16]


def test_continues_what_an_earlier_process_left(server, waits, tmp_path):
    (tmp_path / ".k.npy.part").write_bytes(BODY[:100_000])
    download("real", remote(server), tmp_path / "k.npy")
    assert server.ranges == ["bytes=100000-"]
    assert files_below(tmp_path) == ["k.npy"]


@pytest.mark.parametrize("left", [BODY, BODY + b"more", b"other" + BODY[5:], b"other"])
def test_a_complete_or_foreign_part_does_no_harm(server, waits, tmp_path, left):
    (tmp_path / ".k.npy.part").write_bytes(left)
    download("real", remote(server), tmp_path / "k.npy")
    assert (tmp_path / "k.npy").read_bytes() == BODY


def test_a_complete_file_is_not_fetched_again_and_a_wrong_one_is_replaced(server, waits, tmp_path):
    out = tmp_path / "k.npy"
    out.write_bytes(BODY)
    download("real", remote(server), out)
    assert server.ranges == []
    out.write_bytes(b"old")
    download("real", remote(server), out)
    assert out.read_bytes() == BODY


@pytest.mark.parametrize(
    ("script", "sha256", "words"),
    [
        (["wrong"], SHA, ["SHA-256", "'mirror'", "a web page"]),
        ([], "0" * 64, ["SHA-256", "0" * 64, SHA]),
        (["unframed 9", "unframed 9"], SHA, ["SHA-256"]),
        (["status 404"], SHA, ["404", "catalogue"]),
        (["status 403"], SHA, ["403", "expired"]),
        (["silent"] * 3, SHA, ["the connection broke", "3 attempts"]),
        (["status 500"] * 3, SHA, ["status 500"]),
    ],
)
def test_says_what_is_wrong_and_leaves_nothing(server, waits, tmp_path, script, sha256, words):
    server.script = list(script)
    with pytest.raises(UserError) as caught:
        download("real", remote(server, sha256), tmp_path / "k.npy", retries=2)
    message = str(caught.value)
    assert f"http://127.0.0.1:{server.server_address[1]}/folder/k.npy" in message
    for word in [*words, "mirror"]:
        assert word in message
    assert SECRET not in message
    assert message.endswith(".") and "\n" not in message
    assert files_below(tmp_path) == []


def test_an_interrupted_file_stays_hidden(server, waits, tmp_path):
    server.script = ["drops 300000", "silent"]
    with pytest.raises(UserError):
        download("real", remote(server), tmp_path / "k.npy", retries=0)
    assert files_below(tmp_path) == [".k.npy.part"]


def test_unreachable_address(waits, tmp_path):
    with pytest.raises(UserError, match=r"^http://127\.0\.0\.1:1/folder/k\.npy: .*no connection.*'mirror'\.$"):
        download("real", remote(None), tmp_path / "k.npy")
    assert waits == [1, 2, 4, 8, 16]
    assert files_below(tmp_path) == []


def test_signed_links_reach_no_log(server, waits, tmp_path, caplog, capfd):
    server.script = ["moved", "drops 1000", "status 500"]
    with caplog.at_level(logging.DEBUG):
        download("real", remote(server), tmp_path / "k.npy")
    output = capfd.readouterr()
    assert SECRET not in caplog.text + output.out + output.err
    assert "k.npy" in output.err  # progress lines
    assert "\x1b" not in output.err  # and no bar: not a terminal


def test_mirror_comes_first(server, waits, tmp_path):
    mirror = tmp_path / "mirror"
    for name in ("real/sub/k.npy", "elsewhere.npy"):
        (mirror / name).parent.mkdir(parents=True, exist_ok=True)
        (mirror / name).write_bytes(BODY)
    download("real", remote(server), tmp_path / "a.npy", mirror)
    download("other", remote(server, mirror="elsewhere.npy"), tmp_path / "b.npy", str(mirror))
    assert server.ranges == []
    download("other", remote(server), tmp_path / "c.npy", mirror)  # not in the mirror
    assert server.ranges == [None]
    assert {(tmp_path / name).read_bytes() for name in ("a.npy", "b.npy", "c.npy")} == {BODY}


def test_mirror_with_a_wrong_file_or_none_at_all(server, tmp_path):
    mirror = tmp_path / "mirror"
    (mirror / "real" / "sub").mkdir(parents=True)
    (mirror / "real/sub/k.npy").write_bytes(BODY[:-1])
    with pytest.raises(UserError, match=r"mirror/real/sub/k\.npy: SHA-256 is .*replace the file in the mirror"):
        download("real", remote(server), tmp_path / "k.npy", mirror)
    with pytest.raises(UserError, match=r"nowhere: no such folder; set 'mirror'"):
        download("real", remote(server), tmp_path / "k.npy", tmp_path / "nowhere")
    assert server.ranges == []
    assert files_below(tmp_path) == ["mirror/real/sub/k.npy"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
def test_full_disk(server, waits, tmp_path):
    (tmp_path / ".k.npy.part").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"k\.npy: no space left on the disk"):
        download("real", remote(server), tmp_path / "k.npy")
    assert not (tmp_path / "k.npy").exists()


def test_two_processes_do_not_mix_their_bytes(server, waits, tmp_path):
    import fcntl

    part = tmp_path / ".k.npy.part"
    with part.open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another process"):
            download("real", remote(server), tmp_path / "k.npy")
        assert part.exists()
    download("real", remote(server), tmp_path / "k.npy")
    assert (tmp_path / "k.npy").read_bytes() == BODY


def manual_set(format="fastmri"):
    return Dataset(
        title="t", source="manual", format=format, licence="own", anatomy="brain", view="axial", vendor="v",
        field_strength=3.0, role="r", access="register at example.org and unpack the archives.",
    )  # fmt: skip


def test_manual_sets_are_listed(tmp_path):
    for name in ("b.h5", "a.h5", "more/c.H5", "read.me", ".hidden.h5", ".b.h5.part"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    for _ in range(2):  # the list does not list itself
        assert check_manual("fastmri-brain", manual_set(), "test", tmp_path) == ["a.h5", "b.h5", "more/c.H5"]
        assert (tmp_path / "INDEX.txt").read_text() == "a.h5\nb.h5\nmore/c.H5\n"


def test_linked_folders_and_other_formats_count(tmp_path):
    archive = tmp_path / "archive"
    archive.mkdir()
    for name in ("a.h5", "b.mat"):
        (archive / name).touch()
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / "linked").symlink_to(archive)
    assert check_manual("m", manual_set("ahead"), "test", folder) == ["linked/a.h5"]
    assert check_manual("m", manual_set("matlab-kspace"), "test", folder) == ["linked/b.mat"]
    (folder / "INDEX.txt").unlink()
    (folder / "INDEX.txt").mkdir()  # stands for a folder that cannot be written, which root always can
    with pytest.raises(UserError, match=r"INDEX\.txt cannot be written there .*link the files"):
        check_manual("m", manual_set(), "test", folder)


def test_manual_sets_that_are_absent_say_how_to_get_them(tmp_path):
    with pytest.raises(UserError, match=r"absent: holds no file that ends in .*register at example\.org and unpack"):
        check_manual("fastmri-brain", manual_set(), "test", tmp_path / "absent")
    (tmp_path / "archive.tar.xz").write_bytes(b"x")
    with pytest.raises(UserError, match=r"1 files but none.*'fastmri-brain'.*test"):
        check_manual("fastmri-brain", manual_set(), "test", tmp_path)
    assert not (tmp_path / "INDEX.txt").exists()


def test_a_checksum_in_md5_is_checked_too(server, waits, tmp_path):
    url = f"http://127.0.0.1:{server.server_address[1]}/f"
    right, wrong = hashlib.md5(BODY).hexdigest(), "0" * 32
    assert fetch(Published("f", url, "f", md5=right.upper()), tmp_path / "a") == SHA
    with pytest.raises(UserError, match=rf"MD5 is {right}, but the publisher states {wrong} for f.*mend the list"):
        fetch(Published("f", url, "f", md5=wrong, mend="the list"), tmp_path / "b")
    assert files_below(tmp_path) == ["a"]
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror/f").write_bytes(BODY + b"x")
    with pytest.raises(UserError, match="mirror/f: MD5 is"):
        fetch(Published("f", url, "f", md5=right), tmp_path / "c", tmp_path / "mirror")
