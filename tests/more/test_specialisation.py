"""Numbers of who does what: entropy, mutual information, collapse, and the arrays that a report gets."""

import math

import mixtures
import numpy as np
import pytest
import torch

from rekon.config import MaskSettings
from rekon.data.slices import SliceSet
from rekon.errors import UserError
from rekon.more.inspect import observe, plane, some_of_each
from rekon.more.inspection import Inspection, Routing, Sizes, read_inspection, write_inspection
from rekon.more.network import size
from rekon.more.reconstructor import ExpertsReconstructor
from rekon.more.specialisation import by_chance, collapsed, entropy, mutual_information, routing_metrics, sets
from rekon.physics.masks import make_mask


def routing(**changes) -> Routing:
    """Four samples of two modalities (and one without samples), two routers, three experts."""
    gates = np.array([[[0.6, 0.3, 0.1], [0.2, 0.7, 0.1]]] * 3 + [[[0.1, 0.3, 0.6], [0.2, 0.7, 0.1]]], np.float32)
    values = {
        "run": "more", "dataset": "sim-x", "volumes": ("a", "a", "b", "c"), "slices": (0, 1, 0, 0),
        "modalities": ("T1", "T2", "knee"), "labels_S": np.array([0, 0, 1, 2]),
        "embedding_SRE": np.zeros((4, 2, 5), np.float32), "gates_SRN": gates,
        "chosen_SRN": gates == gates.max(axis=2, keepdims=True), "parameters": 10, "active": 6,
    }  # fmt: skip
    return Routing(**(values | changes))


# --- formulas -----------------------------------------------------------------------------------------------------


def test_entropy():
    assert entropy(np.array([[1, 1, 1, 1], [5, 0, 0, 0], [0, 0, 0, 0]])) == pytest.approx([math.log(4), 0, 0])


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ([[5, 0], [0, 5]], 1.0),  # the expert is the modality
        ([[0, 0, 7], [2, 0, 0], [0, 1, 0]], 1.0),
        ([[2, 2], [3, 3]], 0.0),  # independent
        ([[4, 0], [6, 0]], 0.0),  # one expert for all
        ([[4, 6]], 0.0),  # one modality
        # I = 1/2 ln 2; H of the modality ln 2, of the expert 3/4 ln 4/3 + 1/4 ln 4
        (
            [[2, 2], [4, 0]],
            2
            * (math.log(2) + 0.75 * math.log(4 / 3) + 0.25 * math.log(4) - (1.5 * math.log(2)))
            / (math.log(2) + 0.75 * math.log(4 / 3) + 0.25 * math.log(4)),
        ),
    ],
)
def test_normalised_mutual_information(table, expected):
    assert mutual_information(np.array(table, float)) == pytest.approx(expected)
    assert mutual_information(np.array(table, float).T) == pytest.approx(expected)


def test_normalised_mutual_information_is_scikit_learn_s():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    labels, experts = rng.integers(7, size=200), rng.integers(4, size=200)
    experts[labels < 2] = 1
    table = np.histogram2d(labels, experts, bins=(7, 4))[0]
    assert mutual_information(table) == pytest.approx(metrics.normalized_mutual_info_score(labels, experts))


@pytest.mark.parametrize(("share", "top_k", "flag"), [(0.89, 1, False), (0.91, 1, True), (0.91, 2, True)])
def test_collapse_is_more_than_nine_tenths_of_the_samples(share, top_k, flag):
    taken = np.zeros((1, 1, 3))
    taken[0, 0, 0], taken[0, 0, 1] = 100 * share, 100 * (top_k - share)
    taken[0, 0, 1:] = (100 * top_k - 100 * share) / 2
    assert collapsed(taken, 100, top_k).tolist() == [flag]


def test_where_every_expert_works_none_has_collapsed():
    assert collapsed(np.full((1, 2, 2), 10.0), 10, 2).tolist() == [False, False]


def test_metrics_of_a_validation():
    by_volume = [[[1, 1, 0], [2, 0, 0]], [[2, 0, 0], [2, 0, 0]], [[0, 0, 4], [4, 0, 0]]]  # (V, R, C)
    table, modality = np.array(by_volume, float), np.array([0, 0, 1])
    metrics = routing_metrics(("T1", "T2", "knee"), modality, table, np.array([4.0, 8.0]), sets(3, 1))
    first = np.array([[3, 1, 0], [0, 0, 4]], float)  # of the first router, by modality
    assert metrics["val_collapsed"] == 1 and metrics["val_collapsed_routers"] == 1
    assert metrics["val_largest_share"] == 1 and metrics["val_routing_entropy"] == pytest.approx(0.75)
    loads = [-(3 * math.log(3 / 8) + math.log(1 / 8) + 4 * math.log(1 / 2)) / 8 / math.log(3), 0]
    assert metrics["val_load_entropy"] == pytest.approx(np.mean(loads))
    assert metrics["val_nmi"] == pytest.approx(mutual_information(first) / 2)
    assert (
        metrics["val_nmi_chance"] == pytest.approx(by_chance(modality, table[:, 0]) / 2)
        and metrics["val_nmi_chance"] > 0
    )
    assert metrics["val_favourite_T1"] == pytest.approx((0.75 + 1) / 2) and metrics["val_favourite_T2"] == 1
    assert "val_favourite_knee" not in metrics, "no samples"
    assert [metrics[f"val_usage_0_{e}"] for e in range(3)] == pytest.approx([3 / 8, 1 / 8, 1 / 2])


