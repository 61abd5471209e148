"""What scoring asks of a method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch


class Reconstructor(Protocol):
    """From undersampled k-space to an image; learned or not."""

    name: str
    needs_maps: bool  # True: `maps` is given, computed from fully sampled data

    def __call__(self, kspace: torch.Tensor, mask: torch.Tensor, maps: torch.Tensor | None = None) -> torch.Tensor:
        """Reconstruct one slice.

        kspace: complex64 (coil, H, W), zero where not measured, centred orthonormal FFT; mask: bool (W,) or (H, W);
        maps: complex64 (coil, H, W) or None. Returns a float32 magnitude image (H, W) on the same device.
        """
        ...
