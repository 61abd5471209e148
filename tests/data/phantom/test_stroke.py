"""The simulated stroke cohort: where its infarcts are, what they look like, and that no other set has one."""

from __future__ import annotations

import numpy as np
import pytest
from conftest_phantom import catalogue, scanned, small
from scipy import ndimage

from rekon.config.base import check
from rekon.config.datasets import Simulation
from rekon.data.phantom import cohort
from rekon.data.phantom.acquire import GRID, Scan, rss
from rekon.data.phantom.anatomy import Head
from rekon.data.phantom.grids import centred_image
from rekon.data.phantom.stroke import TERRITORIES, Stroke
from rekon.data.phantom.tissue import INDEX, NAMES, OWN, relaxation
from rekon.errors import UserError
from rekon.randomness import generator

SET = "sim-stroke"
KINDS = ("infarcted_grey", "infarcted_white")


def infarct(tissues: np.ndarray) -> np.ndarray:
    """Fraction of infarcted tissue, of fractions (tissue, ...)."""
    return np.sum([tissues[INDEX[kind]] for kind in KINDS], axis=0)


def patient(index: int, **changes: object) -> Scan:
    simulation = small(SET, **{"slices": 3, "matrix": (48, 48), "phase_lines": 48, "coils": (1,)} | changes)
    return cohort.simulated_scan(SET, simulation, "test", index, catalogue()[SET])


def test_every_patient_has_one_infarct_in_one_hemisphere_and_no_two_are_alike() -> None:
    areas, centres = [], []
    for index in range(8):
        scan = patient(index)
        share = infarct(scan.tissues)
        step = [np.linalg.norm(scan.positions[0, 1, 0] - scan.positions[0, 0, 0])]
        step.append(np.linalg.norm(scan.positions[0, 0, 1] - scan.positions[0, 0, 0]))
        areas.append(float((share > 0.3).sum() * step[0] * step[1] / 100))  # cm², over three slices
        x = scan.positions[share > 0.3][:, 0]
        assert (x > -4).all() or (x < 4).all(), index  # heads are turned and shifted a little
        centres.append(scan.positions[share > 0.3].mean(axis=0))
    assert min(areas) > 3
    assert max(areas) < 120
    assert max(areas) > 2 * min(areas)
    assert min(np.linalg.norm(a - b) for i, a in enumerate(centres) for b in centres[:i]) > 2
    assert {centre[0] > 0 for centre in centres} == {True, False}


def test_no_other_set_has_one(every_set: str) -> None:
    assert (catalogue()[every_set].simulation.lesion == "stroke") == (every_set == SET)
    assert infarct(scanned(every_set).tissues).any() == (every_set == SET)


@pytest.mark.parametrize("field", [1.5, 3.0])
def test_infarcts_have_longer_t2_and_a_little_longer_t1(field: float) -> None:
    tissue = relaxation(field, rng=np.random.default_rng(3), spread=0.2)
    for kind in ("grey", "white"):
        sound, infarcted = INDEX[kind], INDEX[f"infarcted_{kind}"]
        assert 1.25 < tissue.t2[infarcted] / tissue.t2[sound] < 1.7
        assert 1.05 < tissue.t1[infarcted] / tissue.t1[sound] < 1.2
    # it respects grey and white matter: what was grey stays the one with the longer times
    assert tissue.t2[INDEX["infarcted_grey"]] > tissue.t2[INDEX["infarcted_white"]]
    assert tissue.t1[INDEX["infarcted_grey"]] > tissue.t1[INDEX["infarcted_white"]]


@pytest.mark.parametrize("index", range(4))
def test_it_is_bright_in_flair_against_the_other_hemisphere(index: int) -> None:
    scan = patient(index, matrix=(136, 120), phase_lines=102, coils=(6,))
    image = rss(centred_image(scan.kspace, 136))
    # fractions at the image's samples, nearest; the fine grid is centred between two samples, the image's on one
    fine = scan.tissues.shape[-2:]
    rows = np.rint((np.arange(136) - 68) * GRID + (fine[0] - 1) / 2).astype(int)
    columns = np.rint((np.arange(120) - 60) * GRID + (fine[1] - 1) / 2).astype(int)
    tissues = scan.tissues[:, :, rows][..., columns.clip(0, fine[1] - 1)]
    inside = np.stack([ndimage.binary_erosion(slice_) for slice_ in infarct(tissues) > 0.5])
    mirrored = np.roll(inside[..., ::-1], 1, axis=-1)
    sound = mirrored & (tissues[INDEX["grey"]] + tissues[INDEX["white"]] > 0.9)
    assert inside.sum() > 50
    assert sound.sum() > 25
    assert image[inside].mean() > 1.2 * image[sound].mean()
    # nor is it only brighter because coils are near: against the sound brain of its own side it stands out as well
    rim = np.stack([ndimage.binary_dilation(s, iterations=5) for s in inside]) & (infarct(tissues) < 0.02)
    rim &= tissues[INDEX["grey"]] + tissues[INDEX["white"]] > 0.9
    assert image[inside].mean() > 1.15 * image[rim].mean()


