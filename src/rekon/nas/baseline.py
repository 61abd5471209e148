"""What NAS is held against on the same inputs: fastMRI's U-Net on the zero-filled coil-combined image (NAS, Table 1).

The paper names the method and no more. Here the network sees real and imaginary part, standardised, and returns both;
it is trained with fastMRI's mean absolute error on the magnitude (Zbontar et al., 2018), on all patterns at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rekon.config import Recipe
from rekon.config.base import check
from rekon.config.nas import ImageUnetModel
from rekon.config.sampling import Pattern
from rekon.errors import UserError
from rekon.evaluation.reconstructor import Reconstructor
from rekon.nas.inputs import Hierarchy, combine, pattern_of, spread
from rekon.nn.channels import as_channels, as_complex
from rekon.nn.unet import NormUnet
from rekon.training import distributed
from rekon.training.objective import Objective, Update, move, optimiser
from rekon.training.weights import load_into


class ImageUnet(nn.Module):
    """Zero-filled image, complex64 (B, H, W), to magnitude, float32 (B, H, W). What scales the one scales the other."""

    def __init__(self, channels: int, pools: int) -> None:
        super().__init__()
        self.unet = NormUnet(channels, pools)

    def forward(self, image: Tensor) -> Tensor:
        return as_complex(self.unet(as_channels(image))).abs()


class UnetObjective(Objective):
    """Training at the highest acceleration, every slice under a pattern drawn anew; in validation they take turns."""

    selection = "val_mae"

    def __init__(self, recipe: Recipe, train: Hierarchy, validation: Hierarchy, device: torch.device) -> None:
        """Network and optimiser of `recipe` on `device`. Raises UserError where a split is empty."""
        assert recipe.training is not None, "the registry asks for objectives of trained runs only"
        for images in (train.images, validation.images):
            if not len(images):
                raise UserError(f"{images.path}: no slices to train or validate on; raise the number of volumes.")
        self.train, self.validation, self.device, self.seed = train, validation, device, recipe.seed
        self.train_length = len(train)
        self.validated = list(enumerate(spread(len(validation), recipe.training.validation_slices)))
        self.network = build(recipe).to(device)
        self.networks = nn.ModuleDict({"network": self.network})
        self.optimisers = {"network": optimiser(self.network.parameters(), recipe.training)}

    def batch(self, indices: Sequence[int], step: int) -> dict[str, Tensor]:
        """measured complex64 (B, H, W), the zero-filled images; target float32 (B, H, W), magnitudes."""
        patterns = self.train.sampling.patterns
        return _stack([self.train.pair(index, pattern_of(self.seed, step, index, patterns)) for index in indices])

    def step(self, batch: Any, step: int, update: Update) -> Mapping[str, Tensor]:
        loss = self._error(batch).mean()
        update("network", loss)
        return {"loss": loss}

    def validate(self) -> dict[str, float]:
        """val_mae: mean over slices and pixels."""
        errors = torch.zeros(1, dtype=torch.float64)
        patterns: tuple[Pattern, ...] = self.validation.sampling.patterns
        for number, index in distributed.share(self.validated):
            alone = _stack([self.validation.pair(index, patterns[number % len(patterns)])])
            errors += self._error(move(alone, self.device)).double().cpu()
        return {"val_mae": float(distributed.total(errors.to(self.device))) / len(self.validated)}

    def _error(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Mean absolute error of each magnitude, (B,)."""
        return (self.network(batch["measured"]) - batch["target"]).abs().mean(dim=(1, 2))


class UnetReconstructor(Reconstructor):
    """A trained ImageUnet from measured k-space and coil maps."""

    needs_maps = True

    def __init__(self, recipe: Recipe, network: ImageUnet, device: torch.device) -> None:
        self.name = recipe.run
        self.network = network.to(device).eval().requires_grad_(False)

    def __call__(self, kspace: Tensor, mask: Tensor, maps: Tensor | None = None) -> Tensor:
        """kspace, maps: complex64 (coil, H, W); mask: bool (W,) or (H, W). Returns float32 (H, W)."""
        assert maps is not None, "combining coils needs their maps"
        return self.network(combine(kspace, mask, maps)[None])[0]


def build(recipe: Recipe) -> ImageUnet:
    """The network of a recipe; UserError where its poolings do not fit the images."""
    model = check(ImageUnetModel, recipe.model, f"recipe of {recipe.study}/{recipe.run}, section 'model'")
    if min(recipe.data.size) < 2 ** (model.pools + 1):
        raise UserError(f"model.pools {model.pools} is too many for data.size {recipe.data.size}; take fewer.")
    return ImageUnet(model.channels, model.pools)


def load(recipe: Recipe, weights: Path, device: torch.device) -> UnetReconstructor:
    """The network of `recipe` with `weights`; UserError when the file is damaged or of another recipe."""
    network = build(recipe)
    load_into({"network": network}, weights, recipe.model_dump(mode="json"))
    return UnetReconstructor(recipe, network, device)


def _stack(pairs: Sequence[Tensor]) -> dict[str, Tensor]:
    measured, full = torch.stack(list(pairs)).unbind(1)
    return {"measured": measured, "target": full.abs()}
