"""Undersampled slices to train networks on k-space with, and how they are drawn.

Two kinds: k-space as it was measured, with one mask of whole columns for all; and the k-space of coil-combined images,
with masks of several patterns, of which every slice gets one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rekon.config.sampling import Pattern
from rekon.data.images import ImageSet
from rekon.data.slices import SliceSet
from rekon.errors import UserError
from rekon.physics.coils import expand, rss
from rekon.physics.fft import fft2c
from rekon.physics.masks import Mask
from rekon.physics.patterns import ExactMask
from rekon.randomness import generator


class Sample(NamedTuple):
    """An undersampled slice and what is wanted of it."""

    kspace: Tensor  # complex64 (coil, H, W), zero where not sampled
    mask: Tensor  # bool (W,) or (H, W)
    target: Tensor  # float32 (H, W): root sum of squares over the same coils, fully sampled


class Undersampled(ABC):
    """Slices that are undersampled as they are asked for; any process may ask, and gets the same.

    Made by `undersampled`. Raises UserError for a set without slices or without a reference.
    """

    def __init__(self, slices: SliceSet | ImageSet) -> None:
        if not len(slices):
            raise UserError(f"{slices.path}: no slices to train or validate on; raise the number of volumes.")
        if not slices.reference:
            raise UserError(f"{slices.path}: has no fully sampled reference, so it cannot serve for training.")
        self.length = len(slices)

    def __len__(self) -> int:
        return self.length

    @abstractmethod
    def training(self, index: int, seed: int, step: int, max_coils: int | None = None) -> Sample:
        """Slice `index` with at most `max_coils` coils, drawn as its pattern is by (seed, step, index)."""

    @abstractmethod
    def validation(self, index: int, number: int) -> Sample:
        """Slice `index` with all its coils, as the `number`-th of a validation: several patterns take turns."""


class UndersampledKspace(Undersampled):
    """Measured k-space under one mask of columns."""

    def __init__(self, slices: SliceSet, mask: Mask) -> None:
        super().__init__(slices)
        self.slices, self.columns = slices, torch.from_numpy(mask.columns)

    def training(self, index: int, seed: int, step: int, max_coils: int | None = None) -> Sample:
        # coils are drawn by item, not by place in the batch: processes that share a batch draw the same ones
        example = self.slices.training(index, seed, step, index, max_coils)
        return self._sample(example.kspace, example.target)

    def validation(self, index: int, number: int) -> Sample:
        example = self.slices.item(index)
        return self._sample(example.kspace, example.target)

    def _sample(self, kspace: Tensor, target: Tensor | None) -> Sample:
        assert target is not None, "sets without a reference are refused at the start"
        return Sample(kspace * self.columns, self.columns, target)


class UndersampledImages(Undersampled):
    """The k-space M F S x of coil-combined images x, under masks of one or more patterns."""

    def __init__(self, images: ImageSet, masks: Mapping[Pattern, ExactMask]) -> None:
        super().__init__(images)
        for mask in masks.values():
            if mask.size != images.size:
                raise UserError(
                    f"{images.path}: the mask {mask.settings.path(mask.size)} is not for the matrix {images.size} "
                    "under 'data.size'; make the mask for it."
                )
        self.images, self.masks = images, dict(masks)

    def training(self, index: int, seed: int, step: int, max_coils: int | None = None) -> Sample:
        maps = self.images.sensitivities(index)
        if max_coils is not None and len(maps) > max_coils:
            drawn = generator(seed, "coils", step, index).choice(len(maps), max_coils, replace=False)
            maps = maps[torch.from_numpy(np.sort(drawn))]
        return self._sample(index, pattern_of(seed, step, index, list(self.masks)), maps)

    def validation(self, index: int, number: int) -> Sample:
        return self._sample(index, list(self.masks)[number % len(self.masks)], self.images.sensitivities(index))

    def _sample(self, index: int, pattern: Pattern, maps: Tensor) -> Sample:
        mask = torch.from_numpy(self.masks[pattern].of(*self.images.items[index]))
        coils = expand(self.images.image(index), maps)
        return Sample(fft2c(coils) * mask, mask, rss(coils, 0))


def undersampled(slices: SliceSet | ImageSet, masks: Mask | Mapping[Pattern, ExactMask]) -> Undersampled:
    """Slices of k-space under one mask of columns, or of images under a mask per pattern."""
    if isinstance(slices, SliceSet):
        assert isinstance(masks, Mask), "k-space is undersampled by columns"
        return UndersampledKspace(slices, masks)
    assert not isinstance(masks, Mask), "images are undersampled by exact patterns"
    return UndersampledImages(slices, masks)


def pattern_of(seed: int, step: int, index: int, patterns: Sequence[Pattern]) -> Pattern:
    """The pattern that training item `index` gets at a step: a uniform draw, the same whoever asks."""
    return patterns[int(generator(seed, "pattern", step, index).integers(len(patterns)))]


def spread(length: int, count: int | None) -> list[int]:
    """`count` indices (None: all) of `length`, evenly spread: a part of a validation set still sees all its volumes."""
    wanted = length if count is None else min(count, length)
    return [(2 * i + 1) * length // (2 * wanted) for i in range(wanted)]
