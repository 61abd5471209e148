"""No test subject is seen before it is scored: not in training, fine-tuning, early stopping or the search for zeta.

From the names that the simulation gives, always; from the manifests, run.json and zeta.json of `make demo`, where it
has run.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from rekon.files import read_yaml, sha256
from rekon.plan import plan

ROOT = Path(__file__).resolve().parents[2]
SCALES = ("demo", "open", "full")


def planned(scale: str):
    return plan(read_yaml(ROOT / f"config/{scale}.yaml"), ROOT)


@pytest.mark.parametrize("scale", SCALES)
def test_splits_of_simulated_sets_share_no_subject(scale):
    from rekon.data.phantom.names import volumes

    made = planned(scale)
    for name, sizes in made.scale.datasets.items():
        simulation = made.dataset(name).simulation
        if simulation is None:
            continue
        seen: set[str] = set()
        for split in ("train", "validation", "test"):
            subjects = {one.subject for one in volumes(name, simulation, split, getattr(sizes, split) or 0)}
            assert not seen & subjects, (name, split)
            seen |= subjects


LEARNING = {
    "train_unrolled", "train_unet", "train_aqvae", "tokenise", "train_transformer", "train_teacher", "distill",
    "pretrain_dpm", "finetune_dpm", "tune_zeta", "train_experts",
}  # fmt: skip


@pytest.mark.workflow
@pytest.mark.parametrize("scale", SCALES)
def test_no_job_that_learns_reads_a_test_split(snakemake, scale):
    """Of every job of the DAG that trains, tokenises or tunes: none of its inputs belongs to a test split."""
    run = snakemake("-n", "--configfile", f"config/{scale}.yaml", "--forceall")
    jobs = re.findall(r"^rule (\w+):\n(?:    .*\n)*?    input: (.*)$", run.stdout + run.stderr, re.MULTILINE)
    learned = [(rule, inputs.split(", ")) for rule, inputs in jobs if rule in LEARNING]
    assert len(learned) >= len(planned(scale).trained())
    for rule, inputs in learned:
        assert not [path for path in inputs if re.search(r"(^|[/-])test([./]|$)", path)], rule
    scored = [inputs for rule, inputs in jobs if rule == "evaluate"]
    assert scored and all("/test.json" in inputs for inputs in scored), "the pattern finds what it looks for"


MANIFESTS = sorted((ROOT / "runs/demo/data").glob("*/*.json"))
ran = pytest.mark.skipif(not (ROOT / "results/demo/dpm").exists() or not MANIFESTS, reason="run `make demo`")


@pytest.fixture(scope="module")
def subjects() -> dict[str, set[str]]:
    """SHA-256 of a manifest -> its subjects."""
    return {sha256(path): {one["subject"] for one in json.loads(path.read_text())["volumes"]} for path in MANIFESTS}


@pytest.fixture(scope="module")
def tested(subjects) -> set[str]:
    """Subjects of everything that was scored, by what the evaluations themselves recorded."""
    records = [json.loads(path.read_text()) for path in (ROOT / "results/demo").glob("*/*/*.json")]
    found = [subjects[record["inputs"]["manifest"]] for record in records]
    assert found
    return set().union(*found)


@pytest.mark.workflow
@ran
def test_what_runs_recorded_as_their_data_holds_no_test_subject(subjects, tested):
    records = list((ROOT / "runs/demo").glob("*/*/run.json"))
    assert records
    for path in records:
        inputs = json.loads(path.read_text())["inputs"]
        for split in ("train", "validation"):
            assert not subjects[inputs[split]] & tested, path


@pytest.mark.workflow
@ran
def test_zeta_was_searched_for_without_test_subjects(subjects, tested):
    sweeps = [json.loads(path.read_text()) for path in (ROOT / "runs/demo/dpm").glob("*/zeta.json")]
    assert sweeps
    for found in sweeps:
        assert found["subjects"] and set(found["subjects"]) <= subjects[found["inputs"]["manifest"]]
        assert not set(found["subjects"]) & tested