def test_its_edge_is_soft() -> None:
    share = infarct(patient(0, matrix=(96, 96), phase_lines=96).tissues)
    top = share.max()
    partial = ((share > 0.15 * top) & (share < 0.85 * top)).sum()
    assert 0.05 < partial / (share > 0.15 * top).sum() < 0.6


def test_equal_arguments_give_equal_infarcts() -> None:
    points = np.random.default_rng(0).uniform(-60, 60, (5000, 3)).astype(np.float32)
    one, again, other = (Stroke(generator(0, "stroke", index=index)).share(points) for index in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)
    np.testing.assert_array_equal(patient(0).kspace, patient(0).kspace)


def test_every_territory_occurs_on_both_sides() -> None:
    drawn = [Stroke(generator(0, "territories", index=index)) for index in range(120)]
    assert {(stroke.territory, stroke.side) for stroke in drawn} == {(t, s) for t in TERRITORIES for s in (-1, 1)}
    assert sum(odds for *_, odds in TERRITORIES.values()) == pytest.approx(1)


def test_the_head_around_it_is_the_same_head() -> None:
    number = next(n for n in range(9) if not any(kind == "mass" for kind, *_ in head(n, False).lesions))
    y, x = np.meshgrid(np.arange(-100, 80, 2.0), np.arange(-80, 80, 2.0), indexing="ij")
    points = np.stack([x, y, np.full_like(x, 14)], axis=-1).astype(np.float32)
    through = np.zeros((1, 3), np.float32)
    sound, ill = (head(number, stroke).fractions(points, through) for stroke in (False, True))
    assert infarct(ill).max() > 0.5
    others = [INDEX[name] for name in NAMES if name not in ("grey", "white", *KINDS)]
    np.testing.assert_array_equal(ill[others], sound[others])
    for kind in ("grey", "white"):
        np.testing.assert_allclose(ill[INDEX[kind]] + ill[INDEX[f"infarcted_{kind}"]], sound[INDEX[kind]], atol=1e-6)
    np.testing.assert_array_equal(ill[:, infarct(ill) == 0], sound[:, infarct(ill) == 0])


def head(number: int, stroke: bool) -> Head:
    anatomy = cohort.subject(SET, small(SET, lesion="stroke" if stroke else None), number, "axial")
    assert isinstance(anatomy, Head)
    return anatomy


def test_stroke_patients_have_no_mass_beside_it() -> None:
    number = next(n for n in range(40) if any(kind == "mass" for kind, *_ in head(n, False).lesions))
    without, beside = head(number, False).lesions, head(number, True).lesions
    assert [radius for kind, _, radius in without if kind == "spot"] == [radius for *_, radius in beside]


def test_infarcted_tissues_draw_nothing_so_other_sets_stay_what_they_were() -> None:
    """Tissue properties of 17 tissues as they were drawn before there were infarcts, and the stream after them."""
    assert list(NAMES[:17]) == OWN
    rng, before = np.random.default_rng(5), np.random.default_rng(5)
    drawn, table = relaxation(3.0, rng=rng), relaxation(3.0)
    vary = np.exp(before.normal(0, 0.03, (3, 1)) + before.normal(0, 0.01, (3, 17)))
    np.testing.assert_allclose(drawn.pd[:17], table.pd[:17] * vary[0], rtol=1e-12)
    np.testing.assert_allclose(drawn.t1[:17], table.t1[:17] * vary[1], rtol=1e-12)
    np.testing.assert_allclose(drawn.t2[:17], table.t2[:17] * vary[2], rtol=1e-12)
    assert rng.random() == before.random()


def test_sets_without_a_lesion_are_written_without_the_key() -> None:
    """Their specification is what their files are made from: text that changed would make them again."""
    for name, entry in catalogue().root.items():
        if entry.simulation is not None:
            assert ("lesion" in entry.simulation.model_dump(mode="json")) == (name == SET)
            assert check(Simulation, entry.simulation.model_dump(mode="json"), "json") == entry.simulation


def test_a_knee_has_no_stroke() -> None:
    value = small("sim-fastmri-knee").model_dump(mode="json") | {"lesion": "stroke"}
    with pytest.raises(UserError, match=r"datasets.yaml: 'lesion: stroke' needs 'phantom: brain'"):
        check(Simulation, value, "datasets.yaml")
