"""Raw files that go once they are converted: only what a machine fetched, and every message says how to get it back."""

import json
import re

import pytest
from samples import make_dataset
from services import BODY, a_set, archive, dataverse, here, serving, zenodo

from rekon.config import Scale
from rekon.data.batches import convert_batch
from rekon.data.download_set import download_set
from rekon.data.release import release, released, require
from rekon.data.splits import draw, write_split
from rekon.errors import UserError


@pytest.fixture
def server(monkeypatch):
    with serving(monkeypatch) as running:
        yield running


@pytest.fixture
def raw(server, tmp_path):
    """Three fetched files, and one that somebody put there."""
    dataverse(server, "a.h5", "b.h5", "c.h5")
    folder = tmp_path / "raw"
    download_set("set", "test", a_set(server, "dataverse"), folder)
    (folder / "mine.h5").write_bytes(b"mine")
    return folder


def manifest(folder, volumes=("a", "b", "c", "mine"), **more):
    path = folder.parent / "test.json"
    path.write_text(json.dumps({"volumes": [{"volume": name} for name in volumes], "mean_max": 2.0, **more}))
    return path


def test_what_was_fetched_goes_and_what_somebody_put_there_stays(raw):
    release(raw, manifest(raw))
    assert here(raw) == ["FETCHED.json", "RELEASED.json", "mine.h5"]
    assert released(raw) == {name: len(BODY) for name in ("a.h5", "b.h5", "c.h5")}


@pytest.mark.parametrize(
    ("more", "published", "words"),
    [
        ({"left_out": {"b.h5": "truncated."}}, None, r"^1 left out by the conversion; b\.h5: truncated\.$"),
        ({"mean_max": 2e8}, 2.0, r"^mean of max\(RSS\) is 2e\+08, published is 2: check"),  # another scale
        ({"mean_max": 1.5}, 2.0, "published is 2"),
        ({"mean_max": 2.1, "left_out": {}}, 2.0, ""),
        ({"mean_max": 2.1}, None, ""),
    ],
)
def test_everything_stays_while_the_conversion_is_in_doubt(raw, more, published, words):
    before = here(raw)
    said = release(raw, manifest(raw, **more), published)
    assert re.search(words, said) and bool(said) == bool(words)
    if words:
        assert here(raw) == sorted([*before, "RELEASED.json"]) and released(raw) == {}
        assert json.loads((raw / "RELEASED.json").read_text())["kept"] == said
        require(raw, ["a.h5"])
        release(raw, manifest(raw), published)  # once that is mended
    assert here(raw) == ["FETCHED.json", "RELEASED.json", "mine.h5"]


def test_nothing_goes_where_nothing_was_converted(raw):
    with pytest.raises(UserError, match=r"test\.json: key 'volumes' is empty"):
        release(raw, manifest(raw, ()))
    assert "a.h5" in here(raw) and "RELEASED.json" not in here(raw)


def test_a_kill_in_between_loses_nothing_and_is_made_good(raw):
    release(raw, manifest(raw))
    (raw / "c.h5").write_bytes(BODY)  # as if the kill had come before the last
    record = (raw / "RELEASED.json").read_bytes()
    (raw / "RELEASED.json").unlink()  # the workflow removes what a job that failed has declared
    release(raw, manifest(raw))
    assert here(raw) == ["FETCHED.json", "RELEASED.json", "mine.h5"] and (raw / "RELEASED.json").read_bytes() == record


def test_converting_again_says_how_to_bring_the_files_back(raw):
    write_split(raw / "SPLIT.txt", "set/test", draw(["a.h5", "b.h5", "c.h5"], None), None, 3)
    release(raw, manifest(raw))
    with pytest.raises(UserError, match=r"raw/a\.h5: removed after .*--forcerun .*raw/FETCHED\.json fetches it again"):
        convert_batch("set", "test", make_dataset(), raw / "SPLIT.txt", raw.parent, (1, 1), raw.parent / "1.json")
    require(raw, ["mine.h5"])


def test_what_went_before_there_was_a_doubt_is_still_told(raw):
    release(raw, manifest(raw))
    release(raw, manifest(raw, left_out={"b.h5": "damaged."}))
    assert set(released(raw)) == {"a.h5", "b.h5", "c.h5"}


def test_files_that_are_fetched_again_are_as_they_were(server, raw):
    release(raw, manifest(raw))
    download_set("set", "test", a_set(server, "dataverse"), raw)
    assert [(raw / name).read_bytes() for name in ("a.h5", "b.h5", "c.h5")] == [BODY] * 3
    require(raw, released(raw))


def test_files_of_an_archive_come_back_too(server, tmp_path):
    zenodo(server, **{"gre.zip": archive(a=BODY, b=b"B")})
    dataset = a_set(server, "zenodo", files="gre*.zip", volumes=2)
    download_set("set", "test", dataset, tmp_path)
    release(tmp_path, manifest(tmp_path / "raw", ("a", "b")))
    assert released(tmp_path) == {"a.h5": len(BODY), "b.h5": 1}
    download_set("set", "test", dataset, tmp_path)
    assert (tmp_path / "b.h5").read_bytes() == b"B" and (tmp_path / "a.h5").read_bytes() == BODY


def test_a_scale_names_only_stages_that_can_go():
    with pytest.raises(ValueError, match="temporary"):
        Scale.model_validate(
            {"scale": "s", "description": "d", "datasets": {"a": {}}, "studies": {"u": {}}, "evaluation": {},
             "temporary": ["weights"]}
        )  # fmt: skip
