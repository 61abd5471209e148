"""UE, UEP and UEPS: unrolled networks that reconstruct every coil on its own (UEPS Secs. 3.2-3.4)."""

from __future__ import annotations

from torch import Tensor, nn

from rekon.config import UnrolledModel
from rekon.errors import UserError
from rekon.nn.channels import as_channels, as_complex
from rekon.nn.sensitivity import broadcast_mask, coil_mask
from rekon.nn.unet import Unet
from rekon.nn.vit import ViT
from rekon.physics.coils import rss
from rekon.physics.fft import centre_crop, fft2c, ifft2c
from rekon.ueps.cascade import Trace, crop_mask, expand_kspace, scalar, soft_dc
from rekon.ueps.varnet import E2EVarNet


def build(model: UnrolledModel, size: tuple[int, int]) -> ExpandedNetwork | E2EVarNet:
    """The network of a rung of Table 2 for images of `size` = (H, W).

    Raises UserError where the size does not fit the schedule, the patch or the poolings.
    """
    for unet, key in ((model.unet, "unet"), (model.sensitivity, "sensitivity")):
        if unet and min(size) < 2 ** (unet.pools + 1):
            raise UserError(f"model.{key}.pools {unet.pools} is too many for data.size {tuple(size)}; take fewer.")
    if not model.expanded:
        assert model.unet is not None and model.sensitivity is not None, "rekon.config.UnrolledModel checks this"
        return E2EVarNet(
            model.cascades,
            model.unet.channels,
            model.unet.pools,
            model.sensitivity.channels,
            model.sensitivity.pools,
        )
    sizes = [(n, n) for n in model.schedule] if model.schedule else [size] * (model.cascades + 1)
    if sizes[-1] != tuple(size):
        raise UserError(f"model.schedule ends at {sizes[-1][0]} but data.size is {tuple(size)}; they must agree.")
    if model.vit and any(n % model.vit.patch for n in size):
        raise UserError(f"data.size {tuple(size)} must be a multiple of model.vit.patch {model.vit.patch}.")

    def denoiser() -> ViT | Unet:
        if model.vit:
            vit = model.vit
            return ViT(vit.patch, vit.width, vit.layers, vit.heads, vit.hidden, vit.rows, vit.sparse_from)
        assert model.unet is not None
        return Unet(model.unet.channels, model.unet.pools)

    return ExpandedNetwork([denoiser() for _ in range(model.cascades)], sizes)


class Cascade(nn.Module):
    """One step: denoise every coil image, return to the measurements, grow k-space (Eqs. 14-18)."""

    def __init__(self, denoiser: ViT | Unet, size_in: tuple[int, int], size_out: tuple[int, int]) -> None:
        super().__init__()
        self.denoiser, self.size_in, self.size_out = denoiser, size_in, size_out
        self.eta = scalar()

    def forward(self, x: Tensor, measured: Tensor, mask: Tensor) -> Tensor:
        """Coil images complex64 (B, C, *size_in), all of k-space (B, C, H, W) and its mask to (B, C, *size_out)."""
        x = x + self.denoise(x)  # Eq. 14
        k = fft2c(x)  # Eq. 15
        k = soft_dc(k, centre_crop(measured, self.size_in), crop_mask(mask, self.size_in), self.eta)  # Eq. 16
        k = expand_kspace(k, centre_crop(measured, self.size_out))  # Eq. 17
        return ifft2c(k)  # Eq. 18

    def denoise(self, x: Tensor) -> Tensor:
        """D: the coils are a batch to the network, which sees (real, imaginary) without any normalisation."""
        return as_complex(self.denoiser(as_channels(x.flatten(0, 1)))).unflatten(0, x.shape[:2])


class ExpandedNetwork(nn.Module):
    """UE (all `sizes` alike), UEP (growing), UEPS (growing, with a row-sparse ViT).

    denoisers: one per cascade. sizes: (h, w) of each cascade's input, then of the output.
    """

    def __init__(self, denoisers: list[ViT] | list[Unet] | list[ViT | Unet], sizes: list[tuple[int, int]]) -> None:
        super().__init__()
        assert len(sizes) == len(denoisers) + 1
        self.sizes = sizes
        self.cascades = nn.ModuleList(Cascade(denoiser, sizes[t], sizes[t + 1]) for t, denoiser in enumerate(denoisers))

    def forward(self, kspace: Tensor, mask: Tensor, trace: Trace | None = None) -> Tensor:
        """Undersampled k-space complex64 (B, C, H, W) and its mask, bool (B or 1, W) or (B or 1, H, W), to an image.

        Returns the root sum of squares over coils, float32 (B, H, W). Coils without any data stay without output.
        """
        assert kspace.shape[-2:] == self.sizes[-1], f"built for {self.sizes[-1]}, got {tuple(kspace.shape)}"
        mask = broadcast_mask(mask)
        measured = kspace * mask  # what is not sampled must not be seen, whatever the caller left there
        x = ifft2c(centre_crop(measured, self.sizes[0]))
        for cascade in self.cascades:
            if trace is not None:
                _record(trace, cascade, x)
            x = cascade(x, measured, mask)
        image = rss(x * coil_mask(measured))
        if trace is not None:
            trace.images.append(image)
        return image


def _record(trace: Trace, cascade: nn.Module, x: Tensor) -> None:
    assert isinstance(cascade, Cascade)
    trace.images.append(rss(x))
    if trace.attend_from is not None and isinstance(cascade.denoiser, ViT):
        h, w = (n // cascade.denoiser.patch for n in cascade.size_in)
        query = (min(int(trace.attend_from[0] * h), h - 1), min(int(trace.attend_from[1] * w), w - 1))
        maps = cascade.denoiser.attention_maps(as_channels(x.flatten(0, 1)), query)
        trace.attention.append(maps.unflatten(0, x.shape[:2]))
