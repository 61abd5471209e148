"""How every rung of Table 2 is trained: mean absolute error of the RSS image (UEPS Sec. 4.1, A.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from rekon.config import Recipe, UnrolledModel
from rekon.config.base import check
from rekon.data.slices import SliceSet
from rekon.errors import UserError
from rekon.physics.masks import Mask
from rekon.training import distributed
from rekon.training.objective import Objective, Update, move, optimiser
from rekon.ueps.cascade import compile_denoisers
from rekon.ueps.unrolled import build


class UnrolledObjective(Objective):
    """One network, one optimiser. Training sees a random subset of the coils, validation all of them."""

    selection = "val_mae"

    def __init__(self, recipe: Recipe, train: SliceSet, validation: SliceSet, mask: Mask, device: torch.device) -> None:
        """Network and optimiser of `recipe` on `device`. Raises UserError where the sets do not serve."""
        assert recipe.training is not None, "the registry asks for objectives of trained runs only"
        for slices, split in ((train, "training"), (validation, "validation")):
            if not len(slices):
                raise UserError(f"{slices.path}: no slices for {split}; raise the number of volumes of this split.")
            if not slices.reference:
                raise UserError(f"{slices.path}: has no fully sampled reference, so it cannot serve for {split}.")
        self.train, self.validation, self.device = train, validation, device
        self.seed, self.max_coils = recipe.seed, recipe.data.max_coils
        self.train_length = len(train)
        self.columns = torch.from_numpy(mask.columns)
        self.validated = spread(len(validation), recipe.training.validation_slices)
        source = f"recipe of {recipe.study}/{recipe.run}, section 'model'"
        self.network = build(check(UnrolledModel, recipe.model, source), recipe.data.size).to(device)
        self.networks = nn.ModuleDict({"network": self.network})
        self.optimisers = {"network": optimiser(self.network.parameters(), recipe.training)}

    def batch(self, indices: Sequence[int], step: int) -> dict[str, Tensor]:
        """kspace complex64 (B, C, H, W), undersampled; target float32 (B, H, W): RSS of the same coils."""
        # coils are drawn by item, not by place in the batch: processes that share a batch draw the same ones
        examples = [self.train.training(index, self.seed, step, index, self.max_coils) for index in indices]
        coils = max(len(example.kspace) for example in examples)
        # coils of zeros fill up smaller arrays; the networks give them no output
        kspace = torch.stack([pad(e.kspace, (0, 0, 0, 0, 0, coils - len(e.kspace))) for e in examples])
        return {"kspace": kspace * self.columns, "target": torch.stack([_target(e.target) for e in examples])}

    def step(self, batch: Any, step: int, update: Update) -> Mapping[str, Tensor]:
        loss = self._error(batch).mean()
        update("network", loss)
        return {"loss": loss}

    def validate(self) -> dict[str, float]:
        """val_mae: mean over slices, over all pixels of the networks' matrix, all coils."""
        errors = torch.zeros(1, dtype=torch.float64)
        for index in distributed.share(self.validated):
            example = self.validation.item(index)
            alone = {"kspace": (example.kspace * self.columns)[None], "target": _target(example.target)[None]}
            errors += self._error(move(alone, self.device)).double().cpu()
        return {"val_mae": float(distributed.total(errors.to(self.device))) / len(self.validated)}

    def compile(self) -> None:
        compile_denoisers(self.network)

    def _error(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Mean absolute error of each image, (B,)."""
        image = self.network(batch["kspace"], self.columns.to(self.device)[None])
        return (image.float() - batch["target"]).abs().mean(dim=(1, 2))


def spread(length: int, count: int | None) -> list[int]:
    """`count` indices (None: all) of `length`, evenly spread: a part of a validation set still sees all its volumes."""
    wanted = length if count is None else min(count, length)
    return [(2 * i + 1) * length // (2 * wanted) for i in range(wanted)]


def _target(target: Tensor | None) -> Tensor:
    assert target is not None, "sets without a reference are refused at the start"
    return target
