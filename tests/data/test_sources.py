"""What services list, as they answer and as they should not; whole sets fetched from a server that misbehaves."""

import hashlib
import io
import json
import logging
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from samples import make_dataset

from rekon.config.base import check
from rekon.config.sources import Fetch, Local
from rekon.data import download_set as module
from rekon.data import http
from rekon.data.download_set import damaged, download_set, recorded
from rekon.data.sources import list_links, list_source, local_settings
from rekon.errors import UserError

SECRET = "s1gnature"
BODY = bytes(range(256)) * 400  # of every file


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves `server.files` by path; `server.script` holds, path by path, what goes wrong first."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        path = urlsplit(self.path).path
        self.server.asked.append(self.path)
        problems = self.server.script.get(path, [])
        problem = problems.pop(0) if problems else ""
        content = self.server.files.get(path)
        if problem.isdigit() or content is None:
            self.send_response(int(problem or 404))
            self.send_header("Content-Length", "0")
            if problem == "429":
                self.send_header("Retry-After", "7")
            self.end_headers()
            return
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        body = b"?" * len(content) if problem == "wrong" else content
        self.wfile.write(body[start : len(content) // 2 if problem == "drops" else None])
        self.close_connection = problem == "drops"


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(http, "wait", lambda seconds: None)
    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.files, running.script, running.asked = {}, {}, []
    running.daemon_threads = True
    running.base = f"http://127.0.0.1:{running.server_address[1]}"
    threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


def published(volumes: int) -> dict:
    return {"volumes": volumes, "slices": volumes, "coils": (1.0, 1), "matrix": (8, 8), "gigabytes": 1.0}


def a_set(server, kind, id="7", files="*.h5", volumes=3, **more):
    fetch = {"kind": kind, "id": id, "server": server.base, "files": {"test": files}}
    return make_dataset(fetch=fetch, published={"test": published(volumes)}, access="ask at example.org.", **more)


def zenodo(server, **contents):
    listed = [{"key": name, "size": len(body), "checksum": f"md5:{md5(body)}"} for name, body in contents.items()]
    server.files["/api/records/7"] = json.dumps({"id": 7, "files": listed}).encode()
    server.files |= {f"/api/records/7/files/{name}/content": body for name, body in contents.items()}


def dataverse(server, *names):
    files = [
        {"label": name, "dataFile": {"id": 10 + i, "filename": name, "filesize": len(BODY), "md5": md5(BODY)}}
        for i, name in enumerate(names)
    ]
    place = "/api/datasets/:persistentId/versions/:latest-published/files"
    server.files[place] = json.dumps({"status": "OK", "data": files}).encode()
    server.files |= {f"/api/access/datafile/{10 + i}": BODY for i in range(len(names))}


def archive(**contents) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, body in contents.items():
            file.writestr(f"inside/{name}.h5", body)
    return out.getvalue()


def here(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- what is listed -------------------------------------------------------------------------------------------
def test_zenodo_lists_names_sizes_and_md5(server):
    zenodo(server, **{"a b.h5": BODY, "other.txt": b"-"})
    (found,) = list_source(a_set(server, "zenodo").fetch, "test")
    assert (found.name, found.size, found.md5) == ("a b.h5", len(BODY), md5(BODY))
    assert found.url == f"{server.base}/api/records/7/files/a%20b.h5/content"


def test_dataverse_is_asked_by_its_doi(server):
    dataverse(server, "s1_e1.h5", "s1_e2.h5", "s2_e1.h5")
    fetch = a_set(server, "dataverse", id="doi:10.1/ABC", files="*_e1.h5").fetch
    assert [one.name for one in list_source(fetch, "test")] == ["s1_e1.h5", "s2_e1.h5"]
    assert [one.name for one in list_source(fetch, "test", ["s2_e1.h5", "s9_e1.h5"])] == ["s2_e1.h5"]
    assert server.asked[0].endswith("files?persistentId=doi:10.1/ABC")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"<html>", "not JSON"),
        (b'{"files": [{"key": "a.h5"}]}', "another form"),
        (b'{"files": 3}', "another form"),
        (b"[]", "another form"),
        (b'{"files": []}', "has no file"),
        (None, "404"),
    ],
)
def test_answers_in_another_form(server, answer, words):
    if answer is not None:
        server.files["/api/records/7"] = answer
    with pytest.raises(UserError, match=words) as caught:
        list_source(a_set(server, "zenodo").fetch, "test")
    assert "'fetch" in str(caught.value)


