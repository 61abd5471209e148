"""LPIPS and DISTS with made-up weights: values by hand, parity with other people's code where it is installed."""

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from rekon import safetensors
from rekon.errors import UserError
from rekon.evaluation.likeness import Perceptual
from rekon.evaluation.perceptual import DISTS, LPIPS
from rekon.evaluation.perceptual.dists import C1, L2Pool
from rekon.evaluation.perceptual.features import MaxPool

ALEXNET = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}
STAGES = ((64, (0, 2)), (128, (5, 7)), (256, (10, 12, 14)), (512, (17, 19, 21)), (512, (24, 26, 28)))
HEADS = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}


def vgg16_shapes() -> dict[int, tuple[int, int, int]]:
    shapes, before = {}, 3
    for channels, layers in STAGES:
        for layer in layers:
            shapes[layer] = (channels, before, 3)
            before = channels
    return shapes


def weights(shapes: dict[int, tuple[int, int, int]], seed: int | None) -> OrderedDict:
    """State dict of zeros (seed None), or of random numbers that keep activations' size."""
    random = torch.Generator().manual_seed(seed or 0)
    found = OrderedDict()
    for layer, (after, before, side) in shapes.items():
        weight, bias = torch.zeros(after, before, side, side), torch.zeros(after)
        if seed is not None:
            weight.normal_(0, (2 / (before * side**2)) ** 0.5, generator=random)
            bias.normal_(0, 0.1, generator=random)
        found |= {f"features.{layer}.weight": weight, f"features.{layer}.bias": bias}
    return found


def heads(network: str, seed: int) -> OrderedDict:
    random = torch.Generator().manual_seed(seed)
    sizes = enumerate(HEADS[network])
    return OrderedDict((f"lin{k}.model.1.weight", torch.rand(1, n, 1, 1, generator=random)) for k, n in sizes)


def alpha_beta(seed: int) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return {name: torch.rand(1, 1475, 1, 1, generator=random) for name in ("alpha", "beta")}


def picture(seed: int, size: int = 48, batch: int = 2) -> torch.Tensor:
    """Smooth and less smooth structure in [0, 1], (batch, 3, size, size)."""
    noise = torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(seed))
    return 0.5 * F.avg_pool2d(noise, 9, 1, 4) + 0.5 * noise