def test_validation_counts_sets_of_experts_as_the_report_does():
    """Expert 1 is everybody's best, and says nothing; the pair that works on a sample is its modality's."""
    table = np.array([[[4, 0, 0]], [[4, 0, 0]], [[0, 4, 0]]], float)  # pairs 1 + 2, 1 + 3, 2 + 3
    metrics = routing_metrics(("T1", "T2"), np.array([0, 0, 1]), table, np.array([0.0]), sets(3, 2))
    assert metrics["val_nmi"] == 1 and metrics["val_collapsed"] == 1
    assert [metrics[f"val_usage_0_{e}"] for e in range(3)] == pytest.approx([1, 2 / 3, 1 / 3])
    assert metrics["val_favourite_T2"] == 1


def test_sets_of_experts():
    assert sets(3, 2).tolist() == [[True, True, False], [True, False, True], [False, True, True]]
    assert (sets(4, 1) == np.eye(4)).all() and sets(7, 2).shape == (21, 7) and (sets(7, 3).sum(axis=1) == 3).all()


def test_mutual_information_by_chance_is_small_only_where_volumes_are_many():
    rng = np.random.default_rng(0)
    few, many = ((rng.integers(7, size=n), np.eye(4)[rng.integers(4, size=n)]) for n in (24, 2400))
    assert 0.15 < by_chance(*few) < 0.5 and by_chance(*many) < 0.02
    assert by_chance(few[0], np.eye(1)[np.zeros(24, int)]) == 0
    assert by_chance(*few) == by_chance(*few)


def test_slices_of_a_volume_are_dealt_out_together():
    """14 volumes of 20 slices, two of each modality, the experts being those of the volume."""
    modality, experts = np.repeat(np.arange(7), 2), np.eye(4)[np.random.default_rng(0).integers(4, size=14)]
    together = by_chance(modality, 20 * experts)
    apart = by_chance(np.repeat(modality, 20), np.repeat(experts, 20, axis=0))
    assert together == pytest.approx(by_chance(modality, experts)) and together > 0.4 and apart < 0.1


# --- arrays for the report ----------------------------------------------------------------------------------------


def test_derived_numbers():
    made = routing()
    assert made.top_k == 1
    np.testing.assert_allclose(made.usage_GRN[:, 0], [[1, 0, 0], [1, 0, 0], [0, 0, 1]])
    np.testing.assert_allclose(made.usage_GRN[:, 1], [[0, 1, 0]] * 3)
    expected = float(mutual_information(np.array([[2, 0, 0], [1, 0, 0], [0, 0, 1.0]])))
    assert made.information_R.tolist() == pytest.approx([expected, 0])
    assert made.collapsed_R.tolist() == [False, True]
    assert made.load_entropy_R[1] == 0 < made.load_entropy_R[0] < 1
    assert made.gate_entropy_R[0] == pytest.approx(-(0.6 * np.log(0.6) + 0.3 * np.log(0.3) + 0.1 * np.log(0.1)))


def test_pairs_of_experts_tell_of_the_modality_where_the_best_one_is_always_the_same():
    gates = np.array([[[0.5, 0.3, 0.2]], [[0.5, 0.3, 0.2]], [[0.5, 0.2, 0.3]], [[0.5, 0.2, 0.3]]], np.float32)
    chosen = gates > 0.25
    made = routing(
        gates_SRN=gates, chosen_SRN=chosen, labels_S=np.array([0, 0, 2, 2]), volumes=("a", "b", "c", "d")
    )  # fmt: skip
    assert made.sets_SR.T.tolist() == [[3, 3, 5, 5]] and made.information_R.tolist() == [1.0]
    assert made.chance_R[0] == pytest.approx(1 / 3, abs=0.1)  # 4 of 6 pairings of two and two tell nothing


def test_chance_keeps_the_slices_of_a_volume_together():
    volumes, labels = np.repeat(np.arange(14), 20), np.repeat(np.arange(7), 40)
    chosen = np.eye(4, dtype=bool)[np.random.default_rng(0).integers(4, size=14)][volumes][:, None]
    values = {"labels_S": labels, "chosen_SRN": chosen, "modalities": tuple("abcdefg")}
    together = routing(volumes=tuple(f"v{number}" for number in volumes), **values).chance_R[0]
    apart = routing(volumes=tuple(map(str, range(280))), **values).chance_R[0]
    assert together > 0.4 and apart < 0.1
    with pytest.raises(AssertionError, match="one modality"):
        _ = routing(volumes=("v",) * 280, **values).chance_R