@pytest.mark.parametrize("name", ["../a.h5", "/a.h5", "x/a.h5", "..\\a.h5", ".a.h5"])
def test_a_name_that_leaves_the_folder_is_refused(server, tmp_path, name):
    zenodo(server, **{name: BODY})
    with pytest.raises(UserError, match="not the name of a file"):
        download_set("set", "test", a_set(server, "zenodo", files="*"), tmp_path / "raw")
    assert here(tmp_path) == ["raw"] and here(tmp_path / "raw") == []


def test_a_service_that_is_busy_is_asked_again(server):
    zenodo(server, **{"a.h5": BODY})
    server.script["/api/records/7"] = ["503", "429", "500"]
    assert len(list_source(a_set(server, "zenodo").fetch, "test")) == 1
    server.script["/api/records/7"] = ["503"] * 9
    with pytest.raises(UserError, match=r"cannot be asked \(status 503, 6 attempts\)"):
        list_source(a_set(server, "zenodo").fetch, "test")


def test_links_as_they_are_mailed(tmp_path):
    path = tmp_path / "links.txt"
    path.write_text(
        'curl -C - "https://bucket.example.org/v2/knee_val.tar.xz?Key=A&Signature=old" --output knee_val.tar.xz\n'
        f"https://bucket.example.org/v2/knee_val.tar.xz?Signature={SECRET}\n"
        "https://bucket.example.org/v2/brain_train_batch_0.tar.xz?Signature=x\n"
    )
    (found,) = list_links(path, "knee_val*")
    assert found.url.endswith(f"?Signature={SECRET}")  # the newer one
    assert SECRET not in repr(found) and SECRET not in str([found])
    with pytest.raises(UserError, match=r"links\.txt: has no address of a file 'knee_test\*'"):
        list_links(path, "knee_test*")
    with pytest.raises(UserError, match=r"none\.txt: cannot be read .*'links'"):
        list_links(tmp_path / "none.txt", "*")


def test_local_settings(tmp_path):
    assert local_settings(tmp_path / "none.yaml") == Local()
    (tmp_path / "local.yaml").write_text("links: {fastmri: /home/me/links.txt}\nfolder: {}\n")
    with pytest.raises(UserError, match=r"local\.yaml: unknown key 'folder'"):
        local_settings(tmp_path / "local.yaml")
    with pytest.raises(UserError, match="needs 'server'"):
        check(Fetch, {"kind": "dataverse", "id": "x", "files": {"test": "*"}}, "config")


# --- whole sets -----------------------------------------------------------------------------------------------
def test_several_files_from_a_server_that_misbehaves(server, tmp_path):
    dataverse(server, "a.h5", "b.h5", "c.h5")
    for i, problems in enumerate((["drops", "500"], ["429", "drops"], ["503"])):
        server.script[f"/api/access/datafile/{10 + i}"] = problems
    download_set("set", "test", a_set(server, "dataverse"), tmp_path / "raw")
    assert here(tmp_path / "raw") == ["FETCHED.json", "a.h5", "b.h5", "c.h5"]
    assert {(tmp_path / "raw" / name).read_bytes() for name in ("a.h5", "b.h5", "c.h5")} == {BODY}
    assert recorded(tmp_path / "raw")["b.h5"] == {
        "from": f"{server.base}/api/access/datafile/11", "sha256": hashlib.sha256(BODY).hexdigest(), "size": len(BODY),
    }  # fmt: skip
    asked = len(server.asked)
    download_set("set", "test", a_set(server, "dataverse"), tmp_path / "raw")
    assert len(server.asked) == asked, "what is there is not asked for"


