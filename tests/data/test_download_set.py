"""Whole sets fetched from a server that misbehaves, from a folder, from a mirror."""

import hashlib
import io
import logging
import zipfile

import pytest
from samples import make_dataset
from services import BODY, SECRET, a_set, archive, dataverse, here, published, serving, zenodo

from rekon.config.sources import Local
from rekon.data import download_set as module
from rekon.data.download_set import damaged, download_set, recorded
from rekon.errors import UserError


@pytest.fixture
def server(monkeypatch):
    with serving(monkeypatch) as running:
        yield running


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
    assert here(tmp_path) == ["a.h5", "c.h5"] and set(recorded(tmp_path)) == {"a.h5", "c.h5"}
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


def test_an_archive_is_not_fetched_again_after_a_kill_while_it_was_unpacked(server, tmp_path, monkeypatch):
    server.files["/knee_val.zip"] = archive(a=BODY, b=b"B")
    (tmp_path / "links.txt").write_text(f"{server.base}/knee_val.zip?Sig=1\n")
    dataset = a_set(server, "links", id="fastmri", files="knee_val*", volumes=2)
    raw, local = tmp_path / "raw", Local(links={"fastmri": str(tmp_path / "links.txt")})

    def killed(*_):
        raise KeyboardInterrupt

    def full(*_):
        raise UserError("no space left on the disk")

    for failure in (killed, full):
        with monkeypatch.context() as patched, pytest.raises((KeyboardInterrupt, UserError)):
            patched.setattr(module, "unpack", failure)
            download_set("set", "test", dataset, raw, local=local)
    download_set("set", "test", dataset, raw, local=local)
    assert here(raw) == ["FETCHED.json", "a.h5", "b.h5"] and len(server.asked) == 1
    # what is no archive, such as a page to log in, is replaced
    (raw / "b.h5").unlink()
    (raw / "knee_val.zip").write_bytes(b"<p>log in")
    download_set("set", "test", dataset, raw, local=local)
    assert here(raw) == ["FETCHED.json", "a.h5", "b.h5"] and len(server.asked) == 2


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


def test_splits_that_are_the_same_files_are_fetched_once(server, tmp_path):
    dataverse(server, "a.h5", "b.h5", "c.h5")
    fetch = {"kind": "dataverse", "id": "7", "server": server.base, "files": {"validation": "*.h5", "test": "*.h5"}}
    both = {"validation": published(3), "test": published(3)}
    dataset = make_dataset(fetch=fetch, published=both)
    download_set("set", "validation", dataset, tmp_path / "validation")
    asked = len(server.asked)
    (tmp_path / "test").mkdir()
    (tmp_path / "test/b.h5").write_bytes(b"mine")
    (tmp_path / "test/c.h5").symlink_to(tmp_path / "nowhere")
    download_set("set", "test", dataset, tmp_path / "test")
    assert len(server.asked) == asked and here(tmp_path / "test") == ["FETCHED.json", "a.h5", "b.h5", "c.h5"]
    assert [(tmp_path / "test" / name).read_bytes() for name in ("a.h5", "b.h5", "c.h5")] == [BODY, b"mine", BODY]
    assert dataset.fetch.same("train") == [] and a_set(server, "zenodo").fetch.same("test") == []


def test_two_files_of_one_name_are_not_linked_over_each_other(server, tmp_path):
    given = tmp_path / "given"
    for name in ("test_R5/e1.h5", "test_R10/e1.h5", "train/e2.h5"):
        (given / name).parent.mkdir(parents=True, exist_ok=True)
        (given / name).write_bytes(name.encode())
    dataset, raw = a_set(server, "folder", id="cc359"), tmp_path / "raw"
    with pytest.raises(UserError, match=r"given: holds 'test_R10/e1\.h5' and 'test_R5/e1\.h5', two files of one name"):
        download_set("set", "test", dataset, raw, local=Local(folders={"cc359": str(given)}))
    assert here(raw) == []
    # another folder in place of the first one: the links follow
    for folder in ("test_R5", "train"):
        download_set("set", "test", dataset, raw, local=Local(folders={"cc359": str(given / folder)}))
    assert here(raw) == ["FETCHED.json", "e1.h5", "e2.h5"] and (raw / "e1.h5").read_bytes() == b"test_R5/e1.h5"


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


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize(
    ("name", "free", "enough"),
    [
        ("u1.h5", len(BODY) - 1, False),
        ("u1.h5", len(BODY), True),
        ("u1.zip", 2 * len(BODY), False),  # what it holds is there beside it
        ("u1.zip", 2 * len(BODY) + 400, True),
    ],
)
def test_room_is_asked_for_where_nobody_states_sizes(server, tmp_path, monkeypatch, silent, name, free, enough):
    body = archive(a=BODY) if name.endswith("zip") else BODY
    server.files[f"/{name}"], server.silent = body, silent
    (tmp_path / "links.txt").write_text(f"{server.base}/{name}\n")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: type("U", (), {"free": free})())
    dataset, local = a_set(server, "links", files="u1*", volumes=1), Local(links={"7": str(tmp_path / "links.txt")})
    if enough:
        download_set("set", "test", dataset, tmp_path / "raw", local=local)
        return
    with pytest.raises(UserError, match="are still to be fetched"):
        download_set("set", "test", dataset, tmp_path / "raw", local=local)
    assert server.asked == []
    # with the larger half there already, it is enough
    (tmp_path / f"raw/.{name}.part").write_bytes(body[: len(body) // 2 + 1])
    download_set("set", "test", dataset, tmp_path / "raw", local=local)


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


@pytest.mark.parametrize("name", ["../a.h5", "/a.h5", "x/a.h5", "..\\a.h5", ".a.h5"])
def test_a_name_that_leaves_the_folder_is_refused(server, tmp_path, name):
    zenodo(server, **{name: BODY})
    with pytest.raises(UserError, match="not the name of a file"):
        download_set("set", "test", a_set(server, "zenodo", files="*"), tmp_path / "raw")
    assert here(tmp_path) == ["raw"] and here(tmp_path / "raw") == []
