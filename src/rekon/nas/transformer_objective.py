"""How the base transformer and the privileged teacher are trained: teacher forcing and cross-entropy (Sec. 4.2, 4.3).

They differ in their recipe alone: the teacher's context shows the fully sampled image, and part of the tokens in its
history are random ones, so that it learns to trust the image more than its prefix.

Suffixes: B slices, N tokens of all levels, L of the predicted ones, V codes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from rekon.config import Recipe, TrainingSettings
from rekon.config.base import check
from rekon.config.nas import TransformerModel
from rekon.config.sampling import Pattern
from rekon.errors import UserError
from rekon.nas.inputs import pattern_of, spread
from rekon.nas.tokenizer import Tokenizer
from rekon.nas.tokens import TokenSet, by_level, labels
from rekon.nas.transformer import ScaleTransformer, histories
from rekon.randomness import generator
from rekon.training import distributed
from rekon.training.objective import Objective, Update, move, optimiser
from rekon.training.weights import load_into

Batch = dict[str, Tensor]


class TransformerObjective(Objective):
    """One transformer over the tokens of a fixed tokenizer."""

    model_class: type[TransformerModel] = TransformerModel

    def __init__(
        self,
        recipe: Recipe,
        train: TokenSet,
        validation: TokenSet,
        tokenizer: Tokenizer,
        device: torch.device,
        base: Path | None = None,
    ) -> None:
        """base: weights to start from; without, the transformer starts afresh. Raises UserError where the sets do not
        serve, or the weights do not fit."""
        assert recipe.training is not None, "the registry asks for objectives of trained runs only"
        for tokens, split in ((train, "training"), (validation, "validation")):
            if not len(tokens):
                path = tokens.hierarchy.images.path
                raise UserError(f"{path}: no slices for {split}; raise the number of volumes of this split.")
        self.train, self.validation, self.tokenizer, self.device = train, validation, tokenizer, device
        self.seed, self.settings, self.train_length = recipe.seed, recipe.training, len(train)
        source = f"recipe of {recipe.study}/{recipe.run}, section 'model'"
        self.model = check(self.model_class, recipe.model, source)
        self.transformer = ScaleTransformer(self.model, tokenizer)
        self.networks = nn.ModuleDict({"transformer": self.transformer})
        if base is not None:
            load_into(dict(self.networks), base)
        self.networks.to(device)
        self.optimisers = {"transformer": optimiser(groups(self.transformer, recipe.training), recipe.training)}
        self.scales = [*(f"R{r}" for r in train.hierarchy.sampling.accelerations[1:]), "FS"]
        self.constants = self._constants()

    def batch(self, indices: Sequence[int], step: int) -> Batch:
        """ids int64 (B, N); prefix: the same, partly random; pattern int64 (B,); images complex64 (B, H, W)."""
        patterns = [pattern_of(self.seed, step, index, self.train.patterns) for index in indices]
        batch = self._items(self.train, list(zip(indices, patterns, strict=True)))
        noise, prefix = self.model.prefix_noise, batch["ids"].clone()
        if noise > 0:
            measured = self.train.grids[0] ** 2  # these tokens are computed, never predicted, and stay clean
            for row, index in zip(prefix, indices, strict=True):
                draw = generator(self.seed, "prefix", step, index)
                places = torch.from_numpy(draw.random(len(row)) < noise)
                random = torch.from_numpy(draw.integers(self.tokenizer.model.vocabulary, size=len(row)))
                row[measured:] = torch.where(places, random, row)[measured:]
        return batch | {"prefix": prefix}

    def step(self, batch: Any, step: int, update: Update) -> Mapping[str, Tensor]:
        logits_BLV = self._forced(batch, batch["prefix"])
        target_BL = self._targets(batch)
        loss = cross_entropy(logits_BLV.flatten(0, 1), target_BL.flatten())
        update("transformer", loss)
        return {"loss": loss, "accuracy": (logits_BLV.argmax(-1) == target_BL).float().mean()}

    def validate(self) -> dict[str, float]:
        """val_loss: cross-entropy, nats per token, with clean teacher forcing; val_accuracy: share of tokens whose
        likeliest code is the true one, and the same per level. Beside them what knowing nothing would give:
        chance, and naming the training set's most frequent code of the level."""
        totals = torch.zeros(1 + len(self.scales), dtype=torch.float64)  # cross-entropy, right tokens per level
        for _, batch in self._validation_batches():
            totals += self._forced_totals(batch)
        loss, *right = distributed.total(totals.to(self.device)).tolist()
        return self._shares(loss, right)

    def compile(self) -> None:
        self.transformer.compile()
        if self.transformer.context is not None:
            self.transformer.context.compile()

    @property
    def _images(self) -> set[str]:
        """Images that a batch has to hold."""
        return set() if self.transformer.context is None else set(self.transformer.context.images)

    def _items(self, tokens: TokenSet, items: Sequence[tuple[int, Pattern]]) -> Batch:
        """ids, pattern and images of some slices under a pattern each, on the CPU."""
        wanted = self._images
        batch = {
            "ids": torch.stack([tokens.of(index, pattern) for index, pattern in items]),
            "pattern": labels([pattern for _, pattern in items]),
        }
        if wanted == {"measured"}:
            batch["measured"] = torch.stack([tokens.hierarchy.measured(*item) for item in items])
        elif wanted:
            pairs = torch.stack([tokens.hierarchy.pair(*item) for item in items])
            batch |= {name: pairs[:, place] for place, name in enumerate(("measured", "full")) if name in wanted}
        return batch

    def _forced(self, batch: Batch, prefix_BN: Tensor) -> Tensor:
        """Logits (B, L, V) of all predicted tokens after a given prefix."""
        return self.transformer(self._history(prefix_BN), batch["pattern"], context_of(self.transformer, batch))

    @torch.no_grad()
    def _history(self, prefix_BN: Tensor) -> Tensor:
        return histories(self.tokenizer, by_level(prefix_BN, self.train.grids)[:-1])

    def _targets(self, batch: Batch) -> Tensor:
        """Ids of the predicted levels, (B, L)."""
        return batch["ids"][:, self.train.grids[0] ** 2 :]

    def _validation_items(self) -> list[tuple[int, Pattern]]:
        """Slices spread over the validation set, patterns taking turns."""
        patterns = self.validation.patterns
        chosen = spread(len(self.validation), self.settings.validation_slices)
        return [(index, patterns[place % len(patterns)]) for place, index in enumerate(chosen)]

    def _validation_batches(self) -> Iterator[tuple[list[tuple[int, Pattern]], Batch]]:
        """This process's share of the validation items, and what they hold, on the device."""
        mine, size = list(distributed.share(self._validation_items())), self.settings.batch
        for start in range(0, len(mine), size):
            part = mine[start : start + size]
            yield part, move(self._items(self.validation, part), self.device)

    def _forced_totals(self, batch: Batch) -> Tensor:
        """Cross-entropy and right tokens of each level, summed over a batch: float64 (1 + levels,), on the CPU."""
        logits_BLV, target_BL = self._forced(batch, batch["ids"]), self._targets(batch)
        loss = cross_entropy(logits_BLV.flatten(0, 1), target_BL.flatten(), reduction="sum")
        right = by_level(logits_BLV.argmax(-1) == target_BL, self.transformer.sides)
        return torch.stack([loss, *(part.sum() for part in right)]).double().cpu()

    def _shares(self, loss: float, right: Sequence[float]) -> dict[str, float]:
        """What `validate` returns, from totals over all validation items."""
        count = len(self._validation_items())
        tokens = [count * side**2 for side in self.transformer.sides]
        named = zip(self.scales, right, tokens, strict=True)
        return {
            "val_loss": loss / sum(tokens),
            "val_accuracy": sum(right) / sum(tokens),
            **{f"val_accuracy_{scale}": hits / whole for scale, hits, whole in named},
            **self.constants,
        }

    def _constants(self) -> dict[str, float]:
        """Accuracies on the validation items that need no network."""
        right = tokens = 0
        levels = by_level(self.train.ids, self.train.grids)[1:]
        frequent = [torch.bincount(level.flatten().long()).argmax() for level in levels]
        for index, pattern in self._validation_items():
            true = by_level(self.validation.of(index, pattern), self.train.grids)[1:]
            right += sum(int((level == code).sum()) for level, code in zip(true, frequent, strict=True))
            tokens += sum(len(level) for level in true)
        return {"accuracy_of_chance": 1 / self.tokenizer.model.vocabulary, "accuracy_of_frequent": right / tokens}


def context_of(transformer: ScaleTransformer, batch: Batch) -> list[Tensor] | None:
    """What a transformer is shown of a batch's images; None for one without cross-attention."""
    return None if transformer.context is None else transformer.context(batch, batch["pattern"])


def groups(network: nn.Module, settings: TrainingSettings) -> Any:
    """Parameters in two groups: weights of linear layers and convolutions decay; biases, scales and tables do not."""
    decaying = {m.weight for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d)}
    trained = [p for p in network.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p in decaying], "weight_decay": settings.weight_decay},
        {"params": [p for p in trained if p not in decaying], "weight_decay": 0.0},
    ]
