"""The unrolled network: sensitivity maps once, then cascades of data consistency and denoising (Eq. 2).

Complex images are complex64 (M, H, W), of M samples; coil images and maps (M, coil, H, W).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from rekon.config.more import ExpertsModel
from rekon.errors import UserError
from rekon.more.experts import ExpertUnet
from rekon.more.router import Route, Router
from rekon.nn.channels import as_channels, as_complex
from rekon.nn.sensitivity import SensitivityNetwork, broadcast_mask
from rekon.nn.unet import NormUnet
from rekon.physics.fft import fft2c, ifft2c


class Output(NamedTuple):
    """A reconstruction, and how its samples went."""

    image: Tensor  # float32 (M, H, W)
    routes: list[Route]  # of every router, in order; none without experts


def build(model: ExpertsModel, size: tuple[int, int]) -> UnrolledExperts:
    """The network for images of `size` = (H, W); UserError where they are too small for its levels."""
    if min(size) < 2 ** (model.sensitivity.pools + 1):
        raise UserError(
            f"model.sensitivity.pools {model.sensitivity.pools} is too many for data.size {tuple(size)}; take fewer."
        )
    if min(size) < 2 ** len(model.widths):
        raise UserError(f"model.widths has {len(model.widths)} levels, too many for data.size {tuple(size)}.")
    return UnrolledExperts(model)


class UnrolledExperts(nn.Module):
    """MoRE and, with one expert, the dense networks that it is held against."""

    def __init__(self, model: ExpertsModel) -> None:
        super().__init__()
        unet = NormUnet(model.sensitivity.channels, model.sensitivity.pools)
        self.sensitivity = SensitivityNetwork(unet, model.sensitivity.start)
        routing = [
            model.router is not None and (t == 0 or model.router.scope == "cascade") for t in range(model.cascades)
        ]
        self.cascades = nn.ModuleList(Cascade(model, routes) for routes in routing)

    @property
    def routers(self) -> list[Router]:
        """Every router, in the order of `Output.routes`."""
        return [router for unet in self.unets if (router := unet.router) is not None]

    @property
    def unets(self) -> list[ExpertUnet]:
        """The denoisers, one per cascade."""
        return [cascade.denoiser.unet for cascade in self.cascades]  # type: ignore[union-attr, misc]

    def forward(self, kspace: Tensor, mask: Tensor, noise: Tensor | None = None) -> Output:
        """Undersampled k-space complex64 (M, coil, H, W) and its mask, bool (M or 1, W) or (M or 1, H, W).

        noise: float32 (M, routers, experts), added to the gates where experts are chosen; None: the best are.
        The image is the magnitude that maps of RSS 1 make the root sum of squares over coils.
        """
        mask = broadcast_mask(mask)
        measured = kspace * mask  # what is not sampled must not be seen, whatever the caller left there
        maps = self.sensitivity(measured, mask)
        zero_filled = reduce(measured, maps)
        x = latent = zero_filled
        route: Route | None = None
        routes: list[Route] = []
        for cascade in self.cascades:
            assert isinstance(cascade, Cascade)
            routed = cascade.denoiser.unet.router is not None
            own = noise[:, len(routes)] if noise is not None and routed else None
            x, latent, route = cascade(x, latent, zero_filled, maps, mask, own, route)
            if routed:
                assert route is not None
                routes.append(route)
        return Output(x.abs(), routes)


class Cascade(nn.Module):
    """x <- x - eta A* (A x - y) + D(x) (Eq. 2), A being coil sensitivities, Fourier transform and sampling."""

    def __init__(self, model: ExpertsModel, routes: bool) -> None:
        super().__init__()
        self.adaptive = model.adaptive
        self.denoiser = Denoiser(model, routes)
        self.eta = nn.Parameter(torch.tensor(1.0))

    def forward(
        self,
        x: Tensor,
        latent: Tensor,
        zero_filled: Tensor,
        maps: Tensor,
        mask: Tensor,
        noise_MN: Tensor | None,
        route: Route | None,
    ) -> tuple[Tensor, Tensor, Route | None]:
        """zero_filled: A* y. Returns the next estimate and latent image, and the route that was taken."""
        seen = reduce(fft2c(maps * x[:, None]) * mask, maps)  # A* A x
        residual = seen - zero_filled
        images = [x, seen, latent, zero_filled] if self.adaptive else [x]
        (correction, *rest), route = self.denoiser(images, [residual] if self.adaptive else [], noise_MN, route)
        return x - self.eta * residual + correction, rest[0] if rest else latent, route


class Denoiser(nn.Module):
    """D: complex images in, complex images out, the U-Net between them seeing real and imaginary parts as channels.

    What it sees is standardised with the one mean and deviation of the current estimate, real and imaginary parts
    together; what it says is a correction, so that the deviation alone is put back.
    """

    def __init__(self, model: ExpertsModel, routes: bool) -> None:
        super().__init__()
        inputs, outputs = (10, 4) if model.adaptive else (2, 2)
        self.unet = ExpertUnet(model, inputs, outputs, routes)
        self.multiple = 2 ** (len(model.widths) - 1)

    def forward(
        self, images: list[Tensor], differences: list[Tensor], noise_MN: Tensor | None, route: Route | None
    ) -> tuple[list[Tensor], Route | None]:
        """images: the current estimate first; differences: of images, so that they have no mean to take away."""
        estimate = as_channels(images[0])
        deviation, mean = torch.std_mean(estimate, dim=(1, 2, 3), keepdim=True)
        deviation = deviation.clamp_min(torch.finfo(torch.float32).tiny)  # an empty slice stays zero, not NaN
        channels = [(as_channels(image) - mean) / deviation for image in images]
        channels += [as_channels(image) / deviation for image in differences]
        h, w = estimate.shape[-2:]
        up, left = -h % self.multiple // 2, -w % self.multiple // 2
        down, right = -h % self.multiple - up, -w % self.multiple - left
        y, route = self.unet(pad(torch.cat(channels, dim=1), (left, right, up, down)), noise_MN, route)
        y = y[..., up : up + h, left : left + w].float() * deviation
        return [as_complex(part) for part in y.split(2, dim=1)], route


def reduce(kspace: Tensor, maps: Tensor) -> Tensor:
    """A* of sampled k-space: sum over coils of conj(S) F^-1 k, (M, coil, H, W) to (M, H, W)."""
    return (maps.conj() * ifft2c(kspace)).sum(dim=1)


class Size(NamedTuple):
    """Parameters of a network."""

    total: int
    active: int  # of those, what one sample is reconstructed with


def size(network: UnrolledExperts) -> Size:
    """Counts learnable numbers; works on the meta device."""
    total = _count(network)
    idle = 0
    routers = network.routers
    if routers:
        for unet in network.unets:
            experts = [_count(decoder) for decoder in unet.decoders]
            idle += (len(experts) - routers[0].top_k) * experts[0]
    return Size(total, total - idle)


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
