"""Factories of unrolled networks: UEPS's ladder, and E2EVarNet wherever it is a baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rekon.config import Recipe
from rekon.studies.kinds import Sources, Trained, lacking, maps_folder

if TYPE_CHECKING:
    import torch

    from rekon.evaluation.reconstructor import Reconstructor
    from rekon.training.objective import Objective


def objective(recipe: Recipe, sources: Sources, device: torch.device) -> Objective:
    """Training of an unrolled network, on k-space or, under a hierarchy of patterns, on images."""
    from rekon.ueps.objective import UnrolledObjective

    size, manifests = recipe.data.size, (sources.train, sources.validation)
    if recipe.sampling:
        from rekon.data.images import ImageSet
        from rekon.physics.patterns import read_exact_mask

        highest = max(recipe.sampling.accelerations)
        masks = {p: read_exact_mask(recipe.sampling.mask(p, highest).path(size)) for p in recipe.sampling.patterns}
        images, checked = (ImageSet(path, size, maps_folder(path)) for path in manifests)
        return UnrolledObjective(recipe, images, checked, masks, device)
    from rekon.data.slices import SliceSet
    from rekon.physics.masks import read_mask

    assert recipe.mask is not None, "a recipe has a mask or a hierarchy"
    mask = read_mask(recipe.mask.path(size))
    train, validation = (SliceSet(path, size, mask) for path in manifests)
    return UnrolledObjective(recipe, train, validation, mask, device)


def reconstructor(recipe: Recipe, trained: Trained, device: torch.device) -> Reconstructor:
    """An unrolled network with its weights, or with those of its parent in the role `weights`."""
    from rekon.ueps.reconstructor import borrow, load

    if trained.weights is None and "weights" in trained.parents:
        return borrow(recipe, trained.parents["weights"], device)
    if trained.weights is None:
        lacking(recipe, "trained weights; give --weights")
    return load(recipe, trained.weights, device)
