"""The unrolled network: sizes at the paper's scale, data consistency, coils, baselines as settings of one model."""

import mixtures
import pytest
import torch
from torch import nn

from rekon.config.base import check
from rekon.config.more import ExpertsModel
from rekon.errors import UserError
from rekon.more.network import build, size
from rekon.physics.fft import fft2c

PAPER = {"modalities": {"all": ["AXT1"]}}
DENSE = {"experts": 1, "router": None}
SENSITIVITY = 484_898  # fastMRI's U-Net, 8 channels, 4 pools
WAY_IN, NECK, DECODER, ROUTER = 77_256, 66_310, 104_698, 85_347  # encoder; skips and bottleneck; with 4 experts' gate
CASCADE = {  # learnable numbers of a cascade and how many of them do not work on a sample; the last one is eta.
    # By sums over layers: a CAB of C channels has 18 C^2 + 2 C ceil(C / 4) + 1
    "dense": (DENSE, WAY_IN + NECK + DECODER + 1, 0),
    "prompts": (DENSE | {"prompts": {}, "adaptive": True}, 368_768, 0),  # x 12 = 4.4 M
    "top-1 of 4": ({"router": {"top_k": 1}}, WAY_IN + NECK + 4 * DECODER + ROUTER + 1, 3 * DECODER),
    "top-2 of 4": ({}, WAY_IN + NECK + 4 * DECODER + ROUTER + 1, 2 * DECODER),
    "top-2 of 7": ({"experts": 7}, WAY_IN + NECK + 7 * DECODER + ROUTER + 3 * 32 + 1, 5 * DECODER),
    "whole experts": ({"whole_experts": True}, WAY_IN + 4 * (NECK + DECODER) + ROUTER + 1, 2 * (NECK + DECODER)),
}


def paper(delta):
    return check(ExpertsModel, PAPER | delta, "test")


@pytest.fixture(params=mixtures.DELTAS)
def name(request):
    return request.param


# --- sizes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", CASCADE)
def test_paper_size_parameters(run):
    delta, total, idle = CASCADE[run]
    with torch.device("meta"):
        counted = size(build(paper(delta | {"cascades": 1}), (320, 320)))
    assert counted == (total + SENSITIVITY, total + SENSITIVITY - idle)


def test_paper_size_network():
    with torch.device("meta"):
        network = build(paper({"experts": 4}), (320, 320))
        assert size(network) == (8_257_370, 5_744_618) and len(network.routers) == 12
        dense = build(paper(DENSE), (320, 320))
        assert size(dense).total == 12 * CASCADE["dense"][1] + SENSITIVITY == 3_464_078
        kspace = torch.empty(2, 3, 320, 320, dtype=torch.complex64)
        image = dense(kspace, torch.empty(1, 320, dtype=torch.bool)).image
    assert image.shape == (2, 320, 320) and image.dtype == torch.float32


def test_prompts_never_learn():
    with torch.device("meta"):
        network = build(paper(CASCADE["prompts"][0] | {"cascades": 1}), (320, 320))
    assert sum(buffer.numel() for buffer in network.buffers()) == 5 * (6 * 64**2 + 12 * 32**2 + 18 * 16**2)


@pytest.mark.parametrize(("top_k", "widths"), [(1, [19, 23, 28, 32]), (2, [20, 26, 32, 38])])
def test_dense_network_with_as_many_parameters_as_more_activates(top_k, widths):
    with torch.device("meta"):
        active = size(build(paper({"router": {"top_k": top_k}, "cascades": 1}), (320, 320))).active
        dense = size(build(paper(DENSE | {"widths": widths, "cascades": 1}), (320, 320))).total
    assert dense - SENSITIVITY == pytest.approx(active - SENSITIVITY, rel=0.006)


def test_there_are_no_normalisation_layers_in_the_denoisers():
    for cascade in mixtures.network().cascades:
        kinds = {type(part) for part in cascade.modules()}
        assert not kinds & {nn.InstanceNorm2d, nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm}


@pytest.mark.parametrize(
    ("delta", "text"),
    [
        ({"experts": 1}, "'router' belongs to"),
        ({"router": None}, "'router' belongs to"),
        ({"router": {"top_k": 5}}, "'router.top_k' 5 must not exceed 'experts' 4"),
        ({"widths": [16, 20]}, "'encoder' needs 1 numbers"),
        ({"prompts": {"sizes": [8]}}, "'prompts' needs 3 'channels' and 'sizes'"),
        ({"modalities": {"a": ["AXT1"], "b": ["AXT1"]}}, "'AXT1' belongs to two"),
        ({"loss": {"ssim": 0.0}}, "must be above 0"),
    ],
)
def test_settings_that_cannot_be(delta, text):
    with pytest.raises(UserError, match=text):
        paper(delta)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match=r"model\.sensitivity\.pools 4"):
        build(paper({}), (24, 24))
    with pytest.raises(UserError, match=r"model\.widths has 4 levels"):
        build(paper({"sensitivity": {"channels": 2, "pools": 1}}), (12, 32))


