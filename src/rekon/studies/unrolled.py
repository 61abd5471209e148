"""Factories of unrolled networks: UEPS's ladder, and E2EVarNet wherever it is a baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rekon.config import Recipe
from rekon.studies.kinds import Sources, Trained, lacking

if TYPE_CHECKING:
    import torch

    from rekon.evaluation.reconstructor import Reconstructor
    from rekon.training.objective import Objective


def objective(recipe: Recipe, sources: Sources, device: torch.device) -> Objective:
    """Training of an unrolled network, on k-space or, under a hierarchy of patterns, on images."""
    from rekon.data.slices import SliceSet
    from rekon.physics.masks import read_mask
    from rekon.ueps.objective import UnrolledObjective

    assert recipe.mask is not None
    mask = read_mask(recipe.mask.path(recipe.data.size))
    train, validation = (SliceSet(path, recipe.data.size, mask) for path in (sources.train, sources.validation))
    return UnrolledObjective(recipe, train, validation, mask, device)


def reconstructor(recipe: Recipe, trained: Trained, device: torch.device) -> Reconstructor:
    """An unrolled network with its weights."""
    from rekon.ueps.reconstructor import load

    if trained.weights is None:
        lacking(recipe, "trained weights; give --weights")
    return load(recipe, trained.weights, device)
