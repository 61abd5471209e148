"""How the tokenizer is trained: reconstruction, commitment, and a critic (Eq. 3, Supp. 9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rekon.config import Recipe
from rekon.config.base import check
from rekon.config.nas import TokenizerModel
from rekon.config.sampling import PATTERNS
from rekon.errors import UserError
from rekon.nas.codebook import perplexity, usage
from rekon.nas.discriminator import Discriminator
from rekon.nas.inputs import Hierarchy, pattern_of, spread
from rekon.nas.losses import PerceptualLoss, adversarial_loss, discriminator_loss, ssim
from rekon.nas.pretrained import load_var
from rekon.nas.tokenizer import Tokenizer
from rekon.randomness import generator
from rekon.training import distributed
from rekon.training.objective import Objective, Update, optimiser


class TokenizerObjective(Objective):
    """The tokenizer (optimiser "generator") against the heads of its discriminator (optimiser "discriminator").

    Without an adversarial term there is neither a discriminator nor its optimiser. What is frozen and comes from a
    file (the perceptual network) is no network of the run. Only the tokenizer is published.
    """

    published = ("tokenizer",)

    def __init__(
        self,
        recipe: Recipe,
        train: Hierarchy,
        validation: Hierarchy,
        device: torch.device,
        backbones: Mapping[str, Path],
    ) -> None:
        """backbones: files of pretrained weights by name. Raises UserError where sets, sizes or files do not serve."""
        assert recipe.training is not None, "the registry asks for objectives of trained runs only"
        model = check(TokenizerModel, recipe.model, f"recipe of {recipe.study}/{recipe.run}, section 'model'")
        for hierarchy, split in ((train, "training"), (validation, "validation")):
            if not len(hierarchy):
                raise UserError(f"{hierarchy.images.path}: no slices for {split}; raise the number of volumes.")
            if not hierarchy.images.reference:
                raise UserError(f"{hierarchy.images.path}: has no fully sampled reference, so it cannot serve {split}.")
        if len(model.grids) != len(train.sampling.accelerations) + 1:
            raise UserError(
                f"key 'model.grids': {len(model.grids)} levels, but 'sampling.accelerations' and the fully sampled "
                f"image make {len(train.sampling.accelerations) + 1}; give one grid for each."
            )
        self.train, self.validation, self.device, self.seed = train, validation, device, recipe.seed
        self.train_length = len(train)
        self.validated = spread(len(validation), recipe.training.validation_slices)
        self.weights, self.window, self.augment = model.losses, model.ssim_window, model.augment
        self.tokenizer = Tokenizer(model, recipe.data.size)
        if model.pretrained is not None:
            load_var(self.tokenizer, _file(backbones, model.pretrained, "model.pretrained"))
        self.networks = nn.ModuleDict({"tokenizer": self.tokenizer.to(device)})
        self.optimisers = {"generator": optimiser(self.tokenizer.parameters(), recipe.training)}
        self.discriminator, self.perceptual = None, None
        if model.discriminator is not None:
            name = model.discriminator.backbone
            weights = None if name is None else _file(backbones, name, "model.discriminator.backbone")
            self.discriminator = Discriminator(model.discriminator, weights).to(device)
            self.networks["discriminator"] = self.discriminator
            self.optimisers["discriminator"] = optimiser(self.discriminator.heads.parameters(), recipe.training)
        if model.losses.perceptual > 0:
            self.perceptual = PerceptualLoss(model.perceptual, backbones).to(device)

    def batch(self, indices: Sequence[int], step: int) -> dict[str, Tensor]:
        """images complex64 (B, L, H, W), all levels of each slice; pattern int64 (B,), drawn anew at every step."""
        patterns = [pattern_of(self.seed, step, index, self.train.sampling.patterns) for index in indices]
        images = [self.train.levels(index, pattern) for index, pattern in zip(indices, patterns, strict=True)]
        if self.augment:
            images = [
                augmented(x, generator(self.seed, "augment", step, i)) for i, x in zip(indices, images, strict=True)
            ]
        return {
            "images": torch.stack(images),
            "pattern": torch.tensor([PATTERNS.index(pattern) for pattern in patterns]),
        }

    def step(self, batch: Any, step: int, update: Update) -> Mapping[str, Tensor]:
        """The tokenizer's update, then its critic's on the same images, then the codebook's.

        The critic's transformer is frozen, so it sees the reconstruction once for both.
        """
        out = self.tokenizer(batch["images"], batch["pattern"])
        image, reference = out.image.abs(), batch["images"][:, -1].abs()
        values = {"ssim_loss": 1 - ssim(image, reference, self.window).mean(), "commitment": out.commitment}
        loss = self.weights.ssim * values["ssim_loss"] + self.weights.commitment * values["commitment"]
        if self.weights.pixel > 0:
            values["pixel"] = (image - reference).square().mean()
            loss = loss + self.weights.pixel * values["pixel"]
        if self.perceptual is not None:
            values["perceptual"] = self.perceptual(image, reference)
            loss = loss + self.weights.perceptual * values["perceptual"]
        features = None
        if self.discriminator is not None:
            features = self.discriminator.features(image)
            values["adversarial"] = self._adversarial(self.discriminator, features)
            loss = loss + self.weights.adversarial * values["adversarial"]
        update("generator", loss)
        if self.discriminator is not None and features is not None:
            fake = self.discriminator.judge([level.detach() for level in features])
            with torch.no_grad():
                features = self.discriminator.features(reference)
            values["discriminator"] = discriminator_loss(self.discriminator.judge(features), fake)
            update("discriminator", values["discriminator"])
        counts = self.tokenizer.codebook.update(out.vectors, torch.cat([ids.flatten() for ids in out.ids]))
        return {"loss": loss, **values, "perplexity": perplexity(counts)}

    def validate(self) -> dict[str, float]:
        """Means over slices and patterns, of magnitude images reconstructed from the tokens of all levels.

        val_loss: 1 - SSIM; val_psnr, and val_psnr_zero_filled of the image at the highest acceleration, in dB, against
        the slice's largest magnitude; val_perplexity: of the codes of all levels together.
        """
        patterns = self.validation.sampling.patterns
        labels = torch.tensor([PATTERNS.index(pattern) for pattern in patterns], device=self.device)
        sums = torch.zeros(3, dtype=torch.float64, device=self.device)
        counts = torch.zeros(self.tokenizer.model.vocabulary, device=self.device)
        for index in distributed.share(self.validated):
            x_BLHW = torch.stack([self.validation.levels(index, pattern) for pattern in patterns]).to(self.device)
            ids = self.tokenizer.tokenise(x_BLHW, labels)
            image, reference = self.tokenizer.reconstruct(ids).abs(), x_BLHW[:, -1].abs()
            measures = (
                ssim(image, reference, self.window),
                _psnr(image, reference),
                _psnr(x_BLHW[:, 0].abs(), reference),
            )
            sums += torch.stack([measure.double().sum() for measure in measures])
            for level in ids:
                counts += usage(level, len(counts))
        similarity, own, zero_filled = (distributed.total(sums) / (len(self.validated) * len(patterns))).tolist()
        return {
            "val_loss": 1 - similarity,
            "val_psnr": own,
            "val_psnr_zero_filled": zero_filled,
            "val_perplexity": float(perplexity(distributed.total(counts))),
        }

    def compile(self) -> None:
        """The convolutions; the codebook between them has nothing to gain."""
        self.tokenizer.encoder.compile()
        self.tokenizer.decoder.compile()

    def _adversarial(self, discriminator: Discriminator, features: list[Tensor]) -> Tensor:
        """The tokenizer's wish, without the work for gradients of the heads, which it would throw away."""
        discriminator.heads.requires_grad_(False)
        loss = adversarial_loss(discriminator.judge(features))
        discriminator.heads.requires_grad_(True)
        return loss


def augmented(x_LHW: Tensor, random: np.random.Generator) -> Tensor:
    """All levels of a slice turned by one random phase and, every other time, mirrored along W: complex64 (L, H, W).

    A scanner's phase is arbitrary, and so nearly is left and right of a head; the magnitude is what is compared.
    """
    turned = x_LHW * torch.polar(torch.tensor(1.0), torch.tensor(random.uniform(0, 2 * np.pi), dtype=torch.float32))
    return turned.flip(-1) if random.uniform() < 0.5 else turned


def _psnr(image_BHW: Tensor, reference_BHW: Tensor) -> Tensor:
    error = (image_BHW - reference_BHW).square().mean(dim=(1, 2))
    return 10 * torch.log10(reference_BHW.amax(dim=(1, 2)).square() / error)


def _file(backbones: Mapping[str, Path], name: str, key: str) -> Path:
    if name not in backbones:
        raise UserError(
            f"key '{key}': the weights {name!r} are not there; fetch them (rekon fetch-backbone) or set null."
        )
    return backbones[name]
