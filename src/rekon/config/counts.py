"""How many volumes of a published set a scale will have, before its files are here."""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

from rekon.config.sources import Published, SplitRule

BATCH = 2000  # slices that one job converts, about: well within the two hours a cluster gives small jobs


class Expected(NamedTuple):
    """A split that is complete."""

    volumes: int
    slices: int


def expected(published: Published | None, rule: SplitRule | None = None, wanted: int | None = None) -> Expected | None:
    """Volumes and slices of a split, at most `wanted` volumes; None where nothing is published of it.

    Slices that the paper counts are the paper's; otherwise volumes count as equally long.
    """
    if published is None:
        return None
    volumes, slices = published.volumes, published.slices
    if rule is not None:
        slices = rule.slices or round(slices * rule.volumes / volumes)
        volumes = rule.volumes
    if wanted is not None and wanted < volumes:
        slices, volumes = max(round(slices * wanted / volumes), 1), wanted
    return Expected(volumes, slices)


def batches(split: Expected | None) -> int:
    """Jobs that convert a split; 1 where nobody knows how many volumes there are."""
    return 1 if split is None else min(max(1, ceil(split.slices / BATCH)), split.volumes)
