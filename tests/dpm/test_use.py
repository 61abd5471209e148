"""A trained prior in the workflow's hands: tuned, scored with what was found, shown to readers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import priors
import pytest

from rekon.config import Compute, EvaluationSettings, Recipe
from rekon.dpm.tuning import read_tuned
from rekon.errors import UserError
from rekon.files import sha256
from rekon.physics.masks import make_mask, write_mask
from rekon.reading.images import read_images
from rekon.studies.dpm import tune
from rekon.studies.evaluate import evaluate
from rekon.studies.kinds import Trained
from rekon.studies.readers import FULLY_SAMPLED, middles, write_arm

CPU = Compute(device="cpu")
SAMPLER = {
    "method": "dds",
    "steps": 3,
    "sigma_max": 1.0,
    "start": "sense",
    "tuning": {"zetas": [0.1, 10.0], "slices": 3},
}


def recipe(**changes) -> Recipe:
    plain = priors.recipe(steps=2).model_dump(mode="json")
    plain["model"]["sampler"] |= SAMPLER
    plain["data"]["reference"] = "combined"
    return Recipe.model_validate_json(json.dumps(plain | {"accelerations": [4, 6]} | changes))


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder as the workflow has it: manifest, maps and masks where recipes expect them, and weights."""
    folder = tmp_path_factory.mktemp("place")
    made = priors.volumes(tmp_path_factory.mktemp("volumes"))
    manifest = folder / "runs/tiny/data/sim-tiny/test.json"
    manifest.parent.mkdir(parents=True)
    shutil.copy(made, manifest)
    shutil.copytree(made.parent / "maps", folder / "data/maps/sim-tiny/test")
    for settings in recipe().masks:
        write_mask(folder / settings.path(priors.SIZE), make_mask(settings, priors.SIZE[1]), priors.SIZE)
    priors.run(folder / "prior", made, steps=2)
    return folder


@pytest.fixture
def here(place, monkeypatch) -> Path:
    monkeypatch.chdir(place)
    return place


def trained(place: Path) -> Trained:
    return Trained(priors.outputs(place / "prior").weights)


MANIFEST = Path("runs/tiny/data/sim-tiny/test.json")


@pytest.fixture
def zeta(here, tmp_path) -> Path:
    tune(recipe(), trained(here), manifest=MANIFEST, output=tmp_path / "zeta.json", compute=CPU)
    return tmp_path / "zeta.json"


def test_tuning_tries_every_weight_and_says_on_what(here, zeta):
    found = json.loads(zeta.read_text())
    assert {(row["acceleration"], row["zeta"]) for row in found["rows"]} == {
        (r, z) for r in (4, 6) for z in (0.1, 10.0)
    }
    assert found["inputs"] == {"manifest": sha256(MANIFEST), "weights": sha256(trained(here).weights)}
    volumes = json.loads(MANIFEST.read_text())["volumes"]
    assert 1 < len(found["subjects"]) <= 3 and set(found["subjects"]) <= {one["subject"] for one in volumes}
    assert read_tuned(zeta).scale > 1, "undersampling lowers the maximum"


def test_the_same_sweep_twice_gives_the_same_bytes(here, zeta, tmp_path):
    tune(recipe(), trained(here), manifest=MANIFEST, output=tmp_path / "again.json", compute=CPU)
    assert (tmp_path / "again.json").read_bytes() == zeta.read_bytes()


def test_a_recipe_without_tuning_is_refused(here, tmp_path):
    plain = recipe().model_dump(mode="json")
    plain["model"]["sampler"]["tuning"] = None
    fixed = Recipe.model_validate_json(json.dumps(plain))
    with pytest.raises(UserError, match="tuning"):
        tune(fixed, trained(here), manifest=MANIFEST, output=tmp_path / "zeta.json", compute=CPU)


def scored(place: Path, out: Path, tuned: Path | None) -> pd.DataFrame:
    used = Trained(trained(place).weights, {}, tuned)
    paths = {name: out / f"{name}" for name in ("scores", "panel", "provenance")}
    evaluate(recipe(), used, manifest=MANIFEST, settings=EvaluationSettings(), compute=CPU, **paths)
    assert ("tuned" in json.loads(paths["provenance"].read_text())["inputs"]) == (tuned is not None)
    return pd.read_csv(paths["scores"])


def test_what_was_tuned_is_what_scores(here, zeta, tmp_path):
    rows = scored(here, tmp_path, zeta)
    assert sorted(rows["acceleration"].unique()) == [4, 6] and rows["nrmse"].notna().all()
    again = json.loads(zeta.read_text())
    again["best"] = dict.fromkeys(again["best"], 1e-06)  # as if the data hardly counted
    other = tmp_path / "other.json"
    other.write_text(json.dumps(again))
    loose = scored(here, tmp_path / "loose", other)
    assert loose["nrmse"].mean() > rows["nrmse"].mean()


def test_both_arms_show_the_same_slices_on_one_scale(here, zeta, tmp_path):
    used = Trained(trained(here).weights, {}, zeta)
    for name, what in (("own", used), ("reference", None)):
        write_arm(recipe(), what, manifest=MANIFEST, output=tmp_path / f"{name}.h5", compute=CPU)
    own, reference = (read_images(tmp_path / f"{name}.h5") for name in ("own", "reference"))
    assert (own.arm, reference.arm) == ("prior", FULLY_SAMPLED)
    assert own.subjects == reference.subjects and list(own.images) == list(reference.images)
    assert len(own.images) == 4 and own.unit == reference.unit
    for case, image in own.images.items():
        assert image.shape == reference.images[case].shape
        assert 0.3 < np.linalg.norm(image) / np.linalg.norm(reference.images[case]) < 3


@pytest.mark.parametrize(
    ("volumes", "expected"),
    [(["a"], [0]), (["a", "a"], [1]), (["a", "a", "a", "b", "b", "c"], [1, 4, 5]), ([], [])],
)
def test_the_middle_slice_of_every_volume(volumes, expected):
    assert middles(volumes) == expected
