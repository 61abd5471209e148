"""The kit: blind, the same bytes every time, complete or absent; the key opens it."""

import struct
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import readers
from PIL import Image

from rekon.errors import UserError
from rekon.files import read_json, write_json
from rekon.reading.images import read_images
from rekon.reading.key import read_key
from rekon.reading.kit import make_kit


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def chunks(png: bytes) -> list[bytes]:
    found, position = [], 8
    while position < len(png):
        (length,) = struct.unpack(">I", png[position : position + 4])
        found.append(png[position + 4 : position + 8])
        position += 12 + length
    return found


def test_kit_holds_pairs_page_sheet_and_instructions(study, key):
    pictures = {f"pairs/{pair}_{side}.png" for pair in key.pairs for side in "AB"}
    assert set(files(study / "kit")) == pictures | {"read.html", "sheet.csv", "README.txt"}
    assert len(key.pairs) == 16 + 4  # a quarter of them shown again
    assert (study / "kit" / "sheet.csv").read_text().count("\n") == 1 + 2 * len(key.pairs)


def test_nothing_in_the_kit_tells_the_arm(study, key):
    kit = files(study / "kit")
    subjects_and_cases = {pair.subject for pair in key.pairs.values()} | {pair.case for pair in key.pairs.values()}
    for name, content in kit.items():
        for arm in readers.ARMS:
            assert arm.encode() not in content.lower() and arm not in name
        if not name.endswith(".png"):
            assert not any(f'"{word}"'.encode() in content for word in subjects_and_cases)
    pngs = [content for name, content in kit.items() if name.endswith(".png")]
    assert {tuple(chunks(png)) for png in pngs} == {(b"IHDR", b"IDAT", b"IEND")}  # no text, no time
    assert len({len(png) for png in pngs}) == 1  # a smooth arm is no smaller
    assert len({png[8:33] for png in pngs}) == 1  # one header


def test_pictures_are_the_images_in_one_window(study, key):
    arms = {arm: read_images(study / f"{arm}.h5").images for arm in readers.ARMS}
    for name, pair in list(key.pairs.items())[:3]:
        both = [arms[arm][pair.case] for arm in (pair.A, pair.B)]
        assert pair.window == pytest.approx(np.percentile(both, 99.5))
        for side, image in zip("AB", both, strict=True):
            shown = np.asarray(Image.open(study / "kit" / "pairs" / f"{name}_{side}.png"))
            assert shown.dtype == np.uint8 and shown.shape == image.shape
            np.testing.assert_allclose(shown / 255, np.clip(image / pair.window, 0, 1), atol=0.5 / 255 + 1e-6)


def test_same_inputs_same_bytes_and_another_seed_other_ones(study, tmp_path):
    readers.make(tmp_path / "again", repeats=0.25)
    readers.make(tmp_path / "other", repeats=0.25, seed=1)
    assert files(tmp_path / "again" / "kit") == files(study / "kit")
    assert (tmp_path / "again" / "key.json").read_bytes() == (study / "key.json").read_bytes()
    assert files(tmp_path / "other" / "kit") != files(study / "kit")


def test_several_arms_are_each_shown_against_the_reference(tmp_path):
    key = readers.make(tmp_path, subjects=3, arms=(*readers.ARMS, "okapi"), reference="quokka", repeats=0)
    pairs = [{pair.A, pair.B} for pair in key.pairs.values()]
    assert pairs.count({"quokka", "zephyr"}) == pairs.count({"quokka", "okapi"}) == 6 and len(pairs) == 12
    assert key.brightness["zephyr"] == pytest.approx(1 / readers.make(tmp_path / "2", subjects=3).brightness["quokka"])