def test_a_modality_without_samples_has_no_usage():
    made = routing(labels_S=np.array([0, 0, 0, 2]))
    assert np.isnan(made.usage_GRN[1]).all() and np.isfinite(made.usage_GRN[[0, 2]]).all()


SIZES = Sizes(("more", "e2e-varnet"), np.array([10, 5]), np.array([6, 5]))


def test_round_trip_and_damage(tmp_path):
    made, path = Inspection(SIZES, routing(), np.ones((4, 2), np.float32)), tmp_path / "r.npz"
    write_inspection(path, made)
    written, back = path.read_bytes(), read_inspection(path)
    for one, other in ((made.sizes, back.sizes), (made.routing, back.routing)):
        for name, value in vars(one).items():
            np.testing.assert_array_equal(getattr(other, name), value)
            assert type(getattr(other, name)) is type(value)
    np.testing.assert_array_equal(back.points_S2, made.points_S2)
    write_inspection(path, back)
    assert path.read_bytes() == written
    write_inspection(tmp_path / "dense.npz", Inspection(SIZES))
    dense = read_inspection(tmp_path / "dense.npz")
    assert dense.sizes.runs == SIZES.runs and dense.routing is None and dense.points_S2 is None
    (tmp_path / "cut.npz").write_bytes(written[:90])
    np.savez(tmp_path / "other.npz", x=np.ones(2))
    for name in ("cut.npz", "other.npz", "absent.npz"):
        with pytest.raises(UserError, match=name):
            read_inspection(tmp_path / name)


def reconstructor(name="more"):
    torch.manual_seed(0)
    model = mixtures.model(name)
    return ExpertsReconstructor(mixtures.recipe(name), mixtures.network(name), model, torch.device("cpu"))


def test_observation_routes_as_reconstruction_does(tmp_path):
    slices, mask = SliceSet(mixtures.volumes(tmp_path), mixtures.SIZE), make_mask(mixtures.MASK, 32)
    made = reconstructor()
    found = observe(made, slices, mask)
    assert found.volumes == ("volume_0", "volume_0", "volume_1", "volume_1", "volume_2", "volume_2")
    assert found.modalities == ("T1", "T2", "knee") and found.labels_S.tolist() == [0, 0, 1, 1, 2, 2]
    assert found.embedding_SRE.shape == (6, 2, 6) and found.gates_SRN.shape == (6, 2, 3) and found.top_k == 2
    np.testing.assert_allclose(found.gates_SRN.sum(2), 1, rtol=1e-5)
    assert (found.parameters, found.active) == size(made.network)
    columns = torch.from_numpy(mask.columns)
    with torch.no_grad():
        routes = made.network((slices.item(3).kspace * columns)[None], columns[None]).routes
    for router, route in enumerate(routes):
        np.testing.assert_allclose(found.embedding_SRE[3, router], route.embedding_ME[0], rtol=1e-5)
        np.testing.assert_array_equal(found.chosen_SRN[3, router], route.chosen_MN[0])
    part = observe(made, slices, mask, [3, 0])
    assert part.slices == (1, 0) and part.labels_S.tolist() == [1, 0]


def test_what_cannot_be_observed_is_refused(tmp_path):
    slices, mask = SliceSet(mixtures.volumes(tmp_path), mixtures.SIZE), make_mask(MaskSettings(), 32)
    with pytest.raises(UserError, match="dense: has one expert"):
        observe(reconstructor("dense"), slices, mask)
    with pytest.raises(UserError, match="none of the slices asked for"):
        observe(reconstructor(), slices, mask, [])


def test_as_many_slices_of_each_modality_as_there_are_spread_over_its_volumes(tmp_path):
    slices, model = SliceSet(mixtures.volumes(tmp_path), mixtures.SIZE), mixtures.model()
    assert some_of_each(slices, model) == list(range(6))
    one = some_of_each(slices, model, 1)
    assert [slices.items[index].volume for index in one] == ["volume_0", "volume_1", "volume_2"]


def test_groups_of_embeddings_stay_groups_in_the_plane():
    rng = np.random.default_rng(0)
    centres = 20 * rng.normal(size=(3, 16))
    embedding = np.repeat(centres, 8, axis=0) + rng.normal(size=(24, 16))
    points = plane(embedding)
    assert points.shape == (24, 2) and np.isfinite(points).all()
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    assert (distance.argmin(axis=1) // 8 == np.arange(24) // 8).all()
    np.testing.assert_array_equal(points, plane(embedding))
    assert plane(embedding[:2]).shape == (2, 2)
