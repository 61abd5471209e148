"""Sets that are joined of others: shares of subjects, manifests, and what plans make of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from rekon.config import Catalogue, Dataset, Part
from rekon.config.base import check
from rekon.data.join import join, share
from rekon.errors import UserError
from rekon.estimate.sets import Sets
from rekon.files import read_json, read_yaml, write_json
from rekon.plan import plan
from rekon.recipe import dumps

ROOT = Path(__file__).resolve().parents[2]
DESCRIBED = {
    "title": "joined", "source": "joined", "format": "fastmri", "licence": "none", "anatomy": "mixed", "view": "mixed",
    "vendor": "none", "field_strength": 3.0, "role": "test", "normalisation": "volume_max",
}  # fmt: skip


def entry(name: str, contrast: str, subject: str | None = None) -> dict:
    return {
        "volume": name, "path": f"{name}.h5", "sha256": name * 4, "shape": [2, 4, 8, 8], "max": 2.0,
        "contrast": contrast, "subject": subject or name,
    }  # fmt: skip


def manifest(folder: Path, dataset: str, split: str, volumes: list[dict], **changes) -> Path:
    path = folder / dataset / f"{split}.json"
    content = {
        "dataset": dataset, "split": split, "volumes": volumes, "mean_max": 1.0, "normalisation": "mean_max",
        "fit": "crop", "reference": True, "hash": "0",
    }  # fmt: skip
    write_json(path, content | changes)
    return path


HEADS = [entry(f"h{i}", "AXT1" if i % 2 else "AXT2") for i in range(12)]
KNEES = [entry(f"k{i}", "CORPD") for i in range(5)]


def joined(**parts) -> Dataset:
    return check(Dataset, DESCRIBED | {"parts": parts}, "test")


HALVES = joined(
    validation=[{"dataset": "head", "split": "validation", "high": 0.5}, {"dataset": "knee", "split": "test"}],
    test=[{"dataset": "head", "split": "validation", "low": 0.5}],
)


@pytest.fixture
def files(tmp_path) -> list[Path]:
    return [manifest(tmp_path, "head", "validation", HEADS), manifest(tmp_path, "knee", "test", KNEES)]


def test_halves_are_disjoint_complete_and_equal_in_every_contrast(files, tmp_path):
    for split in ("validation", "test"):
        join("both", split, HALVES, files, tmp_path / f"{split}.json")
    first, second = (read_json(tmp_path / f"{split}.json")["volumes"] for split in ("validation", "test"))
    heads = [one for one in first if one["volume"].startswith("h")]
    assert {one["volume"] for one in heads} | {one["volume"] for one in second} == {one["volume"] for one in HEADS}
    for contrast in ("AXT1", "AXT2"):
        assert sum(one["contrast"] == contrast for one in heads) == 3
        assert sum(one["contrast"] == contrast for one in second) == 3
    assert len(first) == 6 + len(KNEES)


def test_a_manifest_is_what_training_reads_whatever_the_order_of_its_inputs(files, tmp_path):
    for name, order in (("a", files), ("b", files[::-1])):
        join("both", "validation", HALVES, order, tmp_path / f"{name}.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    found = read_json(tmp_path / "a.json")
    assert (found["dataset"], found["split"], found["normalisation"]) == ("both", "validation", "volume_max")
    assert (found["fit"], found["reference"], found["mean_max"]) == ("crop", True, 2.0)
    names = [one["volume"] for one in found["volumes"]]
    assert names != sorted(names), "the first subjects of a contrast are a draw, not those of the first scanner"


def test_a_subject_is_in_one_share_with_all_its_contrasts():
    volumes = [entry(f"{subject}-{contrast}", contrast, subject) for subject in "abcdef" for contrast in ("T1", "T2")]
    low, high = (
        {one["subject"] for one in share(volumes, Part(dataset="x", split="train", **ends))}
        for ends in ({"high": 0.5}, {"low": 0.5})
    )
    assert len(low) == len(high) == 3 and not low & high


def test_what_cannot_be_joined_is_refused(files, tmp_path):
    with pytest.raises(UserError, match="manifest of knee/test is missing"):
        join("both", "validation", HALVES, files[:1], tmp_path / "out.json")
    with pytest.raises(UserError, match="leave no volume for 'train'"):
        join("both", "train", HALVES, files, tmp_path / "out.json")
    twice = joined(test=[{"dataset": "head", "split": "validation"}] * 2)
    with pytest.raises(UserError, match=r"'h.*' comes twice"):
        join("both", "test", twice, files, tmp_path / "out.json")
    other = manifest(tmp_path, "knee", "test", KNEES, fit="downsample")
    with pytest.raises(UserError, match="differ in 'fit'"):
        join("both", "validation", HALVES, [files[0], other], tmp_path / "out.json")
    broken = manifest(tmp_path, "knee", "test", KNEES)
    write_json(broken, {"dataset": "knee"})
    with pytest.raises(UserError, match="key 'split' is missing"):
        join("both", "validation", HALVES, [broken], tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()


def test_a_set_with_files_of_its_own_is_written_as_ever():
    """Its text is a parameter of its rules: a key more would make every volume anew."""
    catalogue = check(Catalogue, read_yaml(ROOT / "config/datasets.yaml"), "catalogue")
    assert "parts" not in dumps(catalogue["sim-fastmri-brain"].model_dump(mode="json"))
    kept = catalogue["sim-fastmri-seven"].model_dump(mode="json")
    assert check(Dataset, kept, "again") == catalogue["sim-fastmri-seven"]


@pytest.mark.parametrize(
    ("name", "part", "text"),
    [
        ("mixed", {"dataset": "sim-fastmri-brain", "split": "train"}, "are named 'sim-…'"),
        ("sim-mixed", {"dataset": "fastmri-brain", "split": "train"}, "are named 'sim-…'"),
        ("sim-mixed", {"dataset": "sim-nowhere", "split": "train"}, "no set with own files"),
        ("sim-mixed", {"dataset": "sim-fastmri-seven", "split": "train"}, "no set with own files"),
        (
            "sim-mixed",
            {"dataset": "sim-fastmri-brain", "split": "train", "low": 0.6, "high": 0.5},
            "'low' must be smaller",
        ),
    ],
)
def test_parts_that_cannot_be(name, part, text):
    entries = read_yaml(ROOT / "config/datasets.yaml") | {name: DESCRIBED | {"parts": {"train": [part]}}}
    with pytest.raises(UserError, match=text):
        check(Catalogue, entries, "catalogue")


def scale(**sets) -> dict:
    config = read_yaml(ROOT / "config/demo.yaml")
    wanted = {
        "sim-fastmri-t1pre": {"train": 4, "test": 1}, "sim-fastmri-knee": {"train": 8, "test": 2},
        "sim-fastmri-seven": {"train": None, "validation": None, "test": None},
    }  # fmt: skip
    config["datasets"] |= wanted | {name.replace("_", "-"): value for name, value in sets.items()}
    return config


def test_a_joined_set_of_a_scale_needs_its_parts():
    made = plan(scale(), ROOT)
    assert made.parts("sim-fastmri-seven", "train") == [
        (name, "train") for name in ("sim-fastmri-brain", "sim-fastmri-t1pre", "sim-fastmri-knee")
    ]
    assert made.volumes("sim-fastmri-seven", "train") == []
    with pytest.raises(UserError, match=r"needs 'datasets\.sim-fastmri-knee\.train' above 0"):
        plan(scale(sim_fastmri_knee={"test": 2}), ROOT)
    with pytest.raises(UserError, match="write null or 0"):
        plan(scale(sim_fastmri_seven={"train": 3}), ROOT)
    config = scale()
    config["studies"]["dpm"]["evaluation"]["id"] = ["sim-fastmri-seven"]
    config["studies"]["dpm"]["all"]["data"]["test"] = ["sim-fastmri-seven"]
    config["studies"]["dpm"]["only"] = ["zero-filled", "sense"]
    config["studies"]["dpm"]["runs"] = {}
    with pytest.raises(UserError, match="reads coil maps, which the joined set 'sim-fastmri-seven' has not"):
        plan(config, ROOT)


def test_sizes_of_a_joined_set_are_those_of_its_parts(tmp_path):
    made = plan(scale(), ROOT)
    sets = Sets(made, tmp_path)
    train, validation = (sets.size("sim-fastmri-seven", split) for split in ("train", "validation"))
    assert train.source == "simulation" and train.volumes == 12 + 3 + 6 and validation.volumes == 4 + 1 + 2
    assert train.contrasts["AXT1PRE"] == 3 and validation.contrasts["CORPD_FBK"] == 1
    knee = made.dataset("sim-fastmri-knee").simulation.slices
    assert train.slices == 12 * 3 + 3 * 3 + 6 * knee and train.most_coils == 8