@dataclass
class Files:
    """Paths of the backbones by name, and what was written to them."""

    paths: dict[str, Path]
    content: dict[str, OrderedDict]


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Files:
    """All five, filled with random numbers."""
    content = {
        "alexnet": weights(ALEXNET, 1), "vgg16": weights(vgg16_shapes(), 2), "lpips-alex": heads("alex", 3),
        "lpips-vgg": heads("vgg", 4), "dists": alpha_beta(5),
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("backbones")
    paths = {name: folder / f"{name}.safetensors" for name in content}
    for name, tensors in content.items():
        safetensors.write(paths[name], tensors, {})
    return Files(paths, content)


def lpips(files: Files, network: str) -> LPIPS:
    return LPIPS(network, files.paths["alexnet" if network == "alex" else "vgg16"], files.paths[f"lpips-{network}"])


def dists(files: Files) -> DISTS:
    return DISTS(files.paths["vgg16"], files.paths["dists"])


METRICS = {
    "lpips_alex": lambda files: lpips(files, "alex"), "lpips_vgg": lambda files: lpips(files, "vgg"), "dists": dists,
}  # fmt: skip


@pytest.mark.parametrize("name", METRICS)
def test_zero_for_equal_images_positive_for_others_and_symmetric(files, name):
    metric, one, other = METRICS[name](files), picture(0), picture(1)
    assert torch.equal(metric(one, one), torch.zeros(2))
    distance = metric(one, other)
    assert distance.shape == (2,) and (distance > 0.01).all()
    torch.testing.assert_close(metric(other, one), distance)
    torch.testing.assert_close(metric(one[:1], other[:1]), distance[:1])  # images of a batch know nothing of each other
    assert (metric(one, 0.9 * one + 0.1 * other) < distance).all()


@pytest.mark.parametrize("name", METRICS)
def test_gradients_reach_the_image_and_stay_finite_where_it_is_flat(files, name):
    metric = METRICS[name](files).train()  # nothing in it trains
    one, other = picture(0, 40, 1), picture(1, 40, 1)
    one[..., :20] = other[..., :20] = 0
    one.requires_grad_(True)
    metric(one, other).sum().backward()
    assert torch.isfinite(one.grad).all() and one.grad.abs().max() > 0
    assert not any(parameter.requires_grad for parameter in metric.parameters())


def test_lpips_by_hand(tmp_path):
    """First layer: channel 0 the scaled red, channel 1 one. What is behind it is zero, and adds nothing."""
    content = weights(ALEXNET, None)
    content["features.0.weight"][0, 0, 5, 5] = 1.0
    content["features.0.bias"][1] = 1.0
    own = {name: torch.ones_like(value) for name, value in heads("alex", 0).items()}
    own["lin0.model.1.weight"][0, :2, 0, 0] = torch.tensor([2.0, 3.0])
    safetensors.write(tmp_path / "net.safetensors", content, {})
    safetensors.write(tmp_path / "own.safetensors", own, {})
    metric = LPIPS("alex", tmp_path / "net.safetensors", tmp_path / "own.safetensors")
    reds = (0.4, 0.9)
    distance = metric(*(torch.full((1, 3, 48, 48), red) for red in reds))
    a, b = ((red + 0.030) / 0.458 for red in reds)
    first = 2.0 * (a / np.hypot(a, 1) - b / np.hypot(b, 1)) ** 2
    second = 3.0 * (1 / np.hypot(a, 1) - 1 / np.hypot(b, 1)) ** 2
    assert float(distance) == pytest.approx(first + second, rel=1e-5)


def test_dists_by_hand(tmp_path):
    """Flat images: nothing varies, so only means count; the network sees nothing but ones in its first channel."""
    content, own = weights(vgg16_shapes(), None), alpha_beta(0)
    for tensor in own.values():
        tensor.zero_()
    content["features.0.bias"][0] = 1.0
    content["features.2.weight"][0, 0, 1, 1] = 1.0
    own["alpha"][0, :3] = 1.0  # the image's channels
    own["alpha"][0, 3] = 4.0  # ReLU 1_2's first, equal for both
    own["beta"][0, :3] = 1.0
    safetensors.write(tmp_path / "net.safetensors", content, {})
    safetensors.write(tmp_path / "own.safetensors", own, {})
    metric = DISTS(tmp_path / "net.safetensors", tmp_path / "own.safetensors")
    x, y = 0.2, 0.6
    distance = metric(torch.full((1, 3, 32, 32), x), torch.full((1, 3, 32, 32), y))
    likeness = (2 * x * y + C1) / (x**2 + y**2 + C1)
    assert float(distance) == pytest.approx(3 / 10 * (1 - likeness), rel=1e-4)


def test_dists_correlation_by_hand(tmp_path):
    """An image and its negative around the same mean: correlation -1 in the image's own channels."""
    own = alpha_beta(0)
    for tensor in own.values():
        tensor.zero_()
    own["beta"][0, :3] = 1.0
    safetensors.write(tmp_path / "net.safetensors", weights(vgg16_shapes(), None), {})
    safetensors.write(tmp_path / "own.safetensors", own, {})
    one = picture(3, 32, 1)
    negative = 2 * one.mean((2, 3), keepdim=True) - one
    metric = DISTS(tmp_path / "net.safetensors", tmp_path / "own.safetensors")
    assert float(metric(one, negative)) == pytest.approx(2, abs=1e-3)


@pytest.mark.parametrize(("side", "size"), [(2, (7, 8)), (2, (2, 3)), (3, (7, 8)), (3, (15, 3))])
def test_pooling_is_the_librarys(side, size):
    image = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0), requires_grad=True)
    own, library = MaxPool(side)(image), F.max_pool2d(image, side, 2)
    assert torch.equal(own, library)
    gradients = [torch.autograd.grad((result**3).sum(), image)[0] for result in (own, library)]
    torch.testing.assert_close(*gradients)


def test_l2_pooling_keeps_the_energy_of_a_flat_image():
    flat = torch.full((1, 2, 9, 9), 3.0)
    torch.testing.assert_close(L2Pool(2)(flat)[..., 1:-1, 1:-1], torch.full((1, 2, 3, 3), 3.0))
    assert L2Pool(2)(flat).shape == (1, 2, 5, 5)


def test_no_network_draws_from_the_global_generator(files):
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    for build in METRICS.values():
        build(files)
    assert torch.equal(torch.rand(1), expected)


def test_wrong_files_are_named(files, tmp_path):
    with pytest.raises(
        UserError, match=r"alexnet\.safetensors: tensor 'features\.0\.weight' is \(64, 3, 11, 11\), not"
    ):
        LPIPS("vgg", files.paths["alexnet"], files.paths["lpips-vgg"])
    with pytest.raises(UserError, match=r"lpips-vgg\.safetensors: tensor 'alpha' is missing.*fetch-backbone'\.$"):
        DISTS(files.paths["vgg16"], files.paths["lpips-vgg"])
    with pytest.raises(UserError, match="no such file"):
        LPIPS("alex", tmp_path / "absent.safetensors", files.paths["lpips-alex"])


# --- magnitude slices -------------------------------------------------------------------------------------------


def magnitude(seed: int, shape: tuple[int, int] = (40, 48)) -> np.ndarray:
    return np.random.default_rng(seed).random(shape).astype(np.float32)


def test_slices_are_scaled_bounded_and_shown_to_all_three_channels(files):
    measure = Perceptual(list(METRICS), files.paths)
    target, made = magnitude(0), magnitude(1)
    values, reason = measure(5 * target, 5 * made, 5.0)
    assert reason == "" and list(values) == list(METRICS)
    x, y = (torch.from_numpy(image).expand(1, 3, -1, -1) for image in (target, made))
    for name, build in METRICS.items():
        a, b = (x, y) if name == "dists" else (2 * x - 1, 2 * y - 1)
        assert values[name] == pytest.approx(float(build(files)(a, b)), rel=1e-5)
    brighter = made.copy()
    brighter[made > 0.9] = 7
    bounded, _ = measure(target, brighter, 1.0)
    assert bounded == measure(target, np.minimum(brighter, 1), 1.0)[0]


