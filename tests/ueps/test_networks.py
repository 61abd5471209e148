"""The rungs of Table 2: sizes, data consistency, progressive resolution, coils."""

from pathlib import Path

import pytest
import torch
from torch import nn

from rekon.config import MaskSettings, Study, UnrolledModel
from rekon.config.base import check, load
from rekon.config.sampling import PATTERNS, ExactMaskSettings
from rekon.errors import UserError
from rekon.nn.sensitivity import acs_mask, broadcast_mask
from rekon.nn.unet import Unet
from rekon.nn.vit import ViT
from rekon.physics.coils import rss
from rekon.physics.fft import centre_crop, centre_pad, fft2c, ifft2c
from rekon.physics.masks import make_mask
from rekon.physics.patterns import make_exact_mask
from rekon.recipe import merge
from rekon.ueps.cascade import compile_denoisers, crop_mask, expand_kspace, inspect, soft_dc
from rekon.ueps.unrolled import build
from rekon.ueps.varnet import E2EVarNet

STUDY = load(Study, Path(__file__).parents[2] / "config/studies/ueps.yaml")
PAPER = {
    "e2e-varnet": 115_887_614,
    "ue-unet": 124_097_548,
    "ue-vit": 121_399_812,
    "uep-vit": 121_399_812,
    "ueps": 121_399_812,
}
VIT = {"patch": 4, "width": 16, "layers": 3, "heads": 2, "hidden": 24}
SMALL = {
    "e2e-varnet": {
        "expanded": False, "cascades": 2, "schedule": None, "unet": {"channels": 4, "pools": 2},
        "sensitivity": {"channels": 2, "pools": 2},
    },
    "ue-unet": {"expanded": True, "cascades": 2, "schedule": None, "unet": {"channels": 4, "pools": 2}},
    "ue-vit": {"expanded": True, "cascades": 2, "schedule": None, "vit": VIT},
    "ueps": {"expanded": True, "cascades": 3, "schedule": [8, 16, 32, 32], "vit": VIT | {"rows": 1, "sparse_from": 4}},
}  # fmt: skip
SIZE = (32, 32)


def model(settings) -> UnrolledModel:
    return check(UnrolledModel, settings, "test")


def awake(name, size=SIZE, seed=0):
    """A small rung whose denoisers do something."""
    torch.manual_seed(seed)
    network = build(model(SMALL[name]), size)
    for part in network.modules():
        if isinstance(part, ViT):
            for parameter in part.parameters():
                nn.init.normal_(parameter, std=0.1)
    return network.eval()


def columns(width=SIZE[1]):
    return torch.from_numpy(make_mask(MaskSettings(center_fraction=0.2), width).columns)[None]


def scan(batch=2, coils=3, size=SIZE, seed=1):
    """Undersampled k-space of smooth coil images, and the mask."""
    generator = torch.Generator().manual_seed(seed)
    spectrum = torch.randn(batch, coils, 8, 8, dtype=torch.complex64, generator=generator)
    noise = torch.randn(batch, coils, *size, dtype=torch.complex64, generator=generator)
    mask = columns(size[1])
    return (centre_pad(spectrum, size) + 0.05 * noise) * mask, mask


@pytest.fixture(params=SMALL)
def name(request):
    return request.param


# --- sizes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", PAPER)
def test_paper_size_parameters_and_shapes(run):
    recipe = merge(STUDY.base, STUDY.runs[run].delta)
    with torch.device("meta"):
        network = build(model(recipe["model"]), tuple(recipe["data"]["size"]))
        assert sum(parameter.numel() for parameter in network.parameters()) == PAPER[run]
        kspace = torch.empty(1, 3, 320, 320, dtype=torch.complex64)
        image = network(kspace, torch.empty(1, 320, dtype=torch.bool))
    assert image.shape == (1, 320, 320) and image.dtype == torch.float32


def test_parameters_of_fastmri_varnet():
    with torch.device("meta"):
        assert sum(p.numel() for p in E2EVarNet(12, 18, 4, 8, 4).parameters()) == 29_936_966