# --- what every network does --------------------------------------------------------------------------------------


def test_silent_denoisers_leave_gradient_descent_on_the_data(name):
    network, (kspace, mask) = mixtures.network(name).eval(), mixtures.scan()
    for unet in network.unets:
        for decoder in unet.decoders:
            nn.init.zeros_(decoder.last.weight)
    for cascade, eta in zip(network.cascades, (0.5, 0.25), strict=True):
        nn.init.constant_(cascade.eta, eta)
    with torch.no_grad():
        maps = network.sensitivity(kspace, mask[:, None, None])
        adjoint = (maps.conj() * torch.fft.fftshift(
            torch.fft.ifft2(torch.fft.ifftshift(kspace, dim=(-2, -1)), norm="ortho"), dim=(-2, -1)
        )).sum(1)  # fmt: skip
        x = adjoint
        for eta in (0.5, 0.25):
            gradient = (maps.conj() * torch.fft.fftshift(
                torch.fft.ifft2(torch.fft.ifftshift(fft2c(maps * x[:, None]) * mask[:, None, None], dim=(-2, -1)),
                                norm="ortho"), dim=(-2, -1)
            )).sum(1) - adjoint  # fmt: skip
            x = x - eta * gradient
        torch.testing.assert_close(network(kspace, mask).image, x.abs(), atol=1e-5, rtol=1e-4)


def test_unsampled_values_are_never_seen(name):
    network, (kspace, mask) = mixtures.network(name).eval(), mixtures.scan()
    assert torch.equal(network(kspace + 7 * ~mask, mask).image, network(kspace, mask).image)


def test_a_scan_times_a_number_is_an_image_times_it(name):
    network, (kspace, mask) = mixtures.network(name).eval(), mixtures.scan()
    torch.testing.assert_close(network(64 * kspace, mask).image, 64 * network(kspace, mask).image, rtol=1e-3, atol=1e-3)


def test_coils_without_data_give_nothing_and_disturb_nothing(name):
    network, (kspace, mask) = mixtures.network(name), mixtures.scan()
    padded = torch.cat([kspace, torch.zeros_like(kspace[:, :2])], dim=1)
    torch.testing.assert_close(network(padded, mask).image, network(kspace, mask).image, atol=1e-5, rtol=1e-5)
    image = network(torch.zeros_like(kspace), mask).image
    image.sum().backward()
    assert image.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


def test_slices_of_a_batch_do_not_see_each_other(name):
    network, (kspace, mask) = mixtures.network(name).eval(), mixtures.scan()
    noise = torch.randn(3, len(network.routers), 3, generator=torch.Generator().manual_seed(3))
    noise = noise if network.routers else None
    together = network(kspace, mask, noise).image
    for row in range(3):
        alone = network(kspace[row : row + 1], mask, None if noise is None else noise[row : row + 1]).image
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-5, rtol=1e-5)


def test_matrix_need_be_no_multiple_of_anything(name):
    kspace, mask = mixtures.scan()
    assert mixtures.network(name)(kspace[..., :26, :30], mask[:, :30]).image.shape == (3, 26, 30)


def test_every_parameter_is_trained_when_every_expert_works(name):
    network = mixtures.network(name, **({"router": {"top_k": 3}} if name in ("more", "network") else {}))
    noise = 9 * torch.eye(3)[:, None].expand(3, 2, 3) if name == "one" else None  # a sample for each
    network(*mixtures.scan(), noise).image.square().mean().backward()
    # one hidden unit, as narrow as the attention is here, may be silent for a whole batch
    trained = {key: value for key, value in network.named_parameters() if ".attention." not in key}
    assert [key for key, value in trained.items() if value.grad is None or not value.grad.any()] == []


def test_the_latent_image_is_handed_on():
    network = mixtures.network("prompted")
    seen = []
    for cascade in network.cascades:
        cascade.register_forward_hook(lambda _, inputs, output: seen.append((inputs[1], output[1])))
    network(*mixtures.scan())
    (first_in, first_out), (second_in, _) = seen
    assert torch.equal(second_in, first_out) and not torch.equal(first_in, first_out)


def test_autocast_keeps_image_and_routing_in_single_precision():
    network, (kspace, mask) = mixtures.network().eval(), mixtures.scan()
    precise = network(kspace, mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = network(kspace, mask)
    assert half.image.dtype == half.routes[0].logits_MN.dtype == half.routes[0].inputs.dtype == torch.float32
    router, embedding = network.routers[0], torch.randn(5, 6)
    logits = router.logits(embedding)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(router.logits(embedding), logits), "the gate is not rounded"
    torch.testing.assert_close(half.image, precise.image, atol=0.05 * precise.image.max().item(), rtol=0.1)
