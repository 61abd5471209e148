"""Recipes: pure resolution, deltas, and what the ladder's rungs differ in."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rekon.config import MaskSettings
from rekon.errors import UserError
from rekon.recipe import Plan, differences, merge, plan, read_recipe

ROOT = Path(__file__).resolve().parents[1]
trees = st.recursive(
    st.integers() | st.none(), lambda c: st.dictionaries(st.text(max_size=3), c, max_size=3), max_leaves=8
)
mappings = st.dictionaries(st.text(max_size=3), trees, max_size=4)


def scale(name: str) -> dict:
    return yaml.safe_load((ROOT / f"config/{name}.yaml").read_text())


@given(mappings, mappings)
def test_merge_takes_the_delta_and_keeps_the_rest(base, delta):
    merged = merge(base, delta)
    assert merge(merged, delta) == merged
    assert all(merged[key] == base[key] for key in base if key not in delta)
    assert merge(base, {}) == base


@given(mappings, mappings)
def test_differences_are_empty_only_between_equals(left, right):
    assert (differences(left, right) == {}) == (_pruned(left) == _pruned(right))


def _pruned(value):
    """To `differences`, a missing key and null are the same."""
    return {k: _pruned(v) for k, v in value.items() if v is not None} if isinstance(value, dict) else value


def test_rungs_of_the_ladder_differ_in_the_network_only(capsys):
    """UEPS Table 2: same data, mask, budget and seed; prints the table of deltas."""
    recipes = plan(scale("full"), ROOT).recipes
    reference = recipes["ueps", "ueps"].model_dump(mode="json")
    for run in ("e2e-varnet", "ue-unet", "ue-vit", "uep-vit"):
        found = differences(reference, recipes["ueps", run].model_dump(mode="json"))
        changed = {key for key in found if key not in ("run", "title")}
        print(f"{run:12} " + ", ".join(f"{key}: {a} -> {b}" for key, (a, b) in sorted(found.items()) if key in changed))
        assert changed and all(key.startswith("model.") for key in changed)
    neighbour = differences(reference, recipes["ueps", "uep-vit"].model_dump(mode="json"))
    assert {key for key in neighbour if key.startswith("model.")} == {"model.vit.rows"}


def test_full_scale_holds_the_papers_values():
    recipe = plan(scale("full"), ROOT).recipes["ueps", "ueps"]
    assert recipe.model["schedule"] == [64, 128, 256, 320, 320]
    assert recipe.model["vit"] == {
        "patch": 8, "width": 512, "layers": 10, "heads": 8, "hidden": 1280, "rows": 1, "sparse_from": 16,
    }  # fmt: skip
    training = recipe.training
    assert (training.epochs, training.batch, training.learning_rate, training.clip) == (30, 8, 3e-4, 1.0)
    assert (training.optimiser, training.betas, training.precision) == ("adam", (0.9, 0.999), "bf16")
    assert (training.warmup, training.decay_from, training.decay_until, training.floor) == (0.01, 0.65, 0.95, 0.1)
    assert recipe.data.size == (320, 320) and recipe.data.max_coils == 24
    assert recipe.mask == MaskSettings(pattern="equispaced", acceleration=4, center_fraction=0.08, offset=1)


def test_steps_of_a_scale_replace_epochs_of_the_study():
    recipe = plan(scale("demo"), ROOT).recipes["ueps", "ueps"]
    assert recipe.training.epochs is None and recipe.training.steps


def test_plan_survives_its_document():
    first = plan(scale("demo"), ROOT)
    second = Plan.from_document(first.document(), "document")
    assert second.recipes == first.recipes
    assert second.document() == first.document()


def test_recipe_file_by_hand_is_checked(tmp_path):
    recipe = plan(scale("demo"), ROOT).recipes["ueps", "ueps"].model_dump(mode="json")
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    assert read_recipe(path).run == "ueps"
    recipe["model"]["wings"] = 2
    path.write_text(yaml.safe_dump(recipe))
    with pytest.raises(UserError, match=r"recipe\.yaml, section 'model': unknown key 'wings'"):
        read_recipe(path)


def test_masks_with_other_settings_have_other_paths():
    variants = [
        MaskSettings(), MaskSettings(offset=None), MaskSettings(offset=None, seed=1), MaskSettings(offset=2),
        MaskSettings(center_fraction=0.04), MaskSettings(pattern="random"), MaskSettings(pattern="random", seed=1),
        MaskSettings(pattern="equispaced_fraction"), MaskSettings(acceleration=8),
    ]  # fmt: skip
    assert len({mask.path((320, 320)) for mask in variants}) == len(variants)
