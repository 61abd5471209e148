"""What the networks see of a slice: the coil-combined image at every level of the hierarchy.

x_R = sum over coils of conj(S) F^-1 M_R F (S x), from few samples (R = 32) to many (R = 2); last x itself (Sec. 3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from rekon.config.nas import Normalisation
from rekon.config.sampling import Pattern, SamplingSettings
from rekon.data.images import ImageSet
from rekon.data.undersampled import pattern_of, spread
from rekon.errors import UserError
from rekon.physics.coils import expand
from rekon.physics.fft import fft2c
from rekon.physics.operator import SenseOperator
from rekon.physics.patterns import ExactMask, read_exact_mask

__all__ = ["Hierarchy", "combine", "pattern_of", "read_masks", "spread"]


class Hierarchy:
    """The slices of an ImageSet at every acceleration of `sampling`, for any of its patterns.

    masks: one per pattern and acceleration (`read_masks`). normalisation: what a slice's images are divided by, the
    same for all its levels: reference_max, the largest magnitude of the fully sampled one (which knows more than was
    measured); measured_max, that of the image at the highest acceleration. Raises UserError for masks of another
    matrix.
    """

    def __init__(
        self,
        images: ImageSet,
        sampling: SamplingSettings,
        masks: Mapping[tuple[Pattern, int], ExactMask],
        normalisation: Normalisation,
    ) -> None:
        for settings in sampling.masks:
            mask = masks[settings.pattern, settings.acceleration]
            assert mask.settings == settings, f"{mask.settings} given for {settings}"
            if mask.size != images.size:
                raise UserError(
                    f"{images.path}: the mask {settings.path(mask.size)} is not for the matrix {images.size} under "
                    "'data.size'; make the mask for it."
                )
        self.images, self.sampling, self.masks, self.normalisation = images, sampling, dict(masks), normalisation

    def __len__(self) -> int:
        return len(self.images)

    def mask(self, index: int, pattern: Pattern, acceleration: int) -> Tensor:
        """The samples of a slice: bool (H, W)."""
        return torch.from_numpy(self.masks[pattern, acceleration].of(*self.images.items[index]))

    def levels(self, index: int, pattern: Pattern) -> Tensor:
        """All levels of a slice, the highest acceleration first, x last: complex64 (levels, H, W)."""
        return self._normalised(index, pattern, self.sampling.accelerations, full=True)

    def pair(self, index: int, pattern: Pattern) -> Tensor:
        """The first of `levels` and the last: complex64 (2, H, W)."""
        return self._normalised(index, pattern, self.sampling.accelerations[:1], full=True)

    def measured(self, index: int, pattern: Pattern) -> Tensor:
        """The first of `levels` alone: complex64 (H, W)."""
        return self._normalised(index, pattern, self.sampling.accelerations[:1], full=False)[0]

    def _normalised(self, index: int, pattern: Pattern, accelerations: Sequence[int], full: bool) -> Tensor:
        x, maps = self.images.image(index), self.images.sensitivities(index)
        kspace = fft2c(expand(x, maps))
        made = [combine(kspace, self.mask(index, pattern, r), maps) for r in accelerations]
        stack = torch.stack([*made, x] if full else made)
        if self.normalisation == "measured_max":
            largest = stack[0].abs().max()
            stack = stack / torch.where(largest > 0, largest, 1)
        return stack  # x comes with a largest magnitude of 1


def combine(kspace: Tensor, mask: Tensor, maps: Tensor) -> Tensor:
    """Zero-filled coil-combined image of measured k-space: the sum over coils of conj(S) F^-1 M k.

    kspace, maps: complex64 (..., coil, H, W), maps of sum |S|^2 = 1 or 0; mask: bool (W,) or (H, W).
    Returns complex64 (..., H, W).
    """
    return SenseOperator(maps, mask).adjoint(kspace)


def read_masks(sampling: SamplingSettings, size: tuple[int, int]) -> dict[tuple[Pattern, int], ExactMask]:
    """The mask artefacts of every pattern and acceleration, from below the current folder."""
    found = {}
    for settings in sampling.masks:
        path = settings.path(size)
        mask = read_exact_mask(path)
        if mask.settings != settings or mask.size != size:
            raise UserError(f"{path}: holds another mask than its name says; delete the file and make it again.")
        found[settings.pattern, settings.acceleration] = mask
    return found
