"""Data on the disk against the catalogue: what is there, what is missing, what is broken, what to do next."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml
from samples import head, make_dataset, write_fastmri

from rekon.config.counts import Expected, batches, expected
from rekon.config.sources import Published, SplitRule
from rekon.data.batches import convert_batch
from rekon.data.check import Wanted, check_split
from rekon.data.check_view import console, view
from rekon.data.splits import draw, write_split
from rekon.data.summarise import summarise

ROOT = Path(__file__).resolve().parents[2]


def published(volumes=3, **more) -> dict:
    return {
        "test": {"volumes": volumes, "slices": 2 * volumes, "coils": (3.0, 3), "matrix": (32, 40), "gigabytes": 1.0}
        | more
    }


def wanted(volumes=3, rule=None, **entry) -> Wanted:
    dataset = make_dataset(published=published(volumes), access="Ask at example.org.", **entry)
    return Wanted("set", "test", dataset, rule, expected(dataset.published["test"], rule))


@pytest.fixture
def root(tmp_path):
    """Three raw files."""
    folder = tmp_path / "raw/set/test"
    folder.mkdir(parents=True)
    for seed, name in enumerate("abc"):
        write_fastmri(folder / f"{name}.h5", head(seed=seed), (32, 40))
    return tmp_path


def convert(root: Path, entry, names="abc") -> float:
    """Converts, and returns the constant."""
    listing = root / "raw/set/test/SPLIT.txt"
    write_split(listing, "set/test", draw([f"{name}.h5" for name in names], None), None, 3)
    record, manifest = root / "1-of-1.json", root / "runs/full/data/set/test.json"
    convert_batch("set", "test", entry, listing, root / "data/kspace/set/test", (1, 1), record)
    summarise("set", "test", entry, [record], manifest)
    content = json.loads(manifest.read_text())
    for volume in content["volumes"]:
        volume["path"] = str(Path(volume["path"]).relative_to(root))
    manifest.write_text(json.dumps(content))
    return content["mean_max"]


def look(root: Path, what: Wanted, quick=False):
    return check_split(what, "full", root, quick)


def test_nothing_is_there(tmp_path):
    found = look(tmp_path, wanted())
    assert (found.state, found.ok, found.raw, found.expected) == ("absent", False, 0, 3)
    assert found.next == "Ask at example.org; then snakemake --cores 4 --configfile config/full.yaml data"
    assert found.to_come == pytest.approx(1e9 + 6 * 32 * 40 * (8 * 3 + 4))
    fetch = {"kind": "zenodo", "id": "7", "files": {"test": "*"}}
    assert look(tmp_path, wanted(fetch=fetch)).next.endswith("data fetches it")


@pytest.mark.parametrize("quick", [False, True])
def test_everything_is_there_and_not_converted_yet(root, quick):
    found = look(root, wanted(), quick)
    assert (found.state, found.ok, found.raw, found.converted, found.broken) == ("ready", True, 3, None, {})
    assert found.next.startswith("snakemake")


def test_some_are_missing(root):
    (root / "raw/set/test/b.h5").unlink()
    found = look(root, wanted())
    assert found.state == "partial" and found.next.startswith("2 of 3 files are there; Ask at example.org")
    (root / "config/splits").mkdir(parents=True)
    (root / "config/splits/list.txt").write_text("a.h5\nb.h5\nc.h5\n")
    found = look(root, wanted(rule=SplitRule(names="list.txt", volumes=3)))
    assert found.missing == ["b.h5"] and "2 of 3 files are there; missing: b.h5; " in found.next


def test_what_the_workflow_listed_before_has_to_be_listed_again(root):
    (root / "raw/set/test/b.h5").unlink()
    (root / "raw/set/test/INDEX.txt").touch()
    assert look(root, wanted()).next.endswith("data --forcerun raw/set/test/INDEX.txt")


def test_files_beyond_the_split_do_not_count(root):
    found = look(root, wanted(rule=SplitRule(count=2, volumes=2)))
    assert (found.raw, found.expected, found.state) == (2, 2, "ready")
    (root / "raw/set/test/c.h5").write_bytes(b"broken, but nobody reads it")
    assert look(root, wanted(rule=SplitRule(count=2, volumes=2))).ok


def test_converted_to_the_published_scale(root):
    constant = convert(root, wanted().entry)
    what = wanted(normalisation=constant * 1.1)
    found = look(root, what)
    assert (found.state, found.converted, found.to_come, found.next) == ("ready", 3, 0, "nothing")
    assert found.constant == pytest.approx(constant) and found.published == constant * 1.1
    for wrong in (constant * 2, constant / 1e8):  # as with another transform's scale, or another unit
        found = look(root, wanted(normalisation=wrong))
        assert found.state == "suspect" and not found.ok and "published is" in found.next
    # raw files and converted k-space may be purged once everything is made from them
    for path in [*root.rglob("raw/**/*.h5"), *root.rglob("data/**/*.h5")]:
        path.unlink()
    assert look(root, what).ok


def test_the_constant_is_computed_again_from_the_volumes(root):
    constant = convert(root, wanted().entry)
    what = wanted(normalisation=constant)
    manifest = root / "runs/full/data/set/test.json"
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(content | {"mean_max": 1.01 * constant}))
    assert look(root, what, quick=True).ok
    found = look(root, what)
    assert found.constant == pytest.approx(constant)
    assert found.state == "broken" and "its 'mean_max' is" in found.broken["runs/full/data/set/test.json"]
    # attribute and reference image of a volume disagree, though its checksum was noted afterwards
    path = root / "data/kspace/set/test/a.h5"
    with h5py.File(path, "r+") as file:
        file["reconstruction_rss"][...] *= 2
    content["volumes"][0]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest.write_text(json.dumps(content))
    assert "its 'mean_max' is" in look(root, what).broken["runs/full/data/set/test.json"]


def test_more_files_than_were_published(root):
    for rule in (None, SplitRule(volumes=2)):
        found = look(root, wanted(2, rule))
        assert (found.state, found.ok, found.surplus) == ("surplus", False, 1) and "1 files more than" in found.next
    assert look(root, wanted(2, SplitRule(count=2, volumes=2))).ok


def test_a_constant_that_the_set_is_not_divided_by(root):
    convert(root, wanted().entry)
    entry = make_dataset(published=published(constant=1.0), normalisation="volume_max")
    assert look(root, Wanted("set", "test", entry, None, Expected(3, 6))).published == 1.0


def test_left_out_volumes_are_listed(root):
    convert(root, wanted().entry)
    manifest = root / "runs/full/data/set/test.json"
    content = json.loads(manifest.read_text())
    content["left_out"], content["volumes"] = {"b.h5": "damaged."}, content["volumes"][:2]
    content["mean_max"] = sum(volume["max"] for volume in content["volumes"]) / 2
    manifest.write_text(json.dumps(content))
    found = look(root, wanted())
    assert found.left_out == {"b.h5": "damaged."} and found.next == "1 left out; b.h5: damaged" and found.ok
    (root / "raw/set/test/b.h5").write_bytes(b"")
    assert look(root, wanted()).ok, "conversion has told already"


def test_converted_volumes_that_changed(root):
    convert(root, wanted().entry)
    path = root / "data/kspace/set/test/a.h5"
    with h5py.File(path, "r+") as file:
        file["kspace"][0, 0, 0, 0] = 1
    assert look(root, wanted(), quick=True).ok
    found = look(root, wanted())
    assert found.broken == {"data/kspace/set/test/a.h5": "changed since"} and found.state == "broken"
    path.write_bytes(path.read_bytes()[:300])
    assert "truncated" in look(root, wanted(), quick=True).broken["data/kspace/set/test/a.h5"]


def damage(path: Path, how: str) -> None:
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:-2000])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "link":
        path.unlink()
        path.symlink_to("nowhere.h5")
    else:
        with h5py.File(path, "r+") as file:
            kspace = file["kspace"][()]
            if how == "no header":
                del file["ismrmrd_header"]
                return
            del file["kspace"]
            match how:
                case "dtype":
                    file["kspace"] = kspace.real
                case "axes":
                    file["kspace"] = kspace[0, 0]
                case "header":
                    file["kspace"] = kspace[..., :20]
                case "nan":
                    kspace[1, 0, 3, 3] = np.nan
                    file["kspace"] = kspace
                case "zero":
                    file["kspace"] = np.zeros_like(kspace)


@pytest.mark.parametrize(
    ("how", "words", "seen_quickly"),
    [
        ("truncated", "truncated", True),
        ("empty", "empty", True),
        ("link", "no such file", True),
        ("no header", "'ismrmrd_header' is missing", True),
        ("no kspace", "'kspace' is missing", True),
        ("dtype", "float32 of shape", True),
        ("axes", r"of shape \(32, 40\)", True),
        ("header", "header", False),
        ("nan", "slice 1 holds NaN", False),
        ("zero", "slice 1 is zero", False),
    ],
)
def test_broken_files(root, how, words, seen_quickly):
    damage(root / "raw/set/test/b.h5", how)
    found = look(root, wanted())
    assert list(found.broken) == ["b.h5"] and found.state == "broken"
    assert re.search(words, found.broken["b.h5"]), found.broken
    assert found.next.startswith("replace b.h5: ") and "\n" not in found.next
    assert bool(look(root, wanted(), quick=True).broken) == seen_quickly


def test_fetched_files_are_held_against_their_checksum(root):
    path = root / "raw/set/test/a.h5"
    entry = {"size": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "from": "x"}
    (path.parent / "FETCHED.json").write_text(json.dumps({"dataset": "set", "files": {"a.h5": entry}}))
    assert look(root, wanted()).ok
    with h5py.File(path, "r+") as file:
        file["kspace"][0, 0, 0, 0] = 1
    assert look(root, wanted(), quick=True).ok
    assert look(root, wanted()).broken == {"a.h5": "changed since it was fetched"}


def test_downloads_are_held_against_the_catalogue(root):
    path = root / "raw/set/test/a.h5"
    file = {
        "volume": "v", "path": "a.h5", "url": "https://example.org/a.h5", "contrast": "T1", "subject": "s",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }  # fmt: skip
    what = Wanted("set", "test", make_dataset(source="download", access=None, files=(file,)), names=("v",))
    assert look(root, what).ok
    path.write_bytes(b"other")
    assert "SHA-256" in look(root, what).broken["a.h5"]
    path.unlink()
    found = look(root, what)
    assert (found.state, found.missing) == ("absent", ["a.h5"]) and found.next.endswith("fetches it")


def test_what_a_scale_expects():
    whole = Published(volumes=199, slices=7135, coils=(15.0, 15), matrix=(320, 372), gigabytes=192.0)
    assert expected(None) is None and batches(None) == 1
    assert expected(whole) == (199, 7135) and batches(expected(whole)) == 4
    assert expected(whole, SplitRule(count=150, volumes=150, seed=0)) == (150, 5378)
    assert expected(whole, SplitRule(count=150, volumes=150, seed=0, slices=5427)) == (150, 5427)
    assert expected(whole, None, 10) == (10, 359) and expected(whole, None, 500) == (199, 7135)
    assert batches(Expected(2, 100_000)) == 2  # no batch is empty


def test_the_page(root):
    damage(root / "raw/set/test/b.h5", "truncated")
    page = console()
    with page.capture() as capture:
        page.print(view([look(root, wanted())], free=10))
    text = capture.get()
    assert "set/test  broken     3 of 3" in text and "set/test: b.h5: not a readable HDF5 file" in text
    assert "disk: about 0 GB to come, 0 GB free" in text


def test_the_command(tmp_path):
    for name in ("config", "src"):
        (tmp_path / name).symlink_to(ROOT / name)
    command = [sys.executable, "-m", "rekon", "check-data", "--quick"]

    def run(*arguments: str):
        return subprocess.run([*command, *arguments], cwd=tmp_path, capture_output=True, text=True)

    full = run()
    assert full.returncode == 1 and "fastmri-brain/train" in full.stdout and full.stderr == ""
    demo = run("--configfile", "config/demo.yaml", "--json")
    assert demo.returncode == 0 and all(one["ok"] for one in json.loads(demo.stdout))
    assert yaml.safe_load((ROOT / "config/full.yaml").read_text())["datasets"].keys() <= {
        line.split("/")[0] for line in full.stdout.splitlines() if "/" in line
    }
    assert run("--configfile", "nowhere.yaml").returncode == 2