def test_files_put_there_by_hand_need_no_network(server, tmp_path):
    for name in ("x.h5", "y.h5", "z.h5"):
        (tmp_path / name).write_bytes(b"mine")
    download_set("set", "test", a_set(server, "zenodo"), tmp_path)
    assert server.asked == [] and recorded(tmp_path) == {}


def test_only_what_is_missing_is_fetched(server, tmp_path):
    dataverse(server, "a.h5", "b.h5", "c.h5")
    (tmp_path / "b.h5").write_bytes(BODY)
    (tmp_path / "c.h5").write_bytes(BODY[:9])  # as a copy that broke off leaves it
    download_set("set", "test", a_set(server, "dataverse"), tmp_path)
    assert "/api/access/datafile/11?gbrecs=true" not in server.asked and len(server.asked) == 3
    assert (tmp_path / "c.h5").read_bytes() == BODY


def test_a_list_names_what_is_wanted(server, tmp_path):
    server.files |= {f"/download/{name}": BODY for name in ("u1", "u2")}
    download_set("set", "test", a_set(server, "mridata", volumes=2), tmp_path, ["u1.h5", "u2.h5"])
    assert here(tmp_path) == ["FETCHED.json", "u1.h5", "u2.h5"]
    assert sorted(server.asked) == ["/download/u1", "/download/u2"]


def test_a_wrong_file_is_named_and_the_others_are_kept(server, tmp_path):
    dataverse(server, "a.h5", "b.h5", "c.h5")
    server.script["/api/access/datafile/11"] = ["wrong"]
    with pytest.raises(UserError, match=r"1 of 3 files of 'set' could not be fetched; the first: b\.h5: .*MD5 is"):
        download_set("set", "test", a_set(server, "dataverse"), tmp_path)
    assert here(tmp_path) == ["FETCHED.json", "a.h5", "c.h5"]
    download_set("set", "test", a_set(server, "dataverse"), tmp_path)
    assert here(tmp_path) == ["FETCHED.json", "a.h5", "b.h5", "c.h5"]


def test_archives_are_unpacked_and_not_fetched_twice(server, tmp_path):
    zenodo(server, **{"gre.zip": archive(a=BODY, b=b"B"), "train.zip": b"no"})
    dataset = a_set(server, "zenodo", files="gre*.zip", volumes=2)
    download_set("set", "test", dataset, tmp_path)
    assert here(tmp_path) == ["FETCHED.json", "a.h5", "b.h5"]
    assert recorded(tmp_path)["b.h5"]["from"] == "gre.zip"
    asked = len(server.asked)
    (tmp_path / "b.h5").unlink()  # one is lost: the archive comes again, what is there stays
    untouched = (tmp_path / "a.h5").stat().st_mtime_ns
    download_set("set", "test", dataset, tmp_path)
    assert len(server.asked) == asked + 2 and (tmp_path / "a.h5").stat().st_mtime_ns == untouched
    assert damaged(tmp_path) == []
    (tmp_path / "a.h5").write_bytes(BODY[:-1] + b"!")
    assert damaged(tmp_path) == ["a.h5"]


def test_an_archive_without_data_is_told(server, tmp_path):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("read.me", "-")
    zenodo(server, **{"gre.zip": out.getvalue()})
    with pytest.raises(UserError, match=r"holds no file that ends in \.h5"):
        download_set("set", "test", a_set(server, "zenodo", files="*.zip"), tmp_path)