def test_rungs_of_the_paper_are_wired_as_published():
    made = {}
    with torch.device("meta"):
        for run in PAPER:
            recipe = merge(STUDY.base, STUDY.runs[run].delta)
            made[run] = build(model(recipe["model"]), (320, 320))
    sides = {run: [size[0] for size in made[run].sizes] for run in PAPER if run != "e2e-varnet"}
    assert sides["ue-unet"] == sides["ue-vit"] == [320] * 5
    assert sides["uep-vit"] == sides["ueps"] == [64, 128, 256, 320, 320]
    device = torch.device("cpu")
    for run, sparse in (("ue-vit", []), ("uep-vit", []), ("ueps", [1, 2, 3])):
        for t, cascade in enumerate(made[run].cascades):
            grid = tuple(n // 8 for n in cascade.size_in)
            rows = [how.rows for how in cascade.denoiser.plans(grid, device)]
            assert rows == ([None, *[1] * 8, None] if t in sparse else [None] * 10)
    assert all(isinstance(cascade.denoiser, Unet) for cascade in made["ue-unet"].cascades)


def test_sampled_lines_at_every_stage():
    mask = broadcast_mask(torch.from_numpy(make_mask(MaskSettings(), 320).columns)[None])
    assert [int(crop_mask(mask, (n, n)).sum()) for n in (64, 128, 256, 320)] == [36, 52, 84, 100]
    region = acs_mask(mask)[0, 0, 0].nonzero().flatten().tolist()
    assert region == list(range(147, 173))  # 26 lines, though line 173 is sampled too


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match=r"model\.schedule ends at 32"):
        build(model(SMALL["ueps"]), (48, 48))
    with pytest.raises(UserError, match=r"model\.vit\.patch 4"):
        build(model(SMALL["ue-vit"]), (30, 30))
    with pytest.raises(UserError, match=r"model\.unet\.pools 2"):
        build(model(SMALL["ue-unet"]), (32, 6))


# --- one cascade's pieces -----------------------------------------------------------------------------------------


def test_soft_dc():
    estimate, measured = torch.randn(2, 1, 2, 4, 6, dtype=torch.complex64)
    mask = broadcast_mask(torch.tensor([[True, False, True, True, False, False]]))
    measured = measured * mask
    one = soft_dc(estimate, measured, mask, torch.tensor(1.0))
    torch.testing.assert_close(one, torch.where(mask, measured, estimate))
    assert torch.equal(soft_dc(estimate, measured, mask, torch.tensor(0.0)), estimate)
    half = soft_dc(estimate, measured, mask, torch.tensor(0.5))
    torch.testing.assert_close(half, torch.where(mask, (measured + estimate) / 2, estimate))


def test_expansion_keeps_the_estimate_and_fills_the_border_with_measurements():
    kspace, _ = scan(size=(24, 20))
    estimate = torch.randn(2, 3, 8, 12, dtype=torch.complex64, requires_grad=True)
    grown = expand_kspace(estimate, kspace)
    assert torch.equal(centre_crop(grown, (8, 12)), estimate)
    border = torch.ones(24, 20, dtype=torch.bool)
    centre_crop(border, (8, 12)).fill_(False)
    assert torch.equal(grown[..., border], kspace[..., border])
    grown.abs().square().sum().backward()
    torch.testing.assert_close(estimate.grad, 2 * estimate.detach())
    assert expand_kspace(kspace, kspace) is kspace


def test_acs_of_a_mask_in_two_dimensions():
    mask = torch.zeros(1, 12, 16, dtype=torch.bool)
    mask[:, 4:8, 5:11] = True  # centre (6, 8): 2 rows and 3 columns on either side
    mask[:, 8, 3] = mask[:, 6, 12] = mask[:, 1, 8] = True
    expected = torch.zeros_like(mask)
    expected[:, 4:8, 5:11] = True
    assert torch.equal(acs_mask(broadcast_mask(mask))[:, 0], expected)


def test_acs_of_spokes_is_the_square_that_they_fill():
    mask = torch.zeros(2, 12, 16, dtype=torch.bool)
    mask[:, 6, 3:14] = mask[:, 1:11, 8] = mask[:, 5:7, 7:9] = True  # a cross, and the four samples around the centre
    mask[1, 5:8, 6:10] = mask[1, 4, 6:9] = True  # one sample, (4, 9), from a full square of four
    expected = torch.zeros_like(mask)
    expected[:, 5:7, 7:9] = True
    assert torch.equal(acs_mask(broadcast_mask(mask))[:, 0], expected)
    mask[1, 4, 9] = True
    expected[1, 4:8, 6:10] = True
    assert torch.equal(acs_mask(broadcast_mask(mask))[:, 0], expected)


