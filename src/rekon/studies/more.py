"""Factories of the mixture-of-experts study: MoRE and its dense baselines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rekon.config import Recipe
from rekon.studies.kinds import Sources, Trained, lacking

if TYPE_CHECKING:
    import torch

    from rekon.more.objective import ExpertsObjective
    from rekon.more.reconstructor import ExpertsReconstructor


def objective(recipe: Recipe, sources: Sources, device: torch.device) -> ExpertsObjective:
    """Training of an unrolled network with experts, or of one without, on undersampled k-space."""
    from rekon.data.slices import SliceSet
    from rekon.more.objective import ExpertsObjective
    from rekon.physics.masks import read_mask

    if recipe.mask is None:
        lacking(recipe, "'mask' in its recipe; it is trained on one pattern along the phase encodings")
    size = recipe.data.size
    mask = read_mask(recipe.mask.path(size))
    train, validation = (SliceSet(path, size, mask) for path in (sources.train, sources.validation))
    return ExpertsObjective(recipe, train, validation, mask, device)


def reconstructor(recipe: Recipe, trained: Trained, device: torch.device) -> ExpertsReconstructor:
    """A network of this study with its weights."""
    from rekon.more.reconstructor import load

    if trained.weights is None:
        lacking(recipe, "trained weights; give --weights")
    return load(recipe, trained.weights, device)
