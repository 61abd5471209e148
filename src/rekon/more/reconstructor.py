"""A trained network of this folder as a Reconstructor: undersampled k-space of one slice in, magnitude image out."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from rekon.config import Recipe
from rekon.config.base import check
from rekon.config.more import ExpertsModel
from rekon.evaluation.reconstructor import Reconstructor
from rekon.more.network import UnrolledExperts, build
from rekon.training.weights import load_into


class ExpertsReconstructor(Reconstructor):
    """Every slice goes to the experts that suit it best; the others are not computed."""

    needs_maps = False

    def __init__(self, recipe: Recipe, network: UnrolledExperts, model: ExpertsModel, device: torch.device) -> None:
        self.name, self.model, self.device = recipe.run, model, device
        self.network = network.to(device).eval().requires_grad_(False)
        assert recipe.training is not None, "an untrained recipe has no weights to reconstruct with"
        # the precision a network was trained in is the one it is used in; on the CPU bf16 only costs time
        self.half = recipe.training.precision == "bf16" and device.type == "cuda"

    def __call__(self, kspace: Tensor, mask: Tensor, maps: Tensor | None = None) -> Tensor:
        """kspace complex64 (coil, H, W), mask bool (W,) or (H, W). Returns float32 (H, W)."""
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.half):
            return self.network(kspace[None], mask[None]).image[0]


def load(recipe: Recipe, weights: Path, device: torch.device) -> ExpertsReconstructor:
    """The network of `recipe` with `weights`; UserError when the file is damaged or of another recipe."""
    source = f"recipe of {recipe.study}/{recipe.run}, section 'model'"
    model = check(ExpertsModel, recipe.model, source)
    network = build(model, recipe.data.size)
    load_into({"network": network}, weights, recipe.model_dump(mode="json"))
    return ExpertsReconstructor(recipe, network, model, device)
