"""Recipes: pure resolution, deltas, and what the ladder's rungs differ in."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rekon.config import MaskSettings, Study
from rekon.config.base import check
from rekon.errors import UserError
from rekon.plan import Plan, plan
from rekon.recipe import differences, merge, read_recipe

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


def test_full_scale_holds_the_nas_papers_values():
    """Sec. 4.1, 4.4, Supp. 9; the rest is a reading of ours (src/rekon/nas/READINGS.md)."""
    recipes = {run: r for (study, run), r in plan(scale("full"), ROOT).recipes.items() if study == "nas"}
    aqvae, base, distilled = recipes["aqvae"], recipes["base"], recipes["distilled"]
    model = aqvae.model
    assert (model["channels"], model["latent"], model["vocabulary"], model["blocks"]) == (160, 32, 4096, 2)
    assert model["multipliers"] == [1, 1, 2, 2, 4] and model["grids"] == [11, 12, 13, 14, 15, 16]
    assert model["losses"] == {"ssim": 1.0, "adversarial": 0.1, "perceptual": 0.1, "commitment": 0.25, "pixel": 0.0}
    assert model["discriminator"]["levels"] == [2, 5, 8, 11] and model["phi_strength"] == 0.5
    training = aqvae.training
    assert (training.epochs, training.batch, training.optimiser, training.precision) == (100, 16, "adamw", "fp32")
    assert (training.learning_rate, training.weight_decay, training.clip) == (1e-4, 1e-4, 5.0)
    assert training.clips == {"discriminator": 1.0} and training.floor * training.learning_rate == pytest.approx(1e-6)
    assert (training.warmup, training.decay_from, training.decay_until) == (0.1, 0.9, 1.0)
    assert (base.model["depth"], base.model["width"], base.model["heads"]) == (16, 1024, 16)
    assert (base.model["mlp"], base.model["drop_path"]) == (4.0, 0.025)
    training = base.training
    assert (training.epochs, training.learning_rate, training.betas) == (250, 3.125e-5, (0.9, 0.95))
    assert (training.decay, training.precision) == ("linear", "bf16")
    training = distilled.training
    assert (training.epochs, training.batch, training.learning_rate) == (100, 24, 1e-5)
    assert (training.decay, training.warmup, training.decay_from) == ("cosine", 0.0, 0.0)
    assert distilled.data.size == (256, 256) and distilled.sampling.evaluated == (32,)
    assert distilled.sampling.accelerations == (32, 16, 8, 4, 2) and len(distilled.masks) == 20


def test_ablations_of_nas_are_deltas_of_the_base_model():
    """Table 4: each variant changes one thing; prints the table of deltas."""
    recipes = plan(scale("full"), ROOT).recipes
    changes = {
        "no-cross-attention": {"model.context"},
        "flat-tokens": {"parents.tokenizer"},
        "frozen-encoder": {"model.context.trainable"},
        "multinomial": {"model.decoding.rule", "parents.weights", "training"},
        "top-p-top-k": {
            "model.decoding.rule", "model.decoding.top_k", "model.decoding.top_p", "parents.weights", "training",
        },
        "teacher": {"model.context.image", "model.prefix_noise", "parents.base"},
    }  # fmt: skip
    base = recipes["nas", "base"].model_dump(mode="json")
    for run, expected in changes.items():
        found = differences(base, recipes["nas", run].model_dump(mode="json"))
        changed = {key for key in found if key not in ("run", "title")}
        print(f"{run:20} " + ", ".join(f"{key}: {found[key][0]} -> {found[key][1]}" for key in sorted(changed)))
        assert changed == expected, run


def test_a_run_like_another_takes_its_scale_changes_along():
    recipes = plan(scale("demo"), ROOT).recipes
    assert recipes["nas", "frozen-encoder"].training == recipes["nas", "base"].training
    assert recipes["nas", "aqvae-flat"].model["channels"] == recipes["nas", "aqvae"].model["channels"]
    assert recipes["nas", "multinomial"].training is None


def test_like_in_a_circle_is_refused():
    runs = {"a": {"title": "A", "like": "b"}, "b": {"title": "B", "like": "a"}}
    with pytest.raises(UserError, match="not in a circle"):
        check(Study, {"title": "t", "paper": "p", "base": {}, "runs": runs}, "study")


def test_parents_must_be_trained_at_the_scale():
    config = scale("demo")
    config["studies"]["nas"]["only"] = ["zero-filled", "base"]
    with pytest.raises(UserError, match=r"nas/base.*'parents.tokenizer': 'aqvae' is no run trained"):
        plan(config, ROOT)


def test_who_is_scored_and_who_needs_maps():
    found = plan(scale("demo"), ROOT)
    scored = {run for _, run, _ in found.scored("nas")}
    assert {"aqvae", "aqvae-flat", "teacher"}.isdisjoint(scored)
    assert {"zero-filled", "unet", "e2e-varnet", "base", "multinomial", "distilled"} <= scored
    assert ("sim-fastmri-brain", "train") in found.mapped and ("sim-fastmri-knee", "train") not in found.mapped
    assert found.evaluation("nas").data_range == "slice" and found.evaluation("ueps").data_range == "volume"


def test_a_pretrained_network_that_the_scale_lacks_is_named():
    config = scale("full")
    config["backbones"].remove("biomedclip")
    with pytest.raises(UserError, match="needs the pretrained network 'biomedclip'"):
        plan(config, ROOT)


def test_full_scale_holds_the_stroke_papers_values():
    """Rates, lengths, subjects, R and sampler; the rest is a reading of ours (src/rekon/dpm/READINGS.md)."""
    recipes = {run: r for (study, run), r in plan(scale("full"), ROOT).recipes.items() if study == "dpm"}
    prior, tuned = recipes["pretrained"], recipes["fine-tuned"]
    model = prior.model
    assert (model["channels"], model["multipliers"], model["blocks"]) == (128, [1, 1, 2, 2, 2, 2, 2], 2)
    assert (model["label_dropout"], model["augment"]["probability"], model["ema_images"]) == (0.1, 0.12, 100_000)
    sampler = model["sampler"]
    assert (sampler["method"], sampler["steps"], sampler["sigma_max"], sampler["rho"]) == ("dps", 300, 5.0, 7.0)
    assert prior.training.steps * prior.training.batch == pytest.approx(10e6, rel=1e-3)
    assert (prior.training.learning_rate, prior.training.warmup, prior.data.size) == (1e-4, 1.0, (320, 320))
    assert (tuned.training.learning_rate, tuned.training.epochs, tuned.training.warmup) == (1e-5, 650, 0.0)
    assert tuned.parents == {"base": "pretrained"} and tuned.data.select["FLAIR"] == 20
    assert tuned.accelerations == (4, 5, 6) and recipes["stroke-tuned"].accelerations == (2,)
    old = {"T1": None, "T1POST": None, "T2": None}
    none = dict.fromkeys(old, 0)
    seen = {run: recipes[run].data.select for run in ("full", "pretrained", "flair", "fine-tuned", "few", "joint")}
    assert seen == {
        "full": old | {"FLAIR": None}, "pretrained": old, "flair": none | {"FLAIR": None},
        "fine-tuned": none | {"FLAIR": 20}, "few": none | {"FLAIR": 20}, "joint": old | {"FLAIR": 20},
    }  # fmt: skip
    grid = {(r.training.learning_rate, r.training.epochs) for run, r in recipes.items() if run.startswith("tune-")}
    grid.add((tuned.training.learning_rate, tuned.training.epochs))
    assert grid == {(rate, epochs) for rate in (5e-4, 1e-4, 5e-5, 1e-5) for epochs in (650, 1250, 2500)}


def test_methods_of_the_stroke_paper_differ_in_their_data_alone():
    recipes = plan(scale("full"), ROOT).recipes
    base = recipes["dpm", "pretrained"].model_dump(mode="json")
    for run in ("full", "flair", "few", "joint"):
        changed = differences(base, recipes["dpm", run].model_dump(mode="json"))
        assert {key for key in changed if key not in ("run", "title")} <= {
            f"data.select.{c}" for c in ("T1", "T1POST", "T2", "FLAIR")
        }, run


def test_how_a_prior_is_used_is_not_what_its_weights_depend_on():
    recipe = plan(scale("demo"), ROOT).recipes["dpm", "pretrained"]
    sampler = recipe.model["sampler"] | {"steps": 99}
    used = recipe.model_copy(update={"accelerations": (8,), "model": recipe.model | {"sampler": sampler}})
    assert used.trained_by() == recipe.trained_by()
    trained = recipe.model_copy(update={"model": recipe.model | {"channels": 32}})
    assert trained.trained_by() != recipe.trained_by()
    rung = plan(scale("demo"), ROOT).recipes["ueps", "ueps"]
    assert rung.model_copy(update={"accelerations": (8,)}).trained_by() != rung.trained_by()
