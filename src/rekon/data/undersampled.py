"""Undersampled slices to train unrolled networks on: of k-space as it was measured, or of coil-combined images."""

from __future__ import annotations

from collections.abc import Sequence

from rekon.config.sampling import Pattern
from rekon.randomness import generator


def pattern_of(seed: int, step: int, index: int, patterns: Sequence[Pattern]) -> Pattern:
    """The pattern that training item `index` gets at a step: a uniform draw, the same whoever asks."""
    return patterns[int(generator(seed, "pattern", step, index).integers(len(patterns)))]


def spread(length: int, count: int | None) -> list[int]:
    """`count` indices (None: all) of `length`, evenly spread: a part of a validation set still sees all its volumes."""
    wanted = length if count is None else min(count, length)
    return [(2 * i + 1) * length // (2 * wanted) for i in range(wanted)]
