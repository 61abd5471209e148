from __future__ import annotations

import numpy as np
import pytest
from conftest_phantom import scanned, small

from rekon.data.phantom.acquire import GRID, brightest, rss
from rekon.data.phantom.grids import centred_image, image_positions, on_plane, spline_matrix, wider
from rekon.data.phantom.tissue import INDEX
from rekon.physics.fft import ifft2c


def tissue_means(scan, names: tuple[str, ...]) -> dict[str, float]:
    """Magnitude of the object where a tissue fills the sample."""
    out = {}
    for name in names:
        pure = scan.tissues[INDEX[name]] > 0.9
        assert pure.sum() > 15, name
        out[name] = float(np.abs(scan.object[pure]).mean())
    return out


def test_t1_shows_white_over_grey_over_csf() -> None:
    mean = tissue_means(scanned("sim-fastmri-brain", 0), ("white", "grey", "csf"))
    assert mean["white"] > 1.1 * mean["grey"]
    assert mean["grey"] > 1.3 * mean["csf"]


def test_contrast_agent_makes_blood_bright() -> None:
    agent, plain = scanned("sim-fastmri-brain", 1), scanned("sim-fastmri-brain", 0)
    for scan, bright in ((agent, True), (plain, False)):
        blood = np.abs(scan.object[scan.tissues[INDEX["blood"]] > 0.8]).mean()
        assert (blood > tissue_means(scan, ("white",))["white"]) == bright


def test_t2_shows_csf_over_grey_over_white() -> None:
    mean = tissue_means(scanned("sim-fastmri-brain", 2), ("white", "grey", "csf"))
    assert mean["csf"] > 1.5 * mean["grey"]
    assert mean["grey"] > 1.2 * mean["white"]


def test_flair_shows_grey_over_white_and_no_csf() -> None:
    mean = tissue_means(scanned("sim-fastmri-brain", 3), ("white", "grey", "csf"))
    assert mean["grey"] > 1.05 * mean["white"]
    assert mean["csf"] < 0.35 * mean["white"]


def test_mprage_shows_white_over_grey_over_csf() -> None:
    mean = tissue_means(scanned("sim-cc359-sag"), ("white", "grey", "csf"))
    assert mean["white"] > 1.3 * mean["grey"] > 1.3 * mean["csf"]


def test_iron_is_dark_in_late_echoes_at_7_tesla() -> None:
    scan = scanned("sim-ahead-e3", slices=4, slice_gap=20.0, matrix=(96, 96), phase_lines=96)
    iron = np.abs(scan.object[scan.tissues[INDEX["iron"]] > 0.5])
    assert iron.size > 10
    assert iron.mean() < 0.9 * tissue_means(scan, ("grey",))["grey"]


def test_fat_saturation_darkens_marrow() -> None:
    plain, saturated = scanned("sim-fastmri-knee", 0), scanned("sim-fastmri-knee", 1)
    assert tissue_means(plain, ("marrow", "muscle"))["marrow"] > tissue_means(plain, ("muscle",))["muscle"]
    assert tissue_means(saturated, ("marrow",))["marrow"] < 0.7 * tissue_means(saturated, ("muscle",))["muscle"]


def test_fractions_are_fractions(every_set: str) -> None:
    tissues = scanned(every_set).tissues
    assert tissues.min() >= 0
    assert tissues.sum(axis=0).max() < 1 + 1e-4


def test_root_sum_of_squares_is_object_times_sensitivity(every_set: str) -> None:
    scan = scanned(every_set)
    measured = rss(centred_image(scan.clean, scan.image.shape[-2]))
    expected = np.abs(scan.image) * rss(scan.maps)
    head = expected > 0.05 * expected.max()
    error = np.linalg.norm((measured - expected)[head]) / np.linalg.norm(expected[head])
    assert 1e-5 < error < 0.06  # close, and not equal: the object is finer than the image


def test_image_is_not_made_by_the_model_that_reconstructs_it() -> None:
    scan = scanned("sim-fastmri-brain")
    coils = centred_image(scan.clean, scan.image.shape[-2])
    error = np.linalg.norm(coils - scan.maps * scan.image[:, None]) / np.linalg.norm(coils)
    assert 1e-4 < error < 0.06
    assert scan.object.shape[-1] >= 2 * scan.image.shape[-1]
    assert not float(GRID).is_integer()


def test_noise_is_as_strong_as_it_says(every_set: str) -> None:
    scan = scanned(every_set)
    noise = (scan.kspace - scan.clean)[..., scan.kspace.shape[-1] // 2]
    assert np.sqrt(np.mean(np.abs(noise) ** 2)) == pytest.approx(scan.noise, rel=0.1)
    assert abs(noise.mean()) < 0.2 * scan.noise
    background = ifft2c(scan.kspace - scan.clean)
    assert np.sqrt(np.mean(np.abs(background) ** 2)) == pytest.approx(scan.noise, rel=0.1)
    assert brightest(scan.image, scan.maps) / scan.noise == pytest.approx(small(every_set).snr, rel=1e-3)


def test_phase_encodes_that_were_not_acquired_are_zero() -> None:
    scan = scanned("sim-fastmri-brain", phase_lines=50)
    acquired = np.abs(scan.kspace).sum(axis=(0, 1, 2)) > 0
    assert np.flatnonzero(acquired).tolist() == list(range(7, 57))


def test_readout_oversampling_keeps_the_neck_from_aliasing() -> None:
    scan = scanned("sim-cc359-sag")
    outside = rss(ifft2c(scan.clean))[:, 96:]  # below the field of view
    truth = np.abs(scan.image) * rss(scan.maps)
    assert outside.max() > 0.1 * truth.max()  # there is a neck
    cropped = rss(centred_image(scan.clean, 64))
    folded = rss(ifft2c(scan.clean[..., ::2, :])) * np.sqrt(2)  # half the readout samples, as without oversampling
    errors = [np.linalg.norm(image - truth) for image in (cropped, folded)]
    assert errors[1] > 4 * errors[0]


def test_splines_carry_smooth_functions() -> None:
    source, target = wider(-1, 1, 20), np.linspace(-1, 1, 101)
    assert np.allclose(spline_matrix(source, target) @ np.cos(3 * source), np.cos(3 * target), atol=2e-3)
    h, w = np.meshgrid(np.arange(40.0), np.arange(30.0), indexing="ij")
    points = np.stack([h, w, 0 * h], axis=-1).astype(np.float32)
    got = on_plane(lambda p: np.sin(p[..., 0] / 15) + p[..., 1], points, 5)
    assert np.allclose(got, np.sin(h / 15) + w, atol=2e-2)


def test_image_positions_put_the_centre_at_half() -> None:
    assert image_positions(8, 16.0).tolist() == [-8, -6, -4, -2, 0, 2, 4, 6]
