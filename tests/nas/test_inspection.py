"""The inspection: what is computed from a tiny chain; its file, where what is missing is named."""

import math
from types import SimpleNamespace

import chain
import cohort
import numpy as np
import pytest
import torch

from rekon.config.sampling import PATTERNS
from rekon.errors import UserError
from rekon.nas import inspect
from rekon.nas.inspection import (
    Accuracy,
    Ceiling,
    Codebook,
    Divergence,
    Inspection,
    Timing,
    perplexity,
    read_inspection,
    write_inspection,
)
from rekon.physics.patterns import write_exact_mask

LEVELS = ("32", "16", "8", "4", "2", "FS")


def made_up() -> Inspection:
    random = np.random.default_rng(0)
    runs, scales = ("base", "distilled"), LEVELS[1:]
    return Inspection(
        "sim-set", 18, 4,
        Codebook(LEVELS, random.poisson(2, (6, 32))),
        Accuracy(runs, scales, random.random((2, 5)), random.random((2, 5)), random.random(5), 1 / 32),
        Divergence(runs, scales, random.random((2, 5))),
        Ceiling(("es-x", "radial"), np.array([30.0, 31.0]), np.array([20.0, 21.0])),
        Timing(runs, np.array([0.1, 0.2]), "cpu"),
    )  # fmt: skip


def test_what_is_written_comes_back(tmp_path):
    first = made_up()
    write_inspection(tmp_path / "inspect.npz", first)
    second = read_inspection(tmp_path / "inspect.npz")
    assert (second.dataset, second.slices, second.judged) == ("sim-set", 18, 4)
    for name in ("codebook", "accuracy", "divergence", "ceiling", "timing"):
        for key, value in vars(getattr(first, name)).items():
            stored = getattr(getattr(second, name), key)
            np.testing.assert_array_equal(stored, value)
            assert type(stored) is type(value)


def test_absent_parts_stay_absent(tmp_path):
    write_inspection(tmp_path / "inspect.npz", Inspection("sim-set", 0, 0))
    assert read_inspection(tmp_path / "inspect.npz") == Inspection("sim-set", 0, 0)


def test_perplexity_is_the_number_of_codes_where_all_are_equally_common():
    assert perplexity(np.array([5, 5, 0, 5, 5])) == pytest.approx(4)
    assert perplexity(np.array([0, 9])) == pytest.approx(1)
    assert math.isnan(perplexity(np.zeros(4, int)))
    book = Codebook(("32", "FS"), np.array([[1, 1, 0, 0], [3, 0, 0, 0]]))
    assert book.vocabulary == 4 and book.used.tolist() == [2, 1]
    np.testing.assert_allclose(book.perplexity, [2, 1])