def test_absent_backbones_and_small_images_give_reasons_instead_of_numbers(files):
    paths = {name: path for name, path in files.paths.items() if name not in ("lpips-alex", "dists")}
    values, reason = Perceptual(["dists", "lpips_vgg", "lpips_alex"], paths)(magnitude(0), magnitude(1), 1.0)
    assert list(values) == ["lpips_vgg"]
    assert reason == "dists: pretrained dists not there; lpips_alex: pretrained lpips-alex not there"
    small = magnitude(0, (30, 40))
    values, reason = Perceptual(["lpips_alex", "lpips_vgg"], files.paths)(small, small, 1.0)
    assert values == {"lpips_vgg": 0.0}
    assert reason == "lpips_alex: an image of 30 x 40 is smaller than the 31 pixels needed"
    assert Perceptual([], {})(small, small, 1.0) == ({}, "")


@pytest.mark.parametrize(("name", "smallest"), [("lpips_alex", 31), ("lpips_vgg", 16), ("dists", 16)])
def test_smallest_images(files, name, smallest):
    metric = METRICS[name](files)
    assert metric.smallest == smallest
    assert torch.isfinite(metric(*(picture(seed, smallest, 1) for seed in (0, 1)))).all()
    if name != "dists":  # whose pooling pads
        with pytest.raises(RuntimeError):
            metric(*(picture(seed, smallest - 1, 1) for seed in (0, 1)))


# --- parity -----------------------------------------------------------------------------------------------------


def torchvision_features(network, content: OrderedDict) -> None:
    """Fill the convolutions of somebody's AlexNet or VGG16, in their order, with ours."""
    convolutions = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)]
    ours = list(content.values())
    assert len(convolutions) == len(ours) // 2
    for module, weight, bias in zip(convolutions, ours[::2], ours[1::2], strict=True):
        module.load_state_dict({"weight": weight, "bias": bias})


@pytest.mark.parametrize("network", ["alex", "vgg"])
def test_parity_with_lpips(files, network):
    reference = pytest.importorskip("lpips").LPIPS(net=network, pretrained=False, pnet_rand=True, verbose=False).eval()
    torchvision_features(reference.net, files.content["alexnet" if network == "alex" else "vgg16"])
    for key, weight in files.content[f"lpips-{network}"].items():
        reference.get_submodule(key.removesuffix(".weight")).load_state_dict({"weight": weight})
    one, other = (2 * picture(seed) - 1 for seed in (0, 1))
    expected = reference(one, other).flatten()
    torch.testing.assert_close(lpips(files, network)(one, other), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("network", ["alex", "vgg"])
def test_parity_with_torchmetrics_lpips(files, network):
    module = pytest.importorskip("torchmetrics.functional.image.lpips")
    reference = module._LPIPS(pretrained=False, net=network, pnet_rand=True, eval_mode=True)
    torchvision_features(reference.net, files.content["alexnet" if network == "alex" else "vgg16"])
    for key, weight in files.content[f"lpips-{network}"].items():
        reference.get_submodule(key.removesuffix(".weight")).load_state_dict({"weight": weight})
    one, other = (2 * picture(seed) - 1 for seed in (0, 1))
    expected = reference(one, other).flatten()
    # its own epsilon lies under the root, where it weighs more
    torch.testing.assert_close(lpips(files, network)(one, other), expected, rtol=1e-4, atol=1e-6)


def test_parity_with_dists_pytorch(files, monkeypatch):
    models = pytest.importorskip("torchvision.models")
    module = pytest.importorskip("DISTS_pytorch.DISTS_pt")
    vgg16 = models.vgg16
    monkeypatch.setattr(module.models, "vgg16", lambda pretrained: vgg16(weights=None))
    reference = module.DISTS(load_weights=False)
    torchvision_features(reference, files.content["vgg16"])
    reference.alpha.data, reference.beta.data = (files.content["dists"][name] for name in ("alpha", "beta"))
    one, other = picture(0), picture(1)
    torch.testing.assert_close(dists(files)(one, other), reference(one, other).detach(), rtol=1e-4, atol=1e-6)


def test_parity_with_piq_dists(files, monkeypatch):
    module = pytest.importorskip("piq.perceptual")
    network = module.vgg16(weights=None)
    torchvision_features(network.features, files.content["vgg16"])
    monkeypatch.setattr(module, "vgg16", lambda **_: network)
    total = sum(tensor.sum() for tensor in files.content["dists"].values())
    stored = {name: tensor / total for name, tensor in files.content["dists"].items()}
    monkeypatch.setattr(module.torch.hub, "load_state_dict_from_url", lambda *_, **__: stored)
    reference = module.DISTS(reduction="none")
    one, other = picture(0), picture(1)
    torch.testing.assert_close(dists(files)(one, other), reference(one, other).flatten(), rtol=1e-4, atol=1e-6)
