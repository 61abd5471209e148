"""On-policy privileged distillation (Sec. 4.3, Eq. 4): the student rolls out, the teacher, who sees the fully sampled
image, judges every step of that rollout, and the student moves towards its judgement.

Suffixes: B slices, N tokens of all levels, L of the predicted ones, V codes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rekon.config import Recipe
from rekon.config.nas import DecodingSettings, DistilledModel
from rekon.nas.generate import rollout, uniforms
from rekon.nas.tokenizer import Tokenizer
from rekon.nas.tokens import TokenSet, by_level
from rekon.nas.transformer import histories
from rekon.nas.transformer_objective import Batch, TransformerObjective, context_of
from rekon.nas.weights import load_transformer
from rekon.randomness import torch_generator
from rekon.training import distributed
from rekon.training.objective import Update

_SAMPLED = DecodingSettings(rule="multinomial")


class DistilObjective(TransformerObjective):
    """The student is the only network trained; tokenizer and teacher are fixed and belong to no checkpoint."""

    model: DistilledModel
    model_class = DistilledModel

    def __init__(
        self,
        recipe: Recipe,
        train: TokenSet,
        validation: TokenSet,
        tokenizer: Tokenizer,
        device: torch.device,
        *,
        base: Path,
        teacher: Path,
    ) -> None:
        """base: weights the student starts from; teacher: weights of the teacher."""
        self.teacher = load_transformer(teacher, tokenizer, device)
        super().__init__(recipe, train, validation, tokenizer, device, base)

    def batch(self, indices: Sequence[int], step: int) -> Batch:
        """As in the base class; uniform float64 (B, L): what decides the draws of each slice's rollout."""
        return super().batch(indices, step) | {"uniform": self._uniform("rollout", step, indices)}

    def step(self, batch: Any, step: int, update: Update) -> Mapping[str, Tensor]:
        loss = self._divergence(*self._judged(batch), self.model.divergence).mean()
        update("transformer", loss)
        return {"loss": loss}

    def validate(self) -> dict[str, float]:
        """val_loss: the divergence that is minimised, nats per token, on rollouts whose draws follow from the slice
        alone; val_kl: Eq. 4's, whichever that is. val_cross_entropy and accuracies: with clean teacher forcing."""
        totals = torch.zeros(3 + len(self.scales), dtype=torch.float64)
        for items, batch in self._validation_batches():
            drawn = self._uniform("held-out rollout", 0, [index for index, _ in items])
            logits = self._judged(batch | {"uniform": drawn.to(self.device)})
            kinds = [self._divergence(*logits, direction).sum() for direction in (self.model.divergence, "reverse")]
            totals += torch.cat([torch.stack(kinds).double().cpu(), self._forced_totals(batch)])
        own, reverse, cross_entropy, *right = distributed.total(totals.to(self.device)).tolist()
        forced, count = self._shares(cross_entropy, right), len(self._validation_items())
        return {
            "val_loss": own / count,
            "val_kl": reverse / count,
            "val_cross_entropy": forced.pop("val_loss"),
        } | forced

    @property
    def _images(self) -> set[str]:
        return super()._images | (set() if self.teacher.context is None else set(self.teacher.context.images))

    def _uniform(self, purpose: str, step: int, indices: Sequence[int]) -> Tensor:
        drawn = [torch_generator(self.seed, purpose, step, index) for index in indices]
        return torch.stack([uniforms(one, self.transformer.ends[-1]) for one in drawn])

    def _judged(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits (B, L, V) of student and teacher along the student's own rollout.

        The gradient is that of the student's distribution at each token; what was drawn before is given.
        """
        pattern_B, student = batch["pattern"], self.transformer
        context = context_of(student, batch)
        ids = self._rollout(batch, context)
        with torch.no_grad():
            history_BLd = histories(self.tokenizer, ids[:-1])
            teacher_BLV = self.teacher(history_BLd, pattern_B, context_of(self.teacher, batch))
        return student(history_BLd, pattern_B, context), teacher_BLV

    def _divergence(self, student_BLV: Tensor, teacher_BLV: Tensor, direction: str) -> Tensor:
        """Mean over the tokens of a scale, then over scales: (B,)."""
        return scale_mean(divergence(student_BLV, teacher_BLV, direction), self.transformer.sides)

    def _rollout(self, batch: Batch, context: Sequence[Tensor] | None) -> list[Tensor]:
        """Sampled by the student as it is at inference: without dropped paths."""
        training, first_Bn = self.transformer.training, by_level(batch["ids"], self.train.grids)[0]
        self.transformer.eval()
        try:
            return rollout(
                self.transformer, self.tokenizer, first_Bn, batch["pattern"], context, _SAMPLED, batch["uniform"],
                self.model.temperature,
            )  # fmt: skip
        finally:
            self.transformer.train(training)


def divergence(student_BLV: Tensor, teacher_BLV: Tensor, direction: str) -> Tensor:
    """Kullback-Leibler divergence of each token's distributions, over the full vocabulary, from logits: (B, L), nats.

    reverse (Eq. 4): KL(student || teacher), which seeks the teacher's modes; forward: KL(teacher || student).
    """
    p, q = student_BLV.log_softmax(-1), teacher_BLV.log_softmax(-1)
    if direction == "forward":
        p, q = q, p
    return (p.exp() * (p - q)).sum(-1)


def scale_mean(values_BL: Tensor, sides: Sequence[int]) -> Tensor:
    """Mean over the tokens of each scale, then over scales, which count alike however many tokens they have: (B,)."""
    return torch.stack([level.mean(-1) for level in by_level(values_BL, sides)]).mean(0)
