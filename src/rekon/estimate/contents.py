"""What the canonical volumes of a split hold, in samples and in bytes, before they are here."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from rekon.config.datasets import Split
from rekon.estimate.sets import Sets, Shape
from rekon.plan import Plan

SIMULATED = "shapes of the simulation"


@dataclass(frozen=True)
class Contents:
    """pixels: of all slices, one coil; samples: of all coils; how: where the numbers come from."""

    pixels: float
    samples: float
    how: str

    @property
    def kspace_bytes(self) -> float:
        """Of canonical volumes: complex64 k-space, float32 reference."""
        return 8 * self.samples + 4 * self.pixels

    @property
    def map_bytes(self) -> float:
        """Of coil maps and the combined image, complex64."""
        return 8 * (self.samples + self.pixels)


def contents(plan: Plan, sets: Sets, dataset: str, split: Split) -> Contents | None:
    """Of a split, by the shapes of its volumes or else by the catalogue's counts; None where nobody knows either."""
    size, whole = sets.size(dataset, split), plan.dataset(dataset).published.get(split)
    if size is not None and size.shapes:
        return of_shapes(size.shapes, "shapes in the manifest" if size.source == "manifest" else SIMULATED)
    if size is None or whole is None:
        return None
    pixels = float(size.slices * math.prod(whole.matrix))
    return Contents(pixels, pixels * size.coils, "the catalogue's counts, a typical matrix")


def of_shapes(shapes: Iterable[Shape], how: str = SIMULATED) -> Contents:
    """Of volumes (slices, coils, rows, columns)."""
    pixels = samples = 0
    for slices, coils, rows, columns in shapes:
        pixels, samples = pixels + slices * rows * columns, samples + slices * coils * rows * columns
    return Contents(pixels, samples, how)
