"""What services list, as they answer and as they should not."""

import pytest
from services import BODY, SECRET, a_set, dataverse, md5, serving, zenodo

from rekon.config.base import check
from rekon.config.sources import Fetch, Local
from rekon.data.sources import list_links, list_source, local_settings
from rekon.errors import UserError


@pytest.fixture
def server(monkeypatch):
    with serving(monkeypatch) as running:
        yield running


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
