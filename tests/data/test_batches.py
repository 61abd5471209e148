"""Sets whose volumes nobody can name beforehand: converted in batches, one bad file stops no other."""

import errno
import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from samples import head, make_dataset, write_fastmri

from rekon.data.batches import calibrate_batch, convert_batch, of_batch, parse_batch, read_batches
from rekon.data.splits import draw, write_split
from rekon.data.summarise import summarise
from rekon.data.volume import Volume
from rekon.errors import UserError

FASTMRI = make_dataset()


@pytest.fixture
def listing(tmp_path):
    """Five raw files, one in a folder of its own, and the list of their split."""
    raw = tmp_path / "raw"
    (raw / "more").mkdir(parents=True)
    names = ["more/a.h5", "b.h5", "c.h5", "d.h5", "e.h5"]
    for seed, name in enumerate(names):
        write_fastmri(raw / name, head(seed=seed), (32, 40))
    write_split(raw / "SPLIT.txt", "set/test", draw(names, None), None, 5)
    return raw / "SPLIT.txt"


def run(listing: Path, batch=(1, 1), dataset=FASTMRI, **more) -> dict:
    out = listing.parent.parent / f"{batch[0]}-of-{batch[1]}.json"
    convert_batch("set", "test", dataset, listing, listing.parent.parent / "out", batch, out, **more)
    return json.loads(out.read_text())


def stems(record: dict) -> list[str]:
    return [Path(name).stem for name in record["volumes"]]


def test_batches_hold_every_file_once_and_are_alike(listing):
    assert [stems(run(listing, (k, 2))) for k in (1, 2)] == [["a", "c", "e"], ["b", "d"]]
    names = [f"{n}" for n in range(103)]
    parts = [of_batch(names, (k, 7)) for k in range(1, 8)]
    assert sorted(name for part in parts for name in part) == sorted(names)
    assert {len(part) for part in parts} == {14, 15}


@pytest.mark.parametrize("threads", [1, 2])
def test_a_bad_file_is_told_and_the_others_go_on(listing, capsys, threads):
    raw = listing.parent / "b.h5"
    good = raw.read_bytes()
    raw.write_bytes(good[:500])
    record = run(listing, threads=threads)
    assert stems(record) == ["a", "c", "d", "e"] and list(record["bad"]) == ["b.h5"]
    assert "not a readable HDF5 file" in record["bad"]["b.h5"]
    assert "set/test b.h5: " in capsys.readouterr().out
    made = listing.parent.parent / "out"
    assert sorted(path.name for path in made.iterdir()) == ["a.h5", "c.h5", "d.h5", "e.h5"]

    untouched = (made / "a.h5").stat().st_mtime_ns
    raw.write_bytes(good)
    write_fastmri(listing.parent / "c.h5", head(seed=9), (32, 40))
    assert run(listing, threads=threads)["bad"] == {}
    assert (made / "a.h5").stat().st_mtime_ns == untouched
    with Volume(made / "c.h5") as volume:
        np.testing.assert_array_equal(volume.kspace(0), head(seed=9)[0])


@pytest.mark.parametrize("what", ["header", "attribute"])
def test_damage_inside_an_hdf5_file_stops_no_other(listing, what):
    """The bytes of a header or an attribute are overwritten: HDF5 opens the file and fails later."""
    raw = listing.parent / "b.h5"
    content = raw.read_bytes()
    with h5py.File(raw, "r") as file:
        if what == "header":  # kept in a heap of variable-length strings, which must start with its name
            at = content.index(b"GCOL")
        else:
            at = content.index(b"patient_id") - 8  # where the message tells its sizes
        assert file.attrs["patient_id"] == "p1"
    raw.write_bytes(content[:at] + b"\xff" * 8 + content[at + 8 :])
    record = run(listing)
    assert stems(record) == ["a", "c", "d", "e"] and list(record["bad"]) == ["b.h5"]
    assert str(raw) in record["bad"]["b.h5"] and "\n" not in record["bad"]["b.h5"]


@pytest.mark.parametrize("failing", ["rekon.data.convert.sha256", "rekon.data.convert.finite"])
def test_any_other_exception_is_told_of_its_file(listing, monkeypatch, failing):
    def broken(*_):
        raise OSError("Can't read data (wrong fletcher32 checksum)")

    with monkeypatch.context() as patched:
        patched.setattr(failing, broken)
        with pytest.raises(UserError, match=r"none of 5 files .*a\.h5: cannot be read \(Can't read data"):
            run(listing)
    assert run(listing)["bad"] == {}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_failing_machine_is_no_bad_file(listing, monkeypatch, number, threads):
    """The job fails, so that it can be tried again, and leaves nothing that looks like a finished batch."""

    def fails(*_):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched, pytest.raises((UserError, OSError)):
        patched.setattr("rekon.hdf5._Patient.put", fails)
        run(listing, threads=threads)
    assert not (listing.parent.parent / "1-of-1.json").exists()
    assert stems(run(listing, threads=threads)) == list("abcde")


