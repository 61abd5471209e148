"""How large sets are, and who says so."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from rekon.errors import UserError
from rekon.estimate.sets import Sets, parse_slices, published, trained_on, validated_on
from rekon.files import write_json
from rekon.plan import Plan, plan

ROOT = Path(__file__).resolve().parents[2]


def scale(name: str) -> Plan:
    return plan(yaml.safe_load((ROOT / f"config/{name}.yaml").read_text()), ROOT)


@pytest.fixture(scope="module")
def demo() -> Plan:
    return scale("demo")


def manifest(folder: Path, dataset: str, split: str, *volumes: tuple[str, list[int]]) -> None:
    entries = [{"contrast": contrast, "shape": shape} for contrast, shape in volumes]
    write_json(folder / f"runs/demo/data/{dataset}/{split}.json", {"volumes": entries})


def test_simulated_sets_are_known_before_they_are_made(demo, tmp_path):
    size = Sets(demo, tmp_path).size("sim-fastmri-brain", "train")
    assert (size.slices, size.source) == (16 * 3, "simulation")
    assert size.contrasts == {"AXFLAIR": 4, "AXT1": 4, "AXT1POST": 4, "AXT2": 4}
    assert size.coils == pytest.approx((6 * 6 + 4 * 5 + 8 * 5) / 16) and size.most_coils == 8
    assert size.of(("AXFLAIR",)) == 12 and size.of(None) == 48


def test_a_manifest_knows_better(demo, tmp_path):
    manifest(tmp_path, "sim-fastmri-brain", "train", ("AXT1", [5, 4, 64, 64]), ("AXT2", [3, 12, 64, 32]))
    size = Sets(demo, tmp_path).size("sim-fastmri-brain", "train")
    assert (size.slices, size.coils, size.most_coils, size.source) == (8, (5 * 4 + 3 * 12) / 8, 12, "manifest")
    assert size.shapes == ((5, 4, 64, 64), (3, 12, 64, 32))


def test_published_sets_are_assumed_and_what_the_user_says_is_taken(tmp_path):
    full = scale("full")
    size = Sets(full, tmp_path).size("fastmri-brain", "train")
    assert (size.slices, size.volumes, size.source) == (70748, 4469, "assumed")
    given = Sets(full, tmp_path, parse_slices(["fastmri-brain/train=1000"])).size("fastmri-brain", "train")
    assert (given.slices, given.source, given.contrasts) == (1000, "given", size.contrasts)


def test_sets_of_nobody_knows_what_are_unknown(tmp_path):
    assert Sets(scale("open"), tmp_path).size("ulf-brain", "test") is None
    assert published(scale("open"), "ulf-brain", "test") is None


def test_every_set_of_full_is_counted(tmp_path):
    assert all(size is not None for _, _, size in Sets(scale("full"), tmp_path).used())


def test_a_prior_sees_the_subjects_that_it_selects(tmp_path):
    full = scale("full")
    sets = Sets(full, tmp_path)

    def seen(run: str, study: str = "dpm") -> int:
        recipe = full.recipes[study, run]
        return trained_on(recipe, sets.size(recipe.data.train, "train"))

    each = 70748 / 4469
    assert seen("fine-tuned") == round(20 * each)
    assert seen("flair") == round(344 * each)
    assert seen("pretrained") == round((4469 - 344) * each)
    assert seen("full") == 70748
    assert seen("joint") == round((4469 - 344 + 20) * each)
    assert seen("stroke-tuned") == 20 * 3  # simulated: three slices a volume
    assert seen("ueps", "ueps") == 70748
    brain = sets.size("fastmri-brain", "validation")
    assert validated_on(full.recipes["dpm", "flair"], brain) == round(21842 * 107 / 1378)
    assert validated_on(full.recipes["nas", "aqvae"], brain) == 21842
    more, both = full.recipes["more", "more"], sets.size("fastmri-seven", "train")
    assert trained_on(more, both) == round(400 * both.slices / (4469 + 973))
    assert (
        validated_on(more, sets.size("fastmri-seven", "validation")) == sets.size("fastmri-seven", "validation").slices
    )
    demo = scale("demo")
    few = Sets(demo, tmp_path).size("sim-fastmri-brain", "validation")
    assert validated_on(demo.recipes["nas", "base"], few) == 4  # as the recipe says


@pytest.mark.parametrize("option", ["fastmri-brain=3", "fastmri-brain/train=x", "x/other=3", "x/train=0", "train=3"])
def test_what_is_no_set_is_refused(option):
    with pytest.raises(UserError, match="expected SET/SPLIT=NUMBER"):
        parse_slices([option])
