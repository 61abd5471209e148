import cohort
import pytest
import torch

from rekon.config.sampling import PATTERNS
from rekon.errors import UserError
from rekon.nas.inputs import Hierarchy, combine, pattern_of, read_masks
from rekon.physics.coils import coil_combine
from rekon.physics.fft import fft2c, ifft2c
from rekon.physics.patterns import write_exact_mask


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return cohort.volumes(tmp_path_factory.mktemp("volumes"))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_levels_go_from_few_samples_to_the_image_itself(manifest, pattern):
    hierarchy = cohort.hierarchy(manifest)
    levels = hierarchy.levels(4, pattern)
    assert (levels.shape, levels.dtype) == ((6, 32, 32), torch.complex64)
    x, maps = hierarchy.images.image(4), hierarchy.images.sensitivities(4)
    assert torch.equal(levels[-1], x)
    errors = [(level - x).abs().square().mean().item() for level in levels]
    assert errors == sorted(errors, reverse=True), "every level knows what the one before knows"
    # against the definition, coil by coil
    mask = torch.from_numpy(hierarchy.masks[pattern, 8].of("volume_1", 1))
    expected = sum(coil.conj() * ifft2c(fft2c(coil * x) * mask) for coil in maps)
    torch.testing.assert_close(levels[2], expected, atol=1e-6, rtol=0)
    assert torch.equal(hierarchy.measured(4, pattern), levels[0])
    assert torch.equal(hierarchy.pair(4, pattern), levels[[0, -1]])


def test_what_the_scanner_would_measure_gives_the_first_level(manifest):
    hierarchy = cohort.hierarchy(manifest)
    example = hierarchy.images.item(7)
    mask = hierarchy.mask(7, "radial", 32)
    measured = example.kspace * mask
    maps = hierarchy.images.maps(example)
    torch.testing.assert_close(combine(measured, mask, maps), hierarchy.measured(7, "radial"), atol=1e-6, rtol=0)
    torch.testing.assert_close(combine(measured, mask, maps), coil_combine(ifft2c(measured), maps), atol=1e-6, rtol=0)
    assert torch.equal(combine(example.kspace, mask, maps), combine(measured, mask, maps))
    columns = torch.arange(32) % 2 == 0
    assert torch.equal(combine(example.kspace, columns, maps), combine(example.kspace, columns.expand(32, 32), maps))
    together = combine(example.kspace.expand(2, -1, -1, -1), mask, maps)
    torch.testing.assert_close(together, combine(measured, mask, maps).expand(2, -1, -1))


def test_measured_maximum_needs_nothing_else(manifest):
    reference, measured = (cohort.hierarchy(manifest, name) for name in ("reference_max", "measured_max"))
    for pattern in PATTERNS:
        ours, theirs = measured.levels(0, pattern), reference.levels(0, pattern)
        assert ours[0].abs().max().item() == pytest.approx(1, abs=1e-6)
        torch.testing.assert_close(ours * theirs[0].abs().max(), theirs)
        assert torch.equal(measured.measured(0, pattern), ours[0])
        assert torch.equal(measured.pair(0, pattern), ours[[0, -1]])
        assert theirs[-1].abs().max().item() == pytest.approx(1, abs=1e-6)


def test_an_empty_slice_is_zero_at_all_levels(manifest, monkeypatch):
    hierarchy = cohort.hierarchy(manifest, "measured_max")
    monkeypatch.setattr(hierarchy.images, "image", lambda index: torch.zeros(32, 32, dtype=torch.complex64))
    assert torch.equal(hierarchy.levels(0, "gaussian"), torch.zeros(6, 32, 32, dtype=torch.complex64))


def test_levels_of_a_run_may_be_fewer(manifest):
    hierarchy = cohort.hierarchy(manifest, patterns=("es-y",), accelerations=(8, 2), evaluated=(8,), acs={"es-y": 2})
    assert hierarchy.levels(0, "es-y").shape == (3, 32, 32)
    assert hierarchy.mask(0, "es-y", 8).sum() == 128


def test_masks_follow_slice_and_variant(manifest):
    hierarchy = cohort.hierarchy(manifest, variants=8)
    drawn = {hierarchy.mask(index, "gaussian", 32).numpy().tobytes() for index in range(len(hierarchy))}
    assert len(drawn) > 3
    assert torch.equal(
        hierarchy.mask(3, "gaussian", 32), cohort.hierarchy(manifest, variants=8).mask(3, "gaussian", 32)
    )


def test_pattern_of_an_item_at_a_step():
    drawn = [pattern_of(1, step, 5, PATTERNS) for step in range(400)]
    assert drawn == [pattern_of(1, step, 5, PATTERNS) for step in range(400)]
    assert all(70 < drawn.count(pattern) < 130 for pattern in PATTERNS)
    assert drawn != [pattern_of(2, step, 5, PATTERNS) for step in range(400)]
    assert drawn != [pattern_of(1, step, 6, PATTERNS) for step in range(400)]
    assert pattern_of(1, 2, 3, ("radial",)) == "radial"


def test_masks_are_read_from_their_artefacts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sampling = cohort.sampling()
    with pytest.raises(UserError, match=r"data/masks/es-x-a0/R32_32x32\.h5: no such mask file"):
        read_masks(sampling, (32, 32))
    for mask in cohort.masks(sampling).values():
        write_exact_mask(mask.settings.path((32, 32)), mask)
    masks = read_masks(sampling, (32, 32))
    assert list(masks) == [(pattern, r) for pattern in PATTERNS for r in (32, 16, 8, 4, 2)]
    for place, mask in cohort.masks(sampling).items():
        assert (masks[place].samples == mask.samples).all()
    other = cohort.masks(sampling)["radial", 16]
    write_exact_mask(sampling.mask("radial", 8).path((32, 32)), other)
    with pytest.raises(UserError, match=r"R8_32x32\.h5: holds another mask"):
        read_masks(sampling, (32, 32))


def test_masks_of_another_matrix_are_refused(manifest):
    sampling = cohort.sampling()
    with pytest.raises(UserError, match=r"R32_64x64\.h5 is not for the matrix \(32, 32\)"):
        Hierarchy(cohort.images(manifest), sampling, cohort.masks(sampling, (64, 64)), "reference_max")