class Page(HTMLParser):
    """What a check of the page needs: controls, their groups, what is fetched."""

    def __init__(self, text: str):
        super().__init__()
        self.fetched, self.groups, self.labelled, self.inputs, self.ids = [], [], 0, 0, set()
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.fetched += [given[name] for name in ("src", "href") if name in given]
        self.ids |= {given["id"]} if "id" in given else set()
        if tag == "input":
            self.inputs += 1
            self.labelled += "label" in self.open
            assert given["type"] != "radio" or "fieldset" in self.open
        elif tag == "fieldset":
            self.groups.append("")
        if tag not in ("input", "meta", "link", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "legend":
            self.groups[-1] = data.strip()


def test_page_needs_no_network_and_every_control_has_a_name(study):
    text = (study / "kit" / "read.html").read_text(encoding="utf-8")
    page = Page(text)
    assert "http:" not in text and "https:" not in text
    assert page.fetched == ["data:,"]
    assert page.inputs == page.labelled == 5 * 5 * 2 + 3 + 2
    assert len(page.groups) == len(set(page.groups)) == 5 * 2 + 1 and all(page.groups)
    assert {"heading", "reader", "status", "message", "save", "load"} <= page.ids


@pytest.mark.parametrize("place", ["kit/key.json", "kit", "other/../kit/deep/key.json"])
def test_key_inside_the_kit_is_refused(tmp_path, place):
    (tmp_path / "other").mkdir()
    arms = [readers.write_arm(tmp_path / f"{arm}.h5", arm, 2) for arm in readers.ARMS]
    with pytest.raises(UserError, match="lies inside the kit"):
        make_kit(arms, tmp_path / "kit", tmp_path / place)
    (tmp_path / "link").symlink_to(tmp_path / "kit")
    with pytest.raises(UserError, match="lies inside the kit"):
        make_kit(arms, tmp_path / "kit", tmp_path / "link" / "key.json")
    assert not (tmp_path / "kit").exists()


def test_outputs_that_exist_are_kept(study, tmp_path):
    arms = [study / f"{arm}.h5" for arm in readers.ARMS]
    with pytest.raises(UserError, match=r"--output .*exists already"):
        make_kit(arms, study / "kit", tmp_path / "key.json")
    write_json(tmp_path / "key.json", {"another": "key"})
    with pytest.raises(UserError, match=r"--key .*the key of another kit"):
        make_kit(arms, tmp_path / "kit", tmp_path / "key.json")
    assert [path.name for path in tmp_path.iterdir()] == ["key.json"]  # no kit without its key, no remains
    make_kit(arms, tmp_path / "kit", study / "key.json", repeats=0.25)  # the same key: a kit that was lost


def test_arms_that_do_not_compare_are_refused(tmp_path):
    first = readers.write_arm(tmp_path / "first.h5", "zephyr", 2)

    def made(name, **changes):
        return readers.write_arm(tmp_path / f"{name}.h5", **{"arm": "quokka", "subjects": 2} | changes)

    owners = {f"v{subject}/{number}": "one" for subject in range(2) for number in range(2)}
    for other, problem in (
        (made("twice", arm="zephyr"), "twice.h5: attribute 'arm' is 'zephyr', as in .*first.h5"),
        (made("unit", unit="K"), "unit.h5: attribute 'unit' is 'K', that of .*first.h5 is 'arbitrary'"),
        (made("set", dataset="sim-y"), "set.h5: attribute 'dataset' is 'sim-y'"),
        (made("few", subjects=1), "few.h5: lacks the case 'v1/0', which .*first.h5 has"),
        (made("more", subjects=3), "first.h5: lacks the case 'v2/0', which .*more.h5 has"),
        (made("owner", owners=owners), "owner.h5: 'v0/0' has another size or subject than in .*first.h5"),
    ):
        with pytest.raises(UserError, match=problem):
            make_kit([first, other], tmp_path / "kit", tmp_path / "key.json")
    second = made("second")
    for arms, options, problem in (
        ([first], {}, "--arm: give at least two files"),
        ([first, second], {"reference": "okapi"}, "--reference okapi: no such arm; there are zephyr, quokka"),
        ([first, second], {"repeats": 0.6}, "--repeats 0.6: must lie between 0 and 0.5"),
    ):
        with pytest.raises(UserError, match=problem):
            make_kit(arms, tmp_path / "kit", tmp_path / "key.json", **options)
    assert not (tmp_path / "kit").exists() and not (tmp_path / "key.json").exists()


def test_black_pair_is_refused_and_leaves_nothing(tmp_path):
    from rekon.reading.images import write_images

    arms = [tmp_path / f"{arm}.h5" for arm in readers.ARMS]
    for arm, path in zip(readers.ARMS, arms, strict=True):
        write_images(path, {"v/0": np.ones((4, 4)), "v/1": np.zeros((4, 4))}, arm=arm, dataset="sim-x")
    with pytest.raises(UserError, match="'v/1' is black"):
        make_kit(arms, tmp_path / "kit", tmp_path / "key.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in arms)


def test_failed_write_leaves_no_kit_and_no_key(study, tmp_path, monkeypatch):
    write, done = Path.write_bytes, []

    def until_full(path, data):
        done.append(path)
        if len(done) > 5:
            raise OSError(28, "disk full")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", until_full)
    with pytest.raises(UserError, match="no space left"):
        make_kit([study / f"{arm}.h5" for arm in readers.ARMS], tmp_path / "kit", tmp_path / "key.json")
    assert list(tmp_path.iterdir()) == []


def test_key_that_was_edited_is_refused(study, tmp_path):
    written = read_json(study / "key.json")
    other = {**written, "criteria": ["sharpness"]}
    fewer = {**written, "pairs": {name: pair for name, pair in written["pairs"].items() if name != "0001"}}
    fewer["pairs"] = {name: {**pair, "repeat_of": None} for name, pair in fewer["pairs"].items()}
    swapped = {**written, "pairs": written["pairs"] | {"0001": written["pairs"]["0001"] | {"A": "okapi", "B": "ibex"}}}
    orphan = {**written, "pairs": written["pairs"] | {"0001": written["pairs"]["0001"] | {"repeat_of": "9999"}}}
    for document, problem in (
        (other, "no longer give the sheet of 'sheet_sha256'"),
        (fewer, "no longer give the sheet of 'sheet_sha256'"),
        (swapped, "pair '0001' must show 'zephyr' against one of 'tests'"),
        (orphan, "pair '0001' repeats '9999', which is not among 'pairs'"),
        ({**written, "pairs": {}}, "'pairs' is empty"),
        ({name: value for name, value in written.items() if name != "kit"}, "key 'kit' is missing"),
        ({**written, "note": "x"}, "unknown key 'note'"),
    ):
        write_json(tmp_path / "key.json", document)
        with pytest.raises(UserError, match=f"key.json: .*{problem}"):
            read_key(tmp_path / "key.json")
    with pytest.raises(UserError, match=r"none.json: no such file"):
        read_key(tmp_path / "none.json")