def test_what_the_catalogue_says_of_reading_converts_again(listing):
    run(listing)
    made = listing.parent.parent / "out/a.h5"
    before = made.stat().st_mtime_ns
    run(listing, dataset=make_dataset(title="other", access="elsewhere"))
    assert made.stat().st_mtime_ns == before
    run(listing, dataset=make_dataset(vendor="other"))
    with Volume(made) as volume:
        assert volume.attrs["vendor"] == "other"


def test_equal_files_give_equal_bytes(listing):
    run(listing)
    made = listing.parent.parent / "out/d.h5"
    before = made.read_bytes()
    made.unlink()
    run(listing, (4, 5))
    assert made.read_bytes() == before


def test_when_nothing_can_be_converted_the_job_fails(listing):
    for name in ("more/a.h5", "c.h5", "e.h5"):
        (listing.parent / name).write_bytes(b"no")
    with pytest.raises(UserError, match=r"SPLIT\.txt: none of 3 files could be converted; the first: .*a\.h5: not a"):
        run(listing, (1, 2))


def test_a_scale_may_take_the_first_few(listing):
    assert stems(run(listing, (1, 2), count=3)) == ["a", "c"]
    assert run(listing, (2, 2), count=1)["volumes"] == []


def test_names_that_would_overwrite_each_other(listing):
    write_split(listing, "set/test", draw(["more/a.h5", "a.h5"], None), None, 2)
    with pytest.raises(UserError, match="two files are called 'a'"):
        run(listing)


def test_manifest_names_the_list_and_what_was_left_out(listing, tmp_path):
    (listing.parent / "b.h5").write_bytes(b"no")
    for k in (1, 2):
        run(listing, (k, 2))
    records = [tmp_path / f"{k}-of-2.json" for k in (2, 1)]
    with pytest.raises(UserError, match=r"1 of 5 files cannot be converted, more than single bad files; b\.h5: "):
        summarise("set", "test", FASTMRI, records, tmp_path / "m.json")
    volumes, about = read_batches(records, bad_share=0.2)
    assert sorted(path.stem for path in volumes) == ["a", "c", "d", "e"]
    assert list(about["left_out"]) == ["b.h5"] and about["list"]["names"] == 5
    write_fastmri(listing.parent / "b.h5", head(seed=1), (32, 40))
    run(listing, (2, 2))
    summarise("set", "test", FASTMRI, records, tmp_path / "m.json")
    content = json.loads((tmp_path / "m.json").read_text())
    assert [volume["volume"] for volume in content["volumes"]] == list("abcde")
    assert content["left_out"] == {} and content["list"]["sha256"] == about["list"]["sha256"]


def test_batches_of_different_lists_are_not_mixed(listing, tmp_path):
    run(listing, (1, 2))
    write_split(listing, "set/test", draw(["b.h5", "c.h5"], None), None, 2)
    run(listing, (2, 2))
    with pytest.raises(UserError, match="batches of different lists"):
        read_batches([tmp_path / "1-of-2.json", tmp_path / "2-of-2.json"])


def test_calibrated_batch_by_batch(listing, tmp_path):
    run(listing)
    summarise("set", "test", FASTMRI, [tmp_path / "1-of-1.json"], tmp_path / "m.json")
    for k in (1, 2):
        calibrate_batch(tmp_path / "m.json", tmp_path / "maps", (k, 2), tmp_path / f"maps-{k}.json")
    assert sorted(path.stem for path in (tmp_path / "maps").iterdir()) == list("abcde")
    untouched = (tmp_path / "maps/a.h5").stat().st_mtime_ns
    calibrate_batch(tmp_path / "m.json", tmp_path / "maps", (1, 2), tmp_path / "maps-1.json")
    assert (tmp_path / "maps/a.h5").stat().st_mtime_ns == untouched


@pytest.mark.parametrize("text", ["", "0/2", "3/2", "1", "a/b", "1/2/3"])
def test_batch_on_the_command_line(text):
    assert parse_batch("2/3") == (2, 3)
    with pytest.raises(UserError, match="expected K/N"):
        parse_batch(text)
