"""Factories of runs without training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rekon.config import Recipe
from rekon.studies.kinds import Trained

if TYPE_CHECKING:
    import torch

    from rekon.evaluation.reconstructor import Reconstructor


def reconstructor(recipe: Recipe, trained: Trained, device: torch.device) -> Reconstructor:
    """Zero-filled, SENSE or l1-wavelet, as the model section says."""
    from rekon.config.base import check
    from rekon.config.classical import ClassicalModel

    model = check(ClassicalModel, recipe.model, f"recipe of {recipe.study}/{recipe.run}")
    match model.method:
        case "zero-filled":
            from rekon.classical.zero_filled import ZeroFilled

            return ZeroFilled()
        case "sense":
            from rekon.classical.sense import Sense

            return Sense(model)
        case "l1-wavelet":
            from rekon.classical.wavelet import L1Wavelet

            return L1Wavelet(model)
