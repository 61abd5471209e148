"""Pretrained weights from a folder and from a server on this machine."""

import hashlib
import os
import threading
from collections import OrderedDict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import safetensors.torch
import torch

from rekon import safetensors as own
from rekon.config import Backbone
from rekon.data.backbones import fetch_backbone
from rekon.errors import UserError

TENSORS = OrderedDict(
    (
        ("features.0.weight", torch.arange(6, dtype=torch.float32).reshape(2, 3)),
        ("features.0.bias", torch.ones(2).half()),
        ("classifier.weight", torch.zeros(4, dtype=torch.int64)),
    )
)


class Trap:
    """Does something when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def backbone(**changes) -> Backbone:
    values = {
        "title": "A net", "url": "http://127.0.0.1:1/folder/net.pth?token=s1gnature", "sha256": None, "licence": "MIT",
        "purpose": "tests", "format": "pth",
    }  # fmt: skip
    return Backbone(**values | changes)


@pytest.fixture
def mirror(tmp_path) -> Path:
    """A folder with backbones/net/net.pth"""
    folder = tmp_path / "mirror"
    (folder / "backbones" / "net").mkdir(parents=True)
    torch.save(TENSORS, folder / "backbones/net/net.pth")
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("digits", [64, 8])
def test_converts_checks_and_records_where_it_is_from(tmp_path, mirror, digits):
    source, out = mirror / "backbones/net/net.pth", tmp_path / "raw" / "net.safetensors"
    entry = backbone(sha256=sha(source)[:digits], keep=("features.",))
    assert fetch_backbone("net", entry, out, mirror) == sha(source)
    tensors, about = own.read(out)
    assert set(tensors) == {"features.0.weight", "features.0.bias"}
    for name, tensor in tensors.items():
        assert torch.equal(tensor, TENSORS[name]) and tensor.dtype == TENSORS[name].dtype
    assert about["source_sha256"] == sha(source) and about["licence"] == "MIT" and about["name"] == "net"
    assert about["url"] == "http://127.0.0.1:1/folder/net.pth"
    assert names(out.parent) == ["net.safetensors"]
    assert set(safetensors.torch.load_file(out)) == set(tensors)  # any reader opens it
    first = out.read_bytes()
    out.unlink()
    fetch_backbone("net", entry, out, mirror)
    assert out.read_bytes() == first


def test_without_keep_everything_stays_and_the_old_format_opens(tmp_path, mirror):
    torch.save(dict(TENSORS), mirror / "other.bin", _use_new_zipfile_serialization=False)
    entry = backbone(format="bin", mirror="other.bin")
    fetch_backbone("net", entry, tmp_path / "net.safetensors", mirror)
    assert set(own.read(tmp_path / "net.safetensors")[0]) == set(TENSORS)


def test_published_safetensors_are_taken_as_they_are(tmp_path, mirror):
    safetensors.torch.save_file(dict(TENSORS), mirror / "net.safetensors")
    entry = backbone(format="safetensors", mirror="net.safetensors", sha256=sha(mirror / "net.safetensors"))
    fetch_backbone("net", entry, tmp_path / "net.safetensors", mirror)
    tensors, about = own.read(tmp_path / "net.safetensors")
    assert set(tensors) == set(TENSORS) and about["source_sha256"] == entry.sha256


def test_a_hash_that_nobody_states_is_found_recorded_and_told(tmp_path, mirror, capsys):
    out = tmp_path / "net.safetensors"
    found = fetch_backbone("net", backbone(), out, mirror)
    assert own.read(out)[1]["source_sha256"] == found == sha(mirror / "backbones/net/net.pth")
    said = capsys.readouterr().err.replace("\n", "")
    assert found in said and "nobody states" in said


def test_a_fetched_file_is_not_fetched_again_unless_it_is_another_or_damaged(tmp_path, mirror):
    source, out = mirror / "backbones/net/net.pth", tmp_path / "net.safetensors"
    entry = backbone(sha256=sha(source))
    fetch_backbone("net", entry, out, mirror)
    source.unlink()
    assert fetch_backbone("net", entry, out) == entry.sha256  # nothing listens at the URL
    torch.save({"features.x": torch.ones(1)}, source)
    fetch_backbone("net", backbone(sha256=sha(source)), out, mirror)
    assert list(own.read(out)[0]) == ["features.x"]
    out.write_bytes(out.read_bytes()[:-1])
    fetch_backbone("net", backbone(sha256=sha(source)), out, mirror)
    assert list(own.read(out)[0]) == ["features.x"]


def test_a_wrong_file_is_refused(tmp_path, mirror):
    with pytest.raises(UserError, match=r"net\.pth: SHA-256 is .* the catalogue has 01234567 for backbone 'net'.*\.$"):
        fetch_backbone("net", backbone(sha256="01234567"), tmp_path / "raw" / "net.safetensors", mirror)
    assert names(tmp_path / "raw") == []


def test_nothing_in_a_published_file_runs(tmp_path, mirror):
    source, out = mirror / "backbones/net/net.pth", tmp_path / "raw" / "net.safetensors"
    for content in ({"a": torch.ones(2), "b": Trap(tmp_path / "sprung")}, {"a": {"b": torch.ones(2)}}, [torch.ones(2)]):
        torch.save(content, source)
        with pytest.raises(UserError, match=r"holds something else than named tensors.*backbone 'net'"):
            fetch_backbone("net", backbone(sha256=sha(source)), out, mirror)
    source.write_bytes(b"<html>log in</html>")
    with pytest.raises(UserError, match="or is damaged"):
        fetch_backbone("net", backbone(), out, mirror)
    assert not (tmp_path / "sprung").exists() and not out.exists()


def test_keep_that_matches_nothing_is_named(tmp_path, mirror):
    with pytest.raises(UserError, match=r"no tensor's name starts with visual\.; mend 'keep' of backbone 'net'"):
        fetch_backbone("net", backbone(keep=("visual.",)), tmp_path / "net.safetensors", mirror)


# --- over HTTP --------------------------------------------------------------------------------------------------


class Handler(BaseHTTPRequestHandler):
    """Serves the server's body; `cut` breaks the first answer off, `unframed` does not tell the length."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        body, asked = self.server.body, self.headers.get("Range")
        self.server.asked.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        self.send_response(206 if asked else 200)
        if not self.server.unframed:
            self.send_header("Content-Length", str(len(body) - start))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.end_headers()
        self.wfile.write(body[start : self.server.cut.pop(0) if self.server.cut else len(body)])


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("rekon.data.http.wait", lambda seconds: None)
    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.asked, running.cut, running.unframed, running.daemon_threads = [], [], False, True
    threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


