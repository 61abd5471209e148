"""Config models: strict, one-sentence errors, schemas in step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rekon.config import Backbone, Backbones, Catalogue, MaskSettings, Scale, Study, TrainingSettings, UnrolledModel
from rekon.config.base import check, load
from rekon.config.schemas import MODELS, schema
from rekon.errors import UserError

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("model", "pattern"),
    [
        (Backbones, "config/backbones.yaml"), (Catalogue, "config/datasets.yaml"), (Scale, "config/*.yaml"),
        (Study, "config/studies/*.yaml"),
    ],
)  # fmt: skip
def test_files_in_config_validate(model, pattern):
    others = ("backbones.yaml", "datasets.yaml") if model is Scale else ()
    paths = [path for path in ROOT.glob(pattern) if path.name not in others]
    assert paths
    for path in paths:
        load(model, path)


@pytest.mark.parametrize("name", MODELS)
def test_schemas_are_in_step(name):
    committed = json.loads((ROOT / f"workflow/schemas/{name}.schema.json").read_text())
    assert committed == json.loads(json.dumps(schema(name))), "run `make schemas`"


def message(model, value) -> str:
    with pytest.raises(UserError) as caught:
        check(model, value, "file.yaml")
    text = str(caught.value)
    assert text.startswith("file.yaml: ") and text.endswith(".") and "\n" not in text
    return text


def test_errors_are_one_sentence_with_file_and_key():
    assert "unknown key 'ofset'" in message(MaskSettings, {"ofset": 1})
    assert "key 'acceleration'" in message(MaskSettings, {"acceleration": "4"})
    assert "'offset' 4 must be smaller than 'acceleration' 4" in message(MaskSettings, {"offset": 4})
    assert "exactly one of 'steps' and 'epochs'" in message(TrainingSettings, {"batch": 1, "learning_rate": 0.1})
    assert "key 'learning_rate'" in message(TrainingSettings, {"batch": 1, "learning_rate": float("nan"), "steps": 1})


def test_backbones_are_named_by_file_and_may_have_a_part_of_a_hash_or_none():
    entry = {"title": "t", "url": "https://example.org/a/net-01234567.pth?x=1", "licence": "MIT", "purpose": "p"}
    entry |= {"format": "pth", "sha256": "01234567"}
    assert check(Backbone, entry, "f").file == "net-01234567.pth"
    assert check(Backbone, entry | {"sha256": None}, "f").sha256 is None
    assert "key 'sha256'" in message(Backbone, entry | {"sha256": "0123"})
    assert "key 'sha256' is missing" in message(Backbone, {key: entry[key] for key in entry if key != "sha256"})
    assert "must end in a file name" in message(Backbone, entry | {"url": "https://example.org/"})
    assert "must stay below" in message(Backbone, entry | {"mirror": "../net.pth"})
    assert "backbone name 'a b'" in message(Backbones, {"a b": entry})


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"unet": None}, "exactly one of 'unet' and 'vit'"),
        ({"expanded": False}, "'sensitivity' belongs to"),
        ({"schedule": [24, 48, 96]}, "'schedule' needs 5 sizes"),
        ({"schedule": [24, 48, 96, 90, 96]}, "must not shrink"),
        ({"schedule": [25, 48, 96, 96, 96]}, "even sizes"),
    ],
)
def test_impossible_networks_are_refused(change, text):
    model = {"expanded": True, "schedule": None, "unet": {"channels": 8, "pools": 2}}
    check(UnrolledModel, model, "fine")
    assert text in message(UnrolledModel, {**model, **change})


def test_names_of_simulated_sets_say_so():
    catalogue = load(Catalogue, ROOT / "config/datasets.yaml")
    entry = catalogue["sim-fastmri-brain"].model_dump(mode="json")
    assert "sim-…" in message(Catalogue, {"fastmri-like": entry})


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda c: st.lists(c) | st.dictionaries(st.text(), c)
    )
)
def test_any_value_is_accepted_or_refused_with_a_sentence(value):
    for model in (MaskSettings, Scale, Study, Catalogue):
        try:
            check(model, value, "file.yaml")
        except UserError as error:
            assert str(error).startswith("file.yaml: ")