def test_signed_links_reach_no_record_no_log_and_no_message(server, tmp_path, caplog, capfd):
    server.files["/knee_val.tar.xz"] = b"no archive"
    server.files["/knee_val_2.tar.xz"] = b"no archive either"
    server.script["/knee_val_2.tar.xz"] = ["500", "403"]
    links = tmp_path / "links.txt"
    links.write_text("".join(f"curl '{server.base}/{n}.tar.xz?Sig={SECRET}'\n" for n in ("knee_val", "knee_val_2")))
    dataset, raw = a_set(server, "links", id="fastmri", files="knee_val*"), tmp_path / "raw"
    with caplog.at_level(logging.DEBUG), pytest.raises(UserError, match="2 of 2 files") as caught:
        download_set("set", "test", dataset, raw, local=Local(links={"fastmri": str(links)}))
    output = capfd.readouterr()
    everything = caplog.text + output.out + output.err + str(caught.value) + repr(caught.value.__cause__)
    everything += "".join(path.read_text(errors="replace") for path in raw.rglob("*") if path.is_file())
    assert SECRET not in everything
    assert any(SECRET in path for path in server.asked)
    server.files |= {f"/{name}.tar.xz": b"" for name in ("knee_val", "knee_val_2")}
    server.script["/knee_val.tar.xz"] = ["403"]
    server.script["/knee_val_2.tar.xz"] = ["403"]
    (raw / "knee_val.tar.xz").unlink(missing_ok=True)
    with pytest.raises(UserError, match=r"a signed link may have expired: renew the addresses in .*links\.txt"):
        download_set("set", "test", dataset, raw, local=Local(links={"fastmri": str(links)}))


def test_a_folder_of_the_users_is_linked(server, tmp_path):
    given = tmp_path / "given/train"
    given.mkdir(parents=True)
    (given / "e1.h5").write_bytes(BODY)
    (given.parent / "read.me").touch()
    dataset, local = a_set(server, "folder", id="cc359"), Local(folders={"cc359": str(tmp_path / "given")})
    for _ in range(2):
        download_set("set", "test", dataset, tmp_path / "raw", local=local)
    link = tmp_path / "raw/e1.h5"
    assert link.is_symlink() and link.read_bytes() == BODY and here(tmp_path / "raw") == ["FETCHED.json", "e1.h5"]
    with pytest.raises(UserError, match=r"nowhere: no such folder; mend 'folders'"):
        download_set(
            "set", "test", dataset, tmp_path / "raw", local=Local(folders={"cc359": str(tmp_path / "nowhere")})
        )
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: holds no file '\*\.h5'"):
        download_set("set", "test", dataset, tmp_path / "raw2", local=Local(folders={"cc359": str(tmp_path / "empty")}))


def test_without_access_one_is_told_how_to_get_it(server, tmp_path):
    for kind in ("links", "folder"):
        with pytest.raises(UserError, match=r"holds no file of data set 'set', test split; ask at example\.org\.$"):
            download_set("set", "test", a_set(server, kind), tmp_path)
    (tmp_path / "a.h5").touch()  # a part of a licensed set is taken as it is; check-data tells what is missing
    download_set("set", "test", a_set(server, "links"), tmp_path)


def test_no_room_is_told_before_anything_is_fetched(server, tmp_path, monkeypatch):
    zenodo(server, **{"a.h5": BODY})
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: type("U", (), {"free": 50})())
    with pytest.raises(UserError, match=r"0\.0 GB of 'set' are still to be fetched, 0\.0 GB are free"):
        download_set("set", "test", a_set(server, "zenodo"), tmp_path)
    assert server.asked == ["/api/records/7"]


def test_a_mirror_comes_first(server, tmp_path):
    dataverse(server, "a.h5", "b.h5", "c.h5")
    (tmp_path / "mirror/set").mkdir(parents=True)
    for name in ("a.h5", "b.h5", "c.h5"):
        (tmp_path / "mirror/set" / name).write_bytes(BODY)
    download_set("set", "test", a_set(server, "dataverse"), tmp_path / "raw", mirror=tmp_path / "mirror")
    assert len(server.asked) == 1  # the list


def test_a_broken_record_is_told(server, tmp_path):
    (tmp_path / "FETCHED.json").write_text("{}")
    with pytest.raises(UserError, match=r"FETCHED\.json: key 'files' is missing"):
        download_set("set", "test", a_set(server, "zenodo"), tmp_path)