@pytest.mark.parametrize(
    ("known", "cut", "unframed", "asked"),
    [
        (True, [], False, [None]),
        (True, [100], False, [None, "bytes=100-"]),
        (False, [], False, [None]),
        (False, [100], False, [None, "bytes=100-", None]),  # pieces that no hash vouches for are not taken
        (False, [], True, [None, None]),  # nor a body of unknown length, unless it comes twice
        (False, [100, 200], True, [None] * 4),
    ],
)
def test_over_http_with_and_without_a_known_hash(server, mirror, tmp_path, known, cut, unframed, asked):
    source, out = mirror / "backbones/net/net.pth", tmp_path / "raw" / "net.safetensors"
    server.body, server.cut, server.unframed = source.read_bytes(), list(cut), unframed
    url = f"http://127.0.0.1:{server.server_address[1]}/net.pth"
    fetch_backbone("net", backbone(url=url, sha256=sha(source)[:8] if known else None), out)
    assert server.asked == asked
    assert own.read(out)[1]["source_sha256"] == sha(source)
    assert names(out.parent) == ["net.safetensors"]


def test_the_command(mirror, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from rekon.cli import app

    monkeypatch.setenv("REKON_MIRROR", str(mirror))
    out = tmp_path / "net.safetensors"
    result = CliRunner().invoke(
        app, ["fetch-backbone", "net", "--spec", backbone().model_dump_json(), "--output", str(out)]
    )
    assert result.exit_code == 0, result.output
    assert set(own.read(out)[0]) == set(TENSORS)
