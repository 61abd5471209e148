"""The pieces that every rung's cascades share: soft data consistency, k-space expansion, masks.

Masks inside the networks are bool (B or 1, 1, H or 1, W), so that they broadcast over coils and, if they sample whole
columns, over the readout.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from rekon.nn.unet import Unet
from rekon.nn.vit import Block
from rekon.physics.fft import centre_crop


def soft_dc(kspace: Tensor, measured: Tensor, mask: Tensor, eta: Tensor) -> Tensor:
    """Pull the estimate towards the measured samples: k - eta M (k - k0) (UEPS Eqs. 9, 16).

    kspace, measured: complex (B, C, H, W); mask: bool, broadcastable to them; eta: real scalar, 1 replaces the samples.
    """
    return kspace - eta * torch.where(mask, kspace - measured, 0)


def expand_kspace(kspace: Tensor, measured: Tensor) -> Tensor:
    """Grow k-space: the estimate in the centre, measurements or zeros around it (UEPS Eq. 17).

    kspace: complex (B, C, h, w); measured: complex (B, C, H, W), zero where nothing was sampled. Returns (B, C, H, W).
    The transforms are orthonormal and nothing is rescaled, so an image of h x w pixels has sqrt(H W / (h w)) times the
    amplitude of the same image at H x W (320 / h for the paper's square matrices).
    """
    if kspace.shape[-2:] == measured.shape[-2:]:
        return kspace
    grown = measured.clone()
    centre_crop(grown, (kspace.shape[-2], kspace.shape[-1])).copy_(kspace)
    return grown


def crop_mask(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """The mask (B or 1, 1, H or 1, W) of the central `size` of k-space."""
    return centre_crop(mask, (min(size[0], mask.shape[-2]), size[1]))


def compile_denoisers(network: nn.Module) -> None:
    """torch.compile, in place, where it pays: transformer layers and U-Nets. Parameters keep their names.

    Fourier transforms and complex arithmetic stay outside: the compiler has nothing for them. Layers are alike, so
    the second and later ones reuse the first one's code.
    """
    # one variant per token grid, attention plan, and with or without gradients: more than the default limit of 8
    torch._dynamo.config.recompile_limit = max(64, torch._dynamo.config.recompile_limit)
    for module in network.modules():
        if isinstance(module, Block | Unet):
            module.compile()


@dataclass
class Trace:
    """What a network did on the way (UEPS Figs. 3 and 4); `inspect` makes one."""

    attend_from: tuple[float, float] | None = None  # whose attention is wanted: a place, 0..1 down and 0..1 across
    images: list[Tensor] = field(default_factory=list)  # RSS (B, h, w): before the first cascade and after each
    maps: Tensor | None = None  # coil sensitivity maps, complex64 (B, C, H, W); E2EVarNet only
    attention: list[Tensor] = field(default_factory=list)  # per cascade (B, C, layers, heads, h, w); ViT only


@torch.no_grad()
def inspect(network: nn.Module, kspace: Tensor, mask: Tensor, attend_from: tuple[float, float] | None = None) -> Trace:
    """Run a network of this folder and keep its intermediate images, its coil maps and, if asked, its attention maps.

    kspace, mask: as its `forward` takes them. attend_from: a place in the image as fractions (down, across).
    """
    trace = Trace(attend_from)
    network(kspace, mask, trace)
    return trace


def scalar(value: float = 1.0) -> nn.Parameter:
    """A learnable eta, initially 1."""
    return nn.Parameter(torch.tensor(value))
