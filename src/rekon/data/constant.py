"""The constant that normalises a set, the mean over volumes of max(RSS), against what UEPS's authors published.

A wrong scale, axis or transform shows there first, before anything is trained.
"""

from __future__ import annotations

from rekon.config import Dataset
from rekon.config.base import Split

NEAR = (0.8, 1.25)  # of the published constant: other volumes of the same set move it, another scale much more


def published_constant(dataset: Dataset, split: Split) -> float | None:
    """What was published for a split; None where nothing was."""
    if isinstance(dataset.normalisation, float):
        return dataset.normalisation
    whole = dataset.published.get(split)
    return whole.constant if whole else None


def far_off(constant: float, published: float | None) -> str:
    """How a constant differs from the published one, in words; "" when it is near, or nothing was published."""
    if published is None or NEAR[0] <= constant / published <= NEAR[1]:
        return ""
    return (
        f"mean of max(RSS) is {constant:.4g}, published is {published:.4g}: check that these are the publisher's own "
        "files, and 'format' in config/datasets.yaml"
    )