def test_acs_is_zero_frequency_where_nothing_beside_it_is_sampled():
    one = torch.zeros(1, 16, dtype=torch.bool)
    one[:, [0, 4, 8, 12]] = True
    assert acs_mask(broadcast_mask(one)).flatten().nonzero().tolist() == [[8]]
    assert acs_mask(broadcast_mask(one & ~one)).flatten().nonzero().tolist() == [[8]]
    nothing = torch.zeros(1, 12, 16, dtype=torch.bool)
    assert acs_mask(broadcast_mask(nothing))[0, 0].nonzero().tolist() == [[6, 8]]
    everything = acs_mask(broadcast_mask(~nothing))
    assert everything.all()


@pytest.mark.parametrize("r", [4, 32])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_in_two_dimensions_calibrate_and_stay_finite(pattern, r):
    acs = {"gaussian": 2, "radial": 0}.get(pattern, 2 if r == 4 else 1)
    settings = ExactMaskSettings(pattern=pattern, acceleration=r, acs=acs)
    mask = torch.from_numpy(make_exact_mask(settings, SIZE).samples)
    region = acs_mask(broadcast_mask(mask))[0, 0]
    assert region[16, 16] and (region <= mask[0]).all()
    assert region.sum() >= {"es-x": 32 * acs, "es-y": 32 * acs, "gaussian": 4, "radial": 4 if r == 4 else 1}[pattern]
    network = awake("e2e-varnet")
    kspace = scan()[0] * mask[:, None]
    image = network(kspace, mask)
    image.sum().backward()
    assert image.isfinite().all() and image.any()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


# --- whole networks -----------------------------------------------------------------------------------------------


def test_before_training_ueps_returns_the_zero_filled_image():
    network = build(model(SMALL["ueps"]), SIZE)
    kspace, mask = scan()
    torch.testing.assert_close(network(kspace, mask), rss(ifft2c(kspace)), atol=1e-5, rtol=1e-5)
    # and every stage the zero-filled image of the centre that it sees, louder by 32 / r
    trace = inspect(network, kspace, mask)
    for image, side in zip(trace.images, (8, 16, 32, 32), strict=True):
        torch.testing.assert_close(image, rss(ifft2c(centre_crop(kspace, (side, side)))), atol=1e-5, rtol=1e-5)
    flat = fft2c(torch.ones(1, 1, *SIZE, dtype=torch.complex64))
    means = [image.mean().item() for image in inspect(network, flat, mask).images]
    assert means == pytest.approx([4, 2, 1, 1], rel=1e-4)


def test_with_eta_one_the_output_agrees_with_the_measurements(name):
    network, (kspace, mask) = awake(name), scan(coils=1)
    # one coil: the last cascade's image is what the magnitude is taken of
    seen = []
    network.cascades[-1].register_forward_hook(lambda module, inputs, output: seen.append(output))
    network(kspace, mask)
    torch.testing.assert_close(fft2c(seen[0]) * mask, kspace, atol=1e-4, rtol=1e-4)
    assert (fft2c(seen[0]) * ~mask).abs().max() > 1e-3  # and the network has filled in the rest


def test_unsampled_values_are_never_seen(name):
    network, (kspace, mask) = awake(name), scan()
    assert torch.equal(network(kspace + 7 * ~mask, mask), network(kspace, mask))


def test_coils_without_data_give_nothing_and_disturb_nothing(name):
    network, (kspace, mask) = awake(name), scan(coils=3)
    padded = torch.cat([kspace, torch.zeros_like(kspace[:, :2])], dim=1)
    torch.testing.assert_close(network(padded, mask), network(kspace, mask), atol=1e-5, rtol=1e-5)
    empty = torch.zeros_like(kspace).requires_grad_()
    image = network(empty, mask)
    image.sum().backward()
    assert (image == 0).all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


