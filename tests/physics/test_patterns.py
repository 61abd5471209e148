import h5py
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rekon.config.sampling import PATTERNS, ExactMaskSettings
from rekon.errors import UserError
from rekon.physics.patterns import make_exact_mask, read_exact_mask, write_exact_mask


def mask(pattern, acceleration, size, **more):
    return make_exact_mask(ExactMaskSettings(pattern=pattern, acceleration=acceleration, **more), size)


def lines(made):
    """The measured lines of an equispaced mask, which are whole."""
    samples = made.samples[0] if made.settings.pattern == "es-x" else made.samples[0].T
    assert (samples.all(1) | ~samples.any(1)).all()
    return np.flatnonzero(samples[:, 0]).tolist()


def centre(made):
    """The central block that must be fully sampled, of every variant."""
    (top, left), (rows, columns) = (
        tuple((n - k + 1) // 2 for n, k in zip(made.size, made.acs, strict=True)),
        made.acs,
    )
    return made.samples[:, top : top + rows, left : left + columns]


@st.composite
def valid(draw):
    """Settings but for R, a matrix, and accelerations from few samples to many, each a multiple of the next."""
    pattern = draw(st.sampled_from(PATTERNS))
    steps = draw(st.lists(st.sampled_from([2, 2, 2, 3]), min_size=1, max_size=5))
    accelerations = np.cumprod([1, *steps])[::-1].tolist()
    most = accelerations[0]
    size = (most * draw(st.integers(1, 60 // most or 1)), most * draw(st.integers(1, 60 // most or 1)))
    budget = {"es-x": size[0] // most, "es-y": size[1] // most, "radial": 0}.get(pattern)
    if budget is None:
        budget = min(int((size[0] * size[1] // most) ** 0.5), *size)
    more = {"acs": draw(st.integers(0, budget)), "seed": draw(st.integers(0, 9))}
    if not pattern.startswith("es-"):
        more["variants"] = draw(st.integers(1, 3))
    return pattern, size, accelerations, more


@settings(deadline=None, max_examples=150)
@given(valid())
def test_counts_are_exact_levels_nested_and_the_centre_whole(case):
    pattern, size, accelerations, more = case
    assume(min(size) > 1)
    coarser = None
    for r in accelerations:
        made = mask(pattern, r, size, **more)
        assert made.samples.shape == (more.get("variants", 1), *size) and made.samples.dtype == bool
        assert (made.samples.sum((1, 2)) * r == size[0] * size[1]).all()
        assert made.effective_acceleration == r
        assert centre(made).all()
        assert coarser is None or (made.samples >= coarser).all()
        assert np.array_equal(mask(pattern, r, size, **more).samples, made.samples)
        coarser = made.samples
    assert coarser.all()  # R = 1


def test_lines_by_hand():
    assert lines(mask("es-y", 32, (16, 256))) == list(range(0, 256, 32))
    assert lines(mask("es-y", 32, (16, 256), acs=4)) == [64, 96, 126, 127, 128, 129, 160, 192]
    assert lines(mask("es-y", 16, (16, 256), acs=4)) == sorted([*range(32, 225, 16), 126, 127, 129])
    assert lines(mask("es-x", 32, (64, 16), acs=2)) == [31, 32]
    assert lines(mask("es-x", 16, (64, 16), acs=2)) == [16, 31, 32, 48]
    assert lines(mask("es-x", 8, (64, 16), acs=3)) == [0, 16, 24, 31, 32, 33, 40, 48]  # an even number had to go
    assert lines(mask("es-x", 8, (24, 16), acs=2)) == [11, 12, 20]  # odd, and no line 0 on the grid


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 5), st.integers(1, 8), st.integers(0, 8))
def test_lines_are_symmetric_about_zero_frequency_and_equispaced_outside_the_centre(power, half, acs):
    r, width = 2**power, 2 ** (power + 1) * half
    assume(acs <= width // r)
    found = np.array(lines(mask("es-y", r, (4, width), acs=acs)))
    inside = np.abs(found - width // 2 + 0.5 * (acs % 2 == 0)) <= acs / 2
    outside = found[~inside & (found > 0)] - width // 2
    assert (outside % r == 0).all()
    for frequency in outside:
        assert -frequency in outside or abs(frequency) <= acs / 2
    assert len(outside) < 2 or np.diff(outside[outside > 0]).tolist() == [r] * (len(outside[outside > 0]) - 1)


def test_es_x_is_es_y_turned():
    for r in (2, 4, 8):
        rows, columns = mask("es-x", r, (32, 48), acs=2), mask("es-y", r, (48, 32), acs=2)
        assert np.array_equal(rows.samples[0], columns.samples[0].T)
        assert (rows.acs, columns.acs) == ((2, 48), (48, 2))


def test_gaussian_is_as_dense_as_asked():
    made = mask("gaussian", 64, (128, 64), variants=300, deviation=0.2)
    density = made.samples.mean(0)
    down, across = np.meshgrid((np.arange(128) - 64) / 64, (np.arange(64) - 32) / 32, indexing="ij")
    # few samples of many: close to independent draws, so their spread is that of the density
    assert np.sqrt((density * down**2).sum() / density.sum()) == pytest.approx(0.2, rel=0.1)
    assert np.sqrt((density * across**2).sum() / density.sum()) == pytest.approx(0.2, rel=0.1)
    assert abs((density * down).sum() / density.sum()) < 0.01


def test_radial_holds_whole_spokes_and_few_other_samples():
    size = (96, 128)
    down, across = np.meshgrid(np.arange(96) - 48, np.arange(128) - 64, indexing="ij")
    made = mask("radial", 24, size, variants=8)
    for samples in made.samples:
        # by the angle in units of half matrices, which spokes have, folded to half a turn
        angle = np.arctan2(down / 48, across / 64)[samples] % np.pi
        radius = np.hypot(down / 48, across / 64)[samples]
        assert radius.max() < 1.03
        far = np.sort(angle[(radius > 0.5)])
        spokes = np.split(far, np.flatnonzero(np.diff(far) > 0.1) + 1)
        whole = [spoke for spoke in spokes if len(spoke) > 35]
        assert 4 <= len(whole) <= 6
        assert len(far) - sum(map(len, whole)) < 60, "less than a spoke"
    assert made.samples[:, 48, 64].all()
    assert (made.samples[:, 47:50, 63:66].sum((1, 2)) > 6).all(), "spokes cross in the centre"


def test_the_centre_of_k_space_is_measured_even_where_no_spoke_fits():
    assert mask("radial", 256, (64, 32), variants=9).samples[:, 32, 16].all()


def test_variants_and_seeds_are_other_draws():
    for pattern in ("gaussian", "radial"):
        first, second = (mask(pattern, 4, (32, 32), variants=3, seed=seed) for seed in (0, 1))
        assert len({draw.tobytes() for draw in (*first.samples, *second.samples)}) == 6
        assert np.array_equal(mask(pattern, 4, (32, 32)).samples[0], first.samples[0])


def test_a_slice_gets_its_variant_whatever_the_level():
    few, many = (mask("gaussian", r, (32, 32), variants=16, seed=3) for r in (16, 4))
    chosen = []
    for number in range(40):
        one = few.of("volume", number)
        assert one.shape == (32, 32) and np.array_equal(one, few.of("volume", number))
        assert (many.of("volume", number) >= one).all()
        chosen.append([np.array_equal(one, draw) for draw in few.samples].index(True))
    assert len(set(chosen)) > 10
    assert any(not np.array_equal(few.of("other", n), few.of("volume", n)) for n in range(4))


@pytest.mark.parametrize(
    ("pattern", "r", "size", "more", "message"),
    [
        ("es-x", 32, (48, 64), {}, "'acceleration' 32 does not divide 48 rows"),
        ("es-y", 32, (64, 48), {}, "'acceleration' 32 does not divide 48 columns"),
        ("es-y", 32, (64, 16), {}, "'acceleration' 32 does not divide 16 columns"),
        ("es-y", 32, (64, 64), {"acs": 4}, "'acs' 4 takes 4 of the 2 columns"),
        ("gaussian", 7, (32, 32), {}, "'acceleration' 7 does not divide 1024 samples"),
        ("gaussian", 32, (32, 32), {"acs": 6}, "'acs' 6 takes 36 of the 32 samples"),
        ("gaussian", 1, (64, 4), {"acs": 8}, "'acs' 8 is larger than the matrix"),
        ("radial", 3, (32, 32), {}, "'acceleration' 3 does not divide 1024 samples"),
    ],
)
def test_what_cannot_be_exact_is_refused(pattern, r, size, more, message):
    with pytest.raises(UserError, match=message):
        mask(pattern, r, size, **more)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_artefact_round_trip(tmp_path, pattern):
    path = tmp_path / "R.h5"
    made = mask(pattern, 4, (32, 48), acs=0 if pattern == "radial" else 2, seed=5)
    write_exact_mask(path, made)
    back = read_exact_mask(path)
    assert np.array_equal(back.samples, made.samples)
    assert (back.acs, back.settings, back.size) == (made.acs, made.settings, (32, 48))
    first = path.read_bytes()
    write_exact_mask(path, made)
    assert path.read_bytes() == first
    with h5py.File(path) as file:
        assert file.attrs["nominal_acceleration"] == file.attrs["effective_acceleration"] == 4


def change(name, value=None):
    def damage(file):
        place = file if name in file else file.attrs
        del place[name]
        if value is not None:
            place[name] = value

    return damage


@pytest.mark.parametrize(
    ("damage", "field"),
    [
        (change("mask"), "'mask'"),
        (change("acs"), "'acs'"),
        (change("settings"), "'settings'"),
        (change("mask", np.ones((1, 32, 32))), "'mask' must be bool"),
        (change("mask", np.ones((32, 32), bool)), "'mask' must be bool"),
        (change("mask", np.ones((2, 32, 32), bool)), "'mask' must be bool with 1 variants"),
        (change("mask", np.ones((1, 32, 32), bool)), "'mask' does not hold one in 4"),
        (change("settings", "{"), "'settings' is not JSON"),
        (change("settings", '{"pattern": "spiral", "acceleration": 4}'), "pattern"),
    ],
)
def test_damaged_artefact(tmp_path, damage, field):
    path = tmp_path / "R4_32x32.h5"
    write_exact_mask(path, mask("gaussian", 4, (32, 32)))
    with h5py.File(path, "r+") as file:
        damage(file)
    with pytest.raises(UserError, match=field) as caught:
        read_exact_mask(path)
    assert str(path) in str(caught.value)


def test_missing_and_truncated_artefact(tmp_path):
    path = tmp_path / "R4_32x32.h5"
    with pytest.raises(UserError, match="no such mask"):
        read_exact_mask(path)
    write_exact_mask(path, mask("radial", 4, (32, 32)))
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(UserError, match=r"R4_32x32\.h5: not a readable HDF5"):
        read_exact_mask(path)
