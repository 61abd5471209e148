"""Lists of what runs learn from: those of training's own selection, with hashes, beside the papers' words."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import yaml

from rekon.data.selection import Selection
from rekon.files import write_json
from rekon.plan import plan
from rekon.recipe import contrast_groups
from rekon.reporting.sources import Sources
from rekon.reporting.volumes import learned, list_splits, read_volumes, volume_facts

ROOT = Path(__file__).resolve().parents[2]
TRAIN = {"AXFLAIR": 344, "AXT1": 248, "AXT1POST": 949, "AXT1PRE": 250, "AXT2": 2678}
KNEE = {"CORPDFS_FBK": 489, "CORPD_FBK": 484}


@pytest.fixture(scope="module")
def full():
    return plan(yaml.safe_load((ROOT / "config/full.yaml").read_text()), ROOT)


def manifest(path: Path, counts: dict[str, int], **more) -> None:
    """As many volumes of each contrast as are published, a subject each."""
    volumes = [
        {"volume": f"file_{contrast}_{n:04d}", "contrast": contrast, "subject": f"{contrast}{n}"}
        for contrast, count in counts.items()
        for n in range(count)
    ]
    write_json(path, {"volumes": sorted(volumes, key=lambda one: one["volume"]), **more})


@pytest.fixture(scope="module")
def root(full, tmp_path_factory):
    """Manifests as the complete sets would have them."""
    folder = tmp_path_factory.mktemp("full")
    data = folder / "runs/full/data"
    for name, counts in (("fastmri-brain", TRAIN), ("fastmri-seven", TRAIN | KNEE)):
        for split in ("train", "validation", "test"):
            manifest(data / name / f"{split}.json", counts)
    for name in full.scale.datasets:
        for split in full.splits(name):
            if not (data / name / f"{split}.json").exists():
                manifest(data / name / f"{split}.json", {"AXFLAIR_STROKE": 25})
    return folder


def test_methods_of_the_stroke_paper(full, root):
    """4,469, 4,125, 344 and 20 subjects; the 20 of fine-tuning are those trained alone and jointly."""
    found = list_splits(full, "dpm", root)
    sizes = {run: one["train"]["volumes"] for run, one in found["runs"].items() if not run.startswith("stroke")}
    main = {run: sizes[run] for run in ("full", "pretrained", "flair", "fine-tuned", "few", "joint")}
    assert main == {"full": 4469, "pretrained": 4125, "flair": 344, "fine-tuned": 20, "few": 20, "joint": 4145}
    few, tuned = found["runs"]["few"]["train"], found["runs"]["fine-tuned"]["train"]
    assert few == tuned and few["contrasts"] == {"AXFLAIR": 20}
    names = found["lists"][few["sha256"]]
    assert names == [f"file_AXFLAIR_{n:04d}" for n in range(20)]
    assert few["sha256"] == hashlib.sha256("".join(f"{name}\n" for name in names).encode()).hexdigest()
    assert set(names) <= set(found["lists"][found["runs"]["joint"]["train"]["sha256"]])
    assert "pretrained" in found["runs"] and not any(
        "FLAIR" in name for name in found["lists"][found["runs"]["pretrained"]["train"]["sha256"]]
    )


def test_the_400_volumes_of_more(full, root):
    found = list_splits(full, "more", root)["runs"]["more"]["train"]
    assert found["volumes"] == 400 and found["contrasts"] == {
        **dict.fromkeys(("AXFLAIR", "AXT1", "AXT1POST", "AXT1PRE", "AXT2"), 50), "CORPDFS_FBK": 75, "CORPD_FBK": 75,
    }  # fmt: skip


def test_a_run_that_selects_nothing_sees_everything(full, root):
    found = list_splits(full, "ueps", root)
    assert found["runs"]["ueps"]["train"]["volumes"] == 4469
    assert set(found["test"]) == set(full.test_sets("ueps"))


def test_the_lists_are_trainings_own_selection(full, root):
    recipe = full.recipes["dpm", "joint"]
    train = read_volumes(root / "runs/full/data/fastmri-brain/train.json")
    chosen = Selection(train, contrast_groups(recipe), recipe.data.select)
    assert learned(recipe, train, train)[0] == [list(train.volumes)[index] for index in chosen.indices]


def test_what_papers_say_is_what_the_config_selects(full, root):
    """config/splits counts in the papers' set, complete, what the recipes take of it."""
    for study in ("dpm", "more"):
        found = list_splits(full, study, root)["runs"]
        for run, words in full.split_files[study].runs.items():
            assert found[run]["train"]["contrasts"] == words.volumes, (study, run)


def test_the_report_tells_lists_open_choices_and_what_was_left_out(full, root):
    path = root / "runs/full/data/fastmri-knee/test.json"
    manifest(
        path,
        {"CORPD_FBK": 149},
        list={"sha256": "ab" * 32, "names": 150, "expected": 150},
        left_out={"x.h5": "damaged."},
    )
    write_json(root / "runs/full/splits/dpm.json", list_splits(full, "dpm", root))
    facts = {one["what"]: one for one in volume_facts(Sources(full, root))}
    knee = facts["fastmri-knee/test"]
    assert (knee["here"], knee["expected"], knee["left_out"]) == (149, 150, [("x.h5", "damaged.")])
    assert "150 of the 199" in knee["open"] and knee["sha256"] == "ab" * 32
    assert facts["dpm/flair"]["here"] == facts["dpm/flair"]["expected"] == 344
    assert "method 3" in facts["dpm/flair"]["says"]
    assert facts["more/more"]["here"] is None and facts["more/more"]["expected"] == 400
    assert not [name for name in facts if name.startswith("sim-")]


def test_a_scale_without_published_sets_has_nothing_to_tell(tmp_path):
    demo = plan(yaml.safe_load((ROOT / "config/demo.yaml").read_text()), ROOT)
    assert volume_facts(Sources(demo, tmp_path)) == [] and "splits" not in demo.document()


def test_plan_documents_carry_the_splits(full):
    again = type(full).from_document(full.document(), "plan")
    assert again.split_files == full.split_files and again.rule("fastmri-knee", "test").volumes == 150
