import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rekon.config import MaskSettings
from rekon.errors import UserError
from rekon.physics.masks import make_mask, read_mask, write_mask

PATTERNS = ("equispaced", "equispaced_fraction", "random")
valid = st.builds(
    MaskSettings,
    pattern=st.sampled_from(PATTERNS),
    acceleration=st.integers(2, 8),
    center_fraction=st.floats(0.03, 0.1),
    offset=st.sampled_from([None, 0, 1]),
    seed=st.integers(0, 99),
)


def test_ueps_mask_counts():
    mask = make_mask(MaskSettings(), 320)
    assert (mask.lines, mask.acs, mask.acceleration, mask.effective_acceleration) == (100, (147, 173), 4, 3.2)
    expected = {line for line in range(320) if line % 4 == 1} | set(range(147, 173))
    assert set(np.flatnonzero(mask.columns)) == expected


@pytest.mark.parametrize(("width", "lines"), [(64, 36), (128, 52), (256, 84), (320, 100)])
def test_ueps_mask_counts_after_cropping(width, lines):
    cropped = make_mask(MaskSettings(), 320).cropped(width)
    assert cropped.lines == lines
    assert cropped.acs[1] - cropped.acs[0] == 26
    assert cropped.columns[slice(*cropped.acs)].all()


def test_equispaced_fraction_by_hand():
    # W 16, R 4, 2 ACS lines: spacing 4 * (2 - 16) / (2 * 4 - 16) = 7; lines 1, 8 and ACS (16 - 2 + 1) // 2 = 7, 8
    settings_ = MaskSettings(pattern="equispaced_fraction", center_fraction=0.125, offset=1)
    assert list(np.flatnonzero(make_mask(settings_, 16).columns)) == [1, 7, 8]


@settings(deadline=None, max_examples=80)
@given(mask_settings=valid, width=st.integers(40, 400))
def test_every_mask_holds_its_centre_and_repeats(mask_settings, width):
    mask = make_mask(mask_settings, width)
    start, stop = mask.acs
    assert mask.columns.dtype == bool and mask.columns.shape == (width,)
    assert stop - start == round(width * mask_settings.center_fraction)
    assert mask.columns[start:stop].all()
    assert start <= width // 2 <= stop
    assert np.array_equal(make_mask(mask_settings, width).columns, mask.columns)
    assert 1 <= mask.effective_acceleration <= width
    if mask_settings.pattern == "equispaced":
        assert mask.effective_acceleration < mask.acceleration + 0.5
        outside = np.flatnonzero(mask.columns & ~np.isin(np.arange(width), np.arange(start, stop)))
        assert len(set(outside % mask_settings.acceleration)) <= 1


@pytest.mark.parametrize("pattern", ["equispaced_fraction", "random"])
def test_total_matches_the_nominal_acceleration(pattern):
    lines = [make_mask(MaskSettings(pattern=pattern, offset=None, seed=seed), 320).lines for seed in range(40)]
    assert abs(np.mean(lines) - 320 / 4) < 2


def test_seed_decides_where_something_is_drawn():
    def columns(seed, **more):
        return make_mask(MaskSettings(seed=seed, **more), 320).columns

    assert np.array_equal(columns(0), columns(1))  # a fixed offset leaves nothing to draw
    assert not np.array_equal(columns(0, pattern="random"), columns(1, pattern="random"))
    assert len({columns(seed, offset=None).tobytes() for seed in range(20)}) == 4


@pytest.mark.parametrize("pattern", ["equispaced_fraction", "random"])
def test_a_centre_that_uses_up_all_lines_is_refused(pattern):
    with pytest.raises(UserError, match="center_fraction"):
        make_mask(MaskSettings(pattern=pattern, acceleration=8, center_fraction=0.2), 320)


@settings(deadline=None, max_examples=20)
@given(mask_settings=valid, width=st.integers(20, 80).map(lambda n: 2 * n))
def test_artefact_round_trip(tmp_path_factory, mask_settings, width):
    path = tmp_path_factory.mktemp("mask") / "R.h5"
    mask = make_mask(mask_settings, width)
    write_mask(path, mask, (64, width))
    back = read_mask(path)
    assert np.array_equal(back.columns, mask.columns)
    assert (back.acs, back.settings) == (mask.acs, mask.settings)
    first = path.read_bytes()
    write_mask(path, mask, (64, width))
    assert path.read_bytes() == first


def _drop(name):
    def damage(file):
        if name in file:
            del file[name]
        else:
            del file.attrs[name]

    return damage


def _set(name, value):
    def damage(file):
        if name in file:
            del file[name]
            file[name] = value
        else:
            file.attrs[name] = value

    return damage


@pytest.mark.parametrize(
    ("damage", "field"),
    [
        (_drop("mask"), "'mask'"),
        (_drop("acs"), "'acs'"),
        (_drop("settings"), "'settings'"),
        (_set("mask", np.ones(64)), "'mask'"),
        (_set("mask", np.zeros(64, bool)), "'mask'"),
        (_set("mask", np.ones(60, bool)), "'size'"),
        (_set("settings", "{"), "'settings'"),
        (_set("settings", '{"acceleration": 0}'), "acceleration"),
    ],
)
def test_damaged_artefact(tmp_path, damage, field):
    path = tmp_path / "R4_64x64.h5"
    write_mask(path, make_mask(MaskSettings(), 64), (64, 64))
    with h5py.File(path, "r+") as file:
        damage(file)
    with pytest.raises(UserError, match=field) as caught:
        read_mask(path)
    assert str(path) in str(caught.value)


def test_missing_and_truncated_artefact(tmp_path):
    path = tmp_path / "R4_64x64.h5"
    with pytest.raises(UserError, match="no such mask"):
        read_mask(path)
    write_mask(path, make_mask(MaskSettings(), 64), (64, 64))
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(UserError, match=r"R4_64x64\.h5: not a readable HDF5"):
        read_mask(path)


@pytest.mark.parametrize("width", [320, 368, 322])
@pytest.mark.parametrize("offset", [None, 0, 1, 3])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_parity_with_the_fastmri_package(pattern, offset, width):
    subsample = pytest.importorskip("fastmri.data.subsample", reason="the fastmri package (>= 0.2) is not installed")
    kind = {
        "equispaced": "EquiSpacedMaskFunc",
        "equispaced_fraction": "EquispacedMaskFractionFunc",
        "random": "RandomMaskFunc",
    }[pattern]
    if not hasattr(subsample, kind):
        pytest.skip("fastmri older than 0.2 calls other masks by these names")
    for seed in range(10):
        theirs, low = getattr(subsample, kind)([0.08], [4])((1, 10, width, 2), offset=offset, seed=seed)
        ours = make_mask(MaskSettings(pattern=pattern, offset=offset, seed=seed), width)
        np.testing.assert_array_equal(ours.columns, theirs.numpy().ravel().astype(bool))
        assert ours.acs[1] - ours.acs[0] == low
