"""A trained rung as a Reconstructor: undersampled k-space of one slice in, magnitude image out."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from rekon.config import Recipe, UnrolledModel
from rekon.config.base import check
from rekon.evaluation.reconstructor import Reconstructor
from rekon.training.weights import check_recipe, load_into, load_weights
from rekon.ueps.cascade import compile_denoisers
from rekon.ueps.unrolled import build


class UnrolledReconstructor(Reconstructor):
    """Any rung of Table 2, with all coils of a slice at once (training's coil limit does not apply here)."""

    needs_maps = False

    def __init__(self, recipe: Recipe, network: torch.nn.Module, device: torch.device) -> None:
        self.name, self.device = recipe.run, device
        self.network = network.to(device).eval().requires_grad_(False)
        assert recipe.training is not None, "an untrained recipe has no weights to reconstruct with"
        # the precision a network was trained in is the one it is used in; on the CPU bf16 only costs time
        self.half = recipe.training.precision == "bf16" and device.type == "cuda"
        if recipe.training.compile and device.type == "cuda":
            compile_denoisers(self.network)

    def __call__(self, kspace: Tensor, mask: Tensor, maps: Tensor | None = None) -> Tensor:
        """kspace complex64 (coil, H, W), mask bool (W,) or (H, W). Returns float32 (H, W)."""
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.half):
            image = self.network(kspace[None], mask[None])
        return image[0].float()


def load(recipe: Recipe, weights: Path, device: torch.device) -> UnrolledReconstructor:
    """The network of `recipe` with `weights`; UserError when the file is damaged or of another recipe."""
    source = f"recipe of {recipe.study}/{recipe.run}, section 'model'"
    network = build(check(UnrolledModel, recipe.model, source), recipe.data.size)
    load_into({"network": network}, weights, recipe.model_dump(mode="json"))
    return UnrolledReconstructor(recipe, network, device)


def borrow(recipe: Recipe, weights: Path, device: torch.device) -> UnrolledReconstructor:
    """A network as another study trained it, for `recipe`'s slices and masks; only the networks have to be the same.

    Its rows note what it was trained on, where that is something else. Raises UserError as `load` does.
    """
    trained = check(Recipe, load_weights(weights)[1], f"{weights}, recipe")
    check_recipe(weights, {"model": trained.model}, {"model": recipe.model})
    reconstructor = load(trained, weights, device)
    reconstructor.name = recipe.run
    if trained.mask != recipe.mask or trained.data.size != recipe.data.size:
        height, width = trained.data.size
        at = f"{trained.mask.pattern}, R = {trained.mask.acceleration}, " if trained.mask else ""
        reconstructor.note = f"trained on {trained.data.train}, {at}{height} x {width}"
    return reconstructor
