"""How the prior is trained: EDM's loss on single coil-combined images. Fine-tuning is the same from other weights."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rekon.config import Recipe
from rekon.config.base import check
from rekon.config.dpm import DiffusionModel
from rekon.data.images import ImageSet
from rekon.data.selection import Selection
from rekon.data.undersampled import spread
from rekon.dpm import edm, ema
from rekon.dpm.augment import NUMBERS, augment
from rekon.dpm.prior import build, one_hot, start_from
from rekon.randomness import torch_generator
from rekon.training import distributed
from rekon.training.objective import Objective, Update, optimiser

_LEVELS = 4  # noise levels per slice in validation
_LARGEST = 1e5  # what an infinite gradient becomes


class DiffusionObjective(Objective):
    """One network, one optimiser, and the moving average of the weights, which is the run's product.

    The prior sees images alone: no coils, no mask. Which ones follows from `data.select`. With a parent in the role
    `base` both networks start from that run's average.
    """

    published = ("ema",)

    def __init__(
        self, recipe: Recipe, train: ImageSet, validation: ImageSet, device: torch.device, base: Path | None = None
    ) -> None:
        """Networks and optimiser of `recipe` on `device`; base: weights to start from.

        Raises UserError where nothing is selected, or `base` holds no prior of the same shape and labels.
        """
        assert recipe.training is not None, "the registry asks for objectives of trained runs only"
        self.model = check(DiffusionModel, recipe.model, f"recipe of {recipe.study}/{recipe.run}, section 'model'")
        self.device, self.seed, self.size = device, recipe.seed, recipe.training.batch
        self.train, self.validation = train, validation
        self.chosen = Selection(train, self.model.contrasts, recipe.data.select)
        self.train_length = len(self.chosen)
        # every validation subject of the contrasts that are trained on
        seen = {group: None for group, subjects in self.chosen.subjects.items() if subjects}
        watched = Selection(validation, self.model.contrasts, seen)
        self.validated = [watched.indices[i] for i in spread(len(watched), recipe.training.validation_slices)]
        network = build(self.model).to(device)
        if base is not None:
            start_from(network, self.model, base)
        average = copy.deepcopy(network).requires_grad_(False)
        for parameter in network.parameters():
            parameter.register_post_accumulate_grad_hook(_finite)
        self.network, self.average = network, average
        self.networks = nn.ModuleDict({"network": network, "ema": average})
        self.optimisers = {"network": optimiser(network.parameters(), recipe.training)}

    def batch(self, indices: Sequence[int], step: int) -> dict[str, Tensor]:
        """clean complex64 (B, H, W), augmented; label float32 (B, labels); augment float32 (B, 7)."""
        items = []
        for index in indices:
            number = self.chosen.indices[index]
            image, how = self.train.image(number), torch.zeros(NUMBERS)
            if self.model.augment:
                generator = torch_generator(self.seed, "augmentation", step, number)
                image, how = augment(image, self.model.augment, generator)
            items.append((image, self._label(self.train, number), how))
        clean, label, how = (torch.stack(parts) for parts in zip(*items, strict=True))
        return {"clean": clean, "label": label, "augment": how}

    def step(self, batch: Any, step: int, update: Update) -> Mapping[str, Tensor]:
        """loss: EDM's, as the mean over pixels and channels; what is minimised is their sum."""
        clean = batch["clean"]
        normal = torch.randn(len(clean), device=clean.device)
        sigma = edm.noise_level(normal, self.model.log_sigma_mean, self.model.log_sigma_std)
        noise = edm.complex_noise(clean.shape, device=clean.device)
        losses = self.network.losses(clean, noise, sigma, batch["label"], batch["augment"])
        update("network", losses.mean())
        kept = ema.decay(step * self.size, self.size, self.model.ema_images, self.model.ema_rampup)
        ema.update(self.average, self.network, kept)
        return {"loss": losses.mean() / (2 * clean[0].numel())}

    def validate(self) -> dict[str, float]:
        """val_loss: the averaged network's, on images as they are, at fixed noise levels with fixed noise."""
        totals = torch.zeros(1, dtype=torch.float64)
        for index in distributed.share(self.validated):
            clean, label, sigma, noise = (part.to(self.device) for part in self._fixed(index))
            losses = self.average.losses(clean, noise, sigma, label, None)
            totals += losses.double().mean().cpu() / (2 * clean[0].numel())
        return {"val_loss": float(distributed.total(totals.to(self.device))) / len(self.validated)}

    def compile(self) -> None:
        for network in (self.network, self.average):
            network.network.compile()  # what is complex stays outside

    def _fixed(self, index: int) -> Iterator[Tensor]:
        """A validation slice, `_LEVELS` times: clean, label, sigma, noise. A function of the seed and the slice."""
        generator = torch_generator(self.seed, "validation noise", index=index)
        image = self.validation.image(index)
        uniform = torch.rand(_LEVELS, generator=generator)
        yield image.expand(_LEVELS, *image.shape)
        yield self._label(self.validation, index).expand(_LEVELS, -1)
        yield edm.spread_levels(uniform, self.model.log_sigma_mean, self.model.log_sigma_std)
        yield edm.complex_noise((_LEVELS, *image.shape), generator)

    def _label(self, images: ImageSet, index: int) -> Tensor:
        return one_hot(self.model, images.volumes[images.items[index].volume]["contrast"])


def _finite(parameter: Tensor) -> None:
    """A single bad image must not end a run of days (EDM, training loop)."""
    if parameter.grad is not None:
        torch.nan_to_num(parameter.grad, nan=0.0, posinf=_LARGEST, neginf=-_LARGEST, out=parameter.grad)