def test_order_of_coils_does_not_matter(name):
    network, (kspace, mask) = awake(name), scan(coils=4)
    torch.testing.assert_close(network(kspace[:, [2, 0, 3, 1]], mask), network(kspace, mask), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["ue-unet", "ue-vit", "ueps"])
def test_expanded_networks_reconstruct_every_coil_alone(name):
    network, (kspace, mask) = awake(name), scan(coils=3)
    alone = torch.stack([network(kspace[:, i : i + 1], mask) for i in range(3)], dim=1)
    torch.testing.assert_close(network(kspace, mask), alone.square().sum(1).sqrt(), atol=1e-5, rtol=1e-5)


def test_slices_of_a_batch_do_not_see_each_other(name):
    network, (kspace, mask) = awake(name), scan(batch=3)
    together = network(kspace, mask.expand(3, -1))
    torch.testing.assert_close(together[1:2], network(kspace[1:2], mask), atol=1e-5, rtol=1e-5)


def test_two_dimensional_mask_of_whole_columns_is_the_same(name):
    network, (kspace, mask) = awake(name), scan()
    full = mask[:, None, :].expand(1, *SIZE)
    torch.testing.assert_close(network(kspace, full), network(kspace, mask), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["e2e-varnet", "ue-unet", "ue-vit"])
def test_matrix_need_not_be_square(name):
    size = (24, 40)
    network, (kspace, mask) = awake(name, size), scan(size=size)
    assert network(kspace, mask).shape == (2, *size)


def test_every_parameter_is_trained(name):
    network, (kspace, mask) = awake(name).train(), scan()
    network(kspace, mask).square().mean().backward()
    idle = [key for key, parameter in network.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    # convolutions before an instance norm cannot change its mean; all of ours have no bias, so nothing is idle
    assert idle == []


def test_autocast_keeps_the_transforms_in_single_precision(name, monkeypatch):
    seen = []
    for transform in ("fft2", "ifft2"):
        original = getattr(torch.fft, transform)

        def spy(x, *args, original=original, **options):
            y = original(x, *args, **options)
            seen.append((x.dtype, y.dtype))
            return y

        monkeypatch.setattr(torch.fft, transform, spy)
    network, (kspace, mask) = awake(name), scan()
    precise = network(kspace, mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        image = network(kspace, mask)
    assert set(seen) == {(torch.complex64, torch.complex64)}
    assert image.dtype == torch.float32
    torch.testing.assert_close(image, precise, atol=0.05 * precise.max().item(), rtol=0.1)


def test_inspection_shows_images_maps_and_attention():
    kspace, mask = scan()
    trace = inspect(awake("e2e-varnet"), kspace, mask)
    assert len(trace.images) == 3 and trace.maps.shape == kspace.shape and trace.attention == []
    torch.testing.assert_close(rss(trace.maps), torch.ones(2, *SIZE))
    network = awake("ueps")
    trace = inspect(network, kspace, mask, attend_from=(0.5, 0.99))
    assert trace.maps is None
    assert torch.equal(trace.images[-1], network(kspace, mask))
    assert [tuple(a.shape) for a in trace.attention] == [(2, 3, 3, 2, n, n) for n in (2, 4, 8)]
    last = trace.attention[-1][:, :, 1]  # a sparse layer: query in row 4 of 8
    assert (last[..., [0, 1, 2, 6, 7], :] == 0).all()
    torch.testing.assert_close(last.sum((-2, -1)), torch.ones(2, 3, 2))


def test_untrained_coil_maps_are_constant_where_the_network_is_silent():
    network = awake("e2e-varnet")
    for parameter in network.sensitivity.parameters():
        nn.init.zeros_(parameter)
    kspace, mask = scan(coils=4)
    assert torch.allclose(inspect(network, kspace, mask).maps, torch.tensor(0.5 + 0j))


def test_compiling_marks_layers_and_keeps_names():
    network = awake("ueps")
    names = list(network.state_dict())
    compile_denoisers(network)
    assert list(network.state_dict()) == names
    compiled = [part for part in network.modules() if part._compiled_call_impl is not None]
    assert len(compiled) == 9 and {type(part).__name__ for part in compiled} == {"Block"}
