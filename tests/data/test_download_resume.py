"""Files of which nobody states a checksum: what is there already is not fetched again, and never mixed with others."""

import pytest
from misbehaving import BODY, files_below, serving

from rekon.data import download, http
from rekon.data.download import Published, fetch
from rekon.errors import UserError

TAG, DATE = {"ETag": '"v1"'}, {"Last-Modified": "Fri, 01 Jan 1999 00:00:00 GMT"}


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(http, "wait", lambda seconds: None)
    with serving(monkeypatch) as running:
        running.version = TAG
        yield running


def bring(server, out, **more):
    return fetch(Published("f", f"http://127.0.0.1:{server.server_address[1]}/f?sig=1", "f", **more), out, retries=2)


@pytest.mark.parametrize("version", [TAG, DATE, TAG | DATE, {"ETag": 'W/"weak"'} | DATE])
@pytest.mark.parametrize(
    ("script", "ranges"),
    [
        ([], [None]),
        (["drops 700000"], [None, "bytes=700000-"]),
        (["drops 100000", "drops 500000", "silent"], [None, "bytes=100000-", "bytes=500000-", "bytes=500000-"]),
        (["drops 700000", "ignores_range"], [None, "bytes=700000-"]),
        (["drops 700000", "other_range"], [None, "bytes=700000-", None]),
    ],
)
def test_continues_after_a_failure(server, tmp_path, version, script, ranges):
    server.version, server.script = version, list(script)
    bring(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == BODY and server.ranges == ranges
    assert files_below(tmp_path) == ["f"]


@pytest.mark.parametrize("version", [TAG, DATE])
def test_continues_after_a_kill(server, tmp_path, version):
    server.version, server.script = version, ["drops 700000", *["silent"] * 3]
    with pytest.raises(UserError, match="the connection broke"):
        bring(server, tmp_path / "f")
    assert files_below(tmp_path) == [".f.part", ".f.part.json"]
    server.ranges.clear()
    bring(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == BODY and server.ranges == ["bytes=700000-"]
    assert files_below(tmp_path) == ["f"]


def test_a_kill_before_the_final_name_asks_for_nothing(server, tmp_path, monkeypatch):
    def killed(_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(download, "digests", killed)
        bring(server, tmp_path / "f")
    assert ".f.part" in files_below(tmp_path)
    server.ranges.clear()
    bring(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == BODY and server.ranges == []


@pytest.mark.parametrize(
    ("then", "ranges"),
    [
        ('changed ETag="v2"', [None, "bytes=700000-"]),  # the new file comes whole
        ("changed", [None, "bytes=700000-"]),
        ('careless_change ETag="v2"', [None, "bytes=700000-", None]),  # the rest of the new file: all of it again
    ],
)
def test_a_file_that_changed_meanwhile_is_fetched_anew(server, tmp_path, then, ranges):
    server.script = ["drops 700000", then]
    bring(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == BODY[::-1] and server.ranges == ranges


def test_without_a_version_nothing_is_taken_that_may_be_of_two_files(server, tmp_path):
    server.version, server.script = {}, ["drops 700000"]
    bring(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == BODY and server.ranges == [None, "bytes=700000-", None]
    (tmp_path / ".g.part").write_bytes(b"?" * 700_000)  # of an unknown version
    server.version = TAG
    bring(server, tmp_path / "g")
    assert (tmp_path / "g").read_bytes() == BODY


@pytest.mark.parametrize("note", ["", "[]", '{"other": 1}'])
def test_a_damaged_note_does_no_harm(server, tmp_path, note):
    (tmp_path / ".f.part").write_bytes(BODY[:700_000])
    (tmp_path / ".f.part.json").write_text(note)
    bring(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == BODY and files_below(tmp_path) == ["f"]
