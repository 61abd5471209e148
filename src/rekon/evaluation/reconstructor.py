"""What scoring asks of a method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch


class Scan(NamedTuple):
    """What a scanner knows of the slice it hands over, beside the samples: never anything of the reference."""

    dataset: str
    volume: str
    subject: str
    contrast: str
    slice: int
    pattern: str  # of the sampling; "as acquired" where the slice was undersampled by the scanner itself
    acceleration: int | None  # nominal R; None as acquired

    @classmethod
    def of(cls, dataset: str, example: Any, pattern: str, acceleration: int | None) -> Scan:
        """What is known of an example (`rekon.evaluation.score.Example`) under a sampling."""
        names = (example.volume, example.subject, example.contrast, example.slice)
        return cls(dataset, *names, pattern, acceleration)


class Reconstructor(ABC):
    """From undersampled k-space to an image; learned or not."""

    name: str
    needs_maps: bool  # True: `maps` is given, computed from fully sampled data
    note: str = ""  # what a reader of this method's rows has to know, one phrase
    batch: int = 1  # slices that `many` is worth being given at once
    warms_up: bool = True  # False: a call is so long that what only the first one costs does not matter

    def prepare(self, scan: Scan) -> None:  # noqa: B027 -- most methods need to know nothing of the scan
        """Take note of the slice that the next call reconstructs. Comes before every call."""

    @abstractmethod
    def __call__(self, kspace: torch.Tensor, mask: torch.Tensor, maps: torch.Tensor | None = None) -> torch.Tensor:
        """Reconstruct one slice.

        kspace: complex64 (coil, H, W), zero where not measured, centred orthonormal FFT; mask: bool (W,) or (H, W);
        maps: complex64 (coil, H, W) or None. Returns a float32 magnitude image (H, W) on the same device.
        """

    def many(
        self, kspace: torch.Tensor, mask: torch.Tensor, maps: torch.Tensor | None, scans: Sequence[Scan]
    ) -> torch.Tensor:
        """Reconstruct B slices with the same mask and as many coils; the images are those of single calls.

        With `needs_maps`, coils may be padding: without signal, and with maps of zeros.
        kspace, maps: complex64 (B, coil, H, W). Returns float32 (B, H, W).
        """
        import torch

        images = []
        for number, scan in enumerate(scans):
            self.prepare(scan)
            images.append(self(kspace[number], mask, None if maps is None else maps[number]))
        return torch.stack(images)
