"""The data stage: sets whose volumes nobody can name before their files are there, batch by batch."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from rekon.estimate.disk import places
from rekon.estimate.sets import Sets
from rekon.plan import plan

pytestmark = pytest.mark.workflow

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("fastmri-brain", "fastmri-knee", "stanford2d", "cc359-axial", "cc359-sagittal", "m4raw-gre", "ahead-e5")


@pytest.fixture(scope="module")
def full():
    return plan(yaml.safe_load((ROOT / "config/full.yaml").read_text()), ROOT)


def test_full_dry_runs_the_data_stage_of_every_source(snakemake, full):
    run = snakemake("-n", "data", "--configfile", "config/full.yaml")
    counts, text = snakemake.counts(run), run.stdout + run.stderr
    licensed = [(name, split) for name in full.scale.datasets if not full.listed(name) for split in full.splits(name)]
    assert {name for name, _ in licensed} >= set(SOURCES)
    assert counts["download_set"] == counts["index"] == counts["draw_split"] == len(licensed)
    assert counts["convert_batch"] == sum(full.batches(*one) for one in licensed)
    for name, split in licensed:
        for file in ("FETCHED.json", "INDEX.txt", "SPLIT.txt"):
            assert f"output: raw/{name}/{split}/{file}\n" in text
        assert f"output: runs/full/data/{name}/{split}-kspace/1-of-{full.batches(name, split)}.json\n" in text
    assert re.search(r"input: raw/fastmri-knee/validation/FETCHED\.json\n +output: raw/fastmri-knee/test/FETCHED", text)
    assert re.search(r"input: config/splits/stanford2d\.txt\n +output: raw/stanford2d/test/FETCHED\.json", text)


def test_the_whole_of_full_stays_small_enough_to_look_at(snakemake):
    counts = snakemake.planned("--configfile", "config/full.yaml")
    assert sum(counts.values()) < 1000
    assert counts["calibrate_set"] == len({"train", "validation", "test"}) and counts["list_splits"] == 4


def test_what_full_calls_temporary_goes_and_the_estimate_says_so(snakemake, full):
    """Raw files of sets that a machine fetches alone; what people were sent or simulated stays."""
    run = snakemake("-n", "--configfile", "config/full.yaml")
    gone = set(re.findall(r"output: raw/(\S+)/RELEASED\.json", run.stdout + run.stderr))
    assert gone == {f"{name}/{split}" for name, split in full.temporary("raw")}
    assert {name.split("/")[0] for name in gone} == {"stanford2d", "m4raw-gre", *(f"ahead-e{k}" for k in range(1, 6))}
    sets = Sets(full, snakemake.folder)
    said = {place.what for place in places(full, sets, lambda recipe: None) if place.until == "it is converted"}
    assert said == gone
    assert "release" not in snakemake.planned()


def mine(snakemake, files=("a.h5", "b.h5", "c.h5"), **entry):
    """A set of somebody's own, with files, in the demo."""

    def describe(catalogue):
        kept = ("format", "licence", "anatomy", "view", "vendor", "field_strength", "role")
        own = {key: catalogue["fastmri-knee"][key] for key in kept}
        catalogue["my-set"] = {**own, "title": "Mine", "source": "manual", "access": "ask me", **entry}

    snakemake.edit("config/datasets.yaml", describe)
    snakemake.edit("config/demo.yaml", lambda config: config["datasets"].update({"my-set": {"test": None}}))
    folder = snakemake.folder / "raw/my-set/test"
    folder.mkdir(parents=True)
    for name in files:
        (folder / name).write_text(name)
    return "runs/demo/data/my-set/test.json"


def published(volumes: int, slices: int) -> dict:
    return {"test": {"volumes": volumes, "slices": slices, "coils": [4.0, 4], "matrix": [8, 8], "gigabytes": 1.0}}


def test_what_is_converted_is_not_converted_again(snakemake):
    target = mine(snakemake, published=published(3, 5000))
    counts = snakemake.counts(snakemake(target))
    assert counts["convert_batch"] == 3 and "download_set" not in counts
    assert snakemake.planned(target) == {}


def test_where_files_are_from_and_how_many_there_should_be_converts_nothing_again(snakemake):
    target = mine(snakemake, published=published(3, 5000))
    snakemake(target)

    def change(catalogue):
        catalogue["my-set"]["published"] = published(3, 5001)

    snakemake.edit("config/datasets.yaml", change)
    assert snakemake.planned(target) == {}
    snakemake.edit("config/datasets.yaml", lambda catalogue: catalogue["my-set"].update(vendor="GE"))
    assert snakemake.planned(target)["convert_batch"] == 3


def test_a_new_file_converts_the_batches_of_its_split(snakemake):
    target = mine(snakemake)
    snakemake(target)
    counts = snakemake.planned(target, "--forcerun", "raw/my-set/test/INDEX.txt")
    assert {"index", "draw_split", "convert_batch", "summarise"} <= set(counts)


def test_a_scale_may_use_the_first_few(snakemake):
    target = mine(snakemake, published=published(300, 9000))
    snakemake.edit("config/demo.yaml", lambda config: config["datasets"]["my-set"].update(test=2))
    run = snakemake("-n", "-p", target)
    assert "--batch 1/1 --count 2" in run.stdout + run.stderr


def test_a_mirror_may_have_any_name(snakemake):
    target = mine(snakemake)
    seen = snakemake.folder / "seen"
    stand_in = snakemake.folder / "bin/rekon"
    stand_in.write_text(stand_in.read_text().replace("\n", f'\necho "$REKON_MIRROR" > {seen}\n', 1))
    snakemake(target, "--config", 'mirror=/data/it\'s "here" $HOME')
    assert seen.read_text() == '/data/it\'s "here" $HOME\n'


def test_a_papers_list_is_drawn_again_when_it_changes(snakemake):
    target = mine(snakemake)
    lists = snakemake.folder / "config/splits"
    (lists / "mine.txt").write_text("a.h5\n")
    rules = {"paper": "mine", "sets": {"my-set/test": {"names": "mine.txt", "volumes": 1}}}
    (lists / "mine.yaml").write_text(yaml.safe_dump(rules))
    snakemake(target)
    assert snakemake.planned(target) == {}
    (lists / "mine.txt").write_text("a.h5\nb.h5\n")
    assert {"draw_split", "convert_batch", "summarise"} <= set(snakemake.planned(target))


def test_no_secret_is_a_parameter(snakemake):
    """What config/local.yaml names reaches `rekon` alone: neither the file nor what it says stands in a job."""
    (snakemake.folder / "config/local.yaml").write_text("links: {fastmri: /home/me/s3cret-links.txt}\n")
    run = snakemake("-n", "-p", "data", "--configfile", "config/full.yaml")
    found = [line for line in (run.stdout + run.stderr).splitlines() if "s3cret" in line]
    assert not found, found[0][:300]