def test_damage_is_named_with_the_remedy(tmp_path):
    path = tmp_path / "inspect.npz"
    with pytest.raises(UserError, match=r"inspect\.npz: no such file; run the rule inspect_nas"):
        read_inspection(path)
    path.write_bytes(b"nothing")
    with pytest.raises(UserError, match="not a readable"):
        read_inspection(path)
    write_inspection(path, made_up())
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files if name != "divergence.kl"}
    np.savez(path, **arrays)
    with pytest.raises(UserError, match=r"'divergence\.kl' is missing"):
        read_inspection(path)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Tokenizer, images of the cohort at all levels, and two of its slices."""
    folder = tmp_path_factory.mktemp("inspect")
    hierarchy, tokenizer = cohort.hierarchy(cohort.volumes(folder)), chain.tokenizer()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspect, "SLICES", 2)
        return tokenizer, hierarchy, inspect.look(tokenizer, hierarchy, torch.device("cpu"))


def test_usage_counts_every_token(made):
    tokenizer, hierarchy, slices = made
    book = inspect.codebook(tokenizer, hierarchy, slices)
    assert book.levels == LEVELS and book.vocabulary == tokenizer.model.vocabulary
    per_image = np.square(tokenizer.model.grids)
    assert book.usage.sum(1).tolist() == (len(slices) * len(PATTERNS) * per_image).tolist()


class Oracle(torch.nn.Module):
    """Knows the true tokens of the slice at hand, or names code 0 everywhere."""

    context = None

    def __init__(self, tokenizer, slices, knows=True):
        super().__init__()
        self.sides, self.vocabulary, self.knows = tokenizer.model.grids[1:], tokenizer.model.vocabulary, knows
        self.ends, self.slices, self.asked = tuple(np.cumsum(np.square(self.sides)).tolist()), slices, 0

    def forward(self, history, pattern, context):
        ids = torch.cat(self.slices[self.asked].ids[1:], dim=1)
        self.asked += 1
        return 9 * torch.nn.functional.one_hot(ids if self.knows else 0 * ids, self.vocabulary).float()

    def start(self, pattern, context):
        return None

    def next(self, history, level, memory):
        ids = self.slices[self.asked - 1].ids[level + 1]
        return torch.nn.functional.one_hot(ids if self.knows else 0 * ids, self.vocabulary).float()


def test_accuracy_is_one_for_an_oracle_and_that_of_a_constant_for_a_constant(made):
    tokenizer, hierarchy, slices = made
    runs = {"base": Oracle(tokenizer, slices), "distilled": Oracle(tokenizer, slices, knows=False)}
    found = inspect.accuracy(tokenizer, runs, hierarchy, slices)
    assert found.runs == ("base", "distilled") and found.scales == LEVELS[1:]
    assert (found.forced[0] == 1).all() and (found.rolled[0] == 1).all()
    share = np.array([[(one.ids[k] == 0).float().mean() for one in slices] for k in range(1, 6)]).mean(1)
    np.testing.assert_allclose(found.forced[1], share, rtol=1e-6)
    np.testing.assert_allclose(found.rolled[1], share, rtol=1e-6)
    assert (found.frequent >= share - 1e-6).all() and found.chance == 1 / tokenizer.model.vocabulary


def test_a_student_is_at_no_distance_from_itself_and_at_some_from_a_teacher_with_another_context(made):
    tokenizer, hierarchy, slices = made
    student = chain.transformer(tokenizer)
    privileged = chain.transformer(tokenizer, context=chain.CONTEXT | {"image": "full"})
    with torch.no_grad():
        same = inspect.distance(tokenizer, {"base": student}, student, hierarchy, slices)
        other = inspect.distance(tokenizer, {"base": student}, privileged, hierarchy, slices)
    np.testing.assert_allclose(same.kl, 0, atol=1e-6)
    assert other.kl.shape == (1, 5) and (other.kl > 1e-4).all() and other.scales == LEVELS[1:]
    again = inspect.distance(tokenizer, {"base": student}, privileged, hierarchy, slices)
    np.testing.assert_array_equal(other.kl, again.kl)  # rollouts follow from the slice


def test_the_ceiling_is_the_tokenizers_own_reconstruction(made):
    _, hierarchy, slices = made
    perfect = [one._replace(decoded=1.001 * one.images["full"]) for one in slices]
    found = inspect.ceiling(hierarchy, perfect)
    assert found.patterns == PATTERNS and (found.tokenizer > 60).all()
    assert (found.zero_filled < 40).all() and (found.zero_filled > 0).all()
    assert (inspect.ceiling(hierarchy, slices).tokenizer < found.zero_filled + 20).all()


def test_time_is_taken_per_run(made):
    tokenizer, hierarchy, _ = made
    runs = {name: chain.transformer(tokenizer) for name in ("base", "distilled")}
    found = inspect.timing(tokenizer, runs, hierarchy, torch.device("cpu"))
    assert found.runs == ("base", "distilled") and (found.seconds > 0).all() and found.device.startswith("cpu")


@pytest.mark.parametrize("runs", [("aqvae", "base", "teacher", "distilled"), ("aqvae",), ()])
def test_what_a_scale_trains_is_inspected(tmp_path, monkeypatch, runs):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(inspect, "SLICES", 1)
    manifest = cohort.volumes(tmp_path)
    for place, source in (("runs/tiny/data/sim-tiny/test.json", manifest), ("data/maps/sim-tiny/test", "maps")):
        (tmp_path / place).parent.mkdir(parents=True)
        (tmp_path / place).symlink_to(tmp_path / source)
    for mask in cohort.masks(cohort.sampling()).values():
        write_exact_mask(mask.settings.path(mask.size), mask)
    folder = tmp_path / "weights/tiny/nas"
    chain.tokenizer_weights(folder)
    for run in {"base", "teacher", "distilled"} & set(runs):
        chain.weights(folder, chain.transformer(), chain.recipe(run))
    recipes = {("nas", run): chain.recipe(run, "tokenizer" if run == "aqvae" else "transformer") for run in runs}
    plan = SimpleNamespace(
        scale=SimpleNamespace(scale="tiny", compute=SimpleNamespace(gpus=0)), recipes=recipes,
        evaluation=lambda study: SimpleNamespace(datasets=("sim-tiny",)), trained=lambda study: list(recipes),
    )  # fmt: skip
    inspect.inspect(plan, "nas", tmp_path / "inspect.npz")
    found = read_inspection(tmp_path / "inspect.npz")
    assert (found.dataset, found.slices, found.judged) == ("sim-tiny", bool(runs), bool(runs))
    assert (found.codebook is None) == (found.ceiling is None) == (not runs)
    students = tuple(run for run in ("base", "distilled") if run in runs)
    for part in (found.accuracy, found.divergence, found.timing):
        assert part is None if not students else part.runs == students
