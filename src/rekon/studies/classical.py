"""Factories of runs without training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rekon.config import Recipe
from rekon.studies.kinds import Trained

if TYPE_CHECKING:
    import torch

    from rekon.evaluation.reconstructor import Reconstructor


def reconstructor(recipe: Recipe, trained: Trained, device: torch.device) -> Reconstructor:
    """Zero-filled or SENSE, as the model section says."""
    from rekon.config.base import check
    from rekon.config.classical import ClassicalModel

    model = check(ClassicalModel, recipe.model, f"recipe of {recipe.study}/{recipe.run}")
    if model.method == "zero-filled":
        from rekon.classical.zero_filled import ZeroFilled

        return ZeroFilled()
    from rekon.classical.sense import Sense

    return Sense(model)
