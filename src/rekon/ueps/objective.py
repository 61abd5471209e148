"""How every rung of Table 2 is trained: mean absolute error of the RSS image (UEPS Sec. 4.1, A.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from rekon.config import Recipe, UnrolledModel
from rekon.config.base import check
from rekon.config.sampling import Pattern
from rekon.data.images import ImageSet
from rekon.data.slices import SliceSet
from rekon.data.undersampled import Sample, spread, undersampled
from rekon.physics.masks import Mask
from rekon.physics.patterns import ExactMask
from rekon.training import distributed
from rekon.training.objective import Objective, Update, move, optimiser
from rekon.ueps.cascade import compile_denoisers
from rekon.ueps.unrolled import build


class UnrolledObjective(Objective):
    """One network, one optimiser. Training sees a random subset of the coils, validation all of them.

    The sets are k-space with one mask of columns, or coil-combined images with a mask per pattern: then every slice is
    trained on under a pattern drawn anew, and validation lets the patterns take turns.
    """

    selection = "val_mae"

    def __init__(
        self,
        recipe: Recipe,
        train: SliceSet | ImageSet,
        validation: SliceSet | ImageSet,
        masks: Mask | Mapping[Pattern, ExactMask],
        device: torch.device,
    ) -> None:
        """Network and optimiser of `recipe` on `device`. Raises UserError where the sets do not serve."""
        assert recipe.training is not None, "the registry asks for objectives of trained runs only"
        self.train, self.validation = undersampled(train, masks), undersampled(validation, masks)
        self.device, self.seed, self.max_coils = device, recipe.seed, recipe.data.max_coils
        self.train_length = len(train)
        self.validated = list(enumerate(spread(len(validation), recipe.training.validation_slices)))
        source = f"recipe of {recipe.study}/{recipe.run}, section 'model'"
        self.network = build(check(UnrolledModel, recipe.model, source), recipe.data.size).to(device)
        self.networks = nn.ModuleDict({"network": self.network})
        self.optimisers = {"network": optimiser(self.network.parameters(), recipe.training)}

    def batch(self, indices: Sequence[int], step: int) -> dict[str, Tensor]:
        """kspace complex64 (B, C, H, W), undersampled; mask bool (B, W) or (B, H, W); target float32 (B, H, W)."""
        return _stack([self.train.training(index, self.seed, step, self.max_coils) for index in indices])

    def step(self, batch: Any, step: int, update: Update) -> Mapping[str, Tensor]:
        loss = self._error(batch).mean()
        update("network", loss)
        return {"loss": loss}

    def validate(self) -> dict[str, float]:
        """val_mae: mean over slices, over all pixels of the networks' matrix, all coils."""
        errors = torch.zeros(1, dtype=torch.float64)
        for number, index in distributed.share(self.validated):
            alone = _stack([self.validation.validation(index, number)])
            errors += self._error(move(alone, self.device)).double().cpu()
        return {"val_mae": float(distributed.total(errors.to(self.device))) / len(self.validated)}

    def compile(self) -> None:
        compile_denoisers(self.network)

    def _error(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Mean absolute error of each image, (B,)."""
        image = self.network(batch["kspace"], batch["mask"])
        return (image.float() - batch["target"]).abs().mean(dim=(1, 2))


def _stack(samples: Sequence[Sample]) -> dict[str, Tensor]:
    """A batch of slices; coils of zeros fill up smaller arrays, and the networks give them no output."""
    coils = max(len(sample.kspace) for sample in samples)
    return {
        "kspace": torch.stack([pad(s.kspace, (0, 0, 0, 0, 0, coils - len(s.kspace))) for s in samples]),
        "mask": torch.stack([sample.mask for sample in samples]),
        "target": torch.stack([sample.target for sample in samples]),
    }
