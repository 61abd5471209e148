"""What a study hands to the training loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from rekon.config import TrainingSettings


class Update(Protocol):
    """Given by the loop to `Objective.step`: one optimiser step, as recipe and device ask for it."""

    def __call__(self, name: str, loss: Tensor) -> None:
        """Back-propagate `loss` (a scalar, the mean over this process's items), average gradients over processes,
        clip their norm, set the learning rate of this step, and step `optimisers[name]`.

        Gradients of `optimisers[name]` are cleared first, so an adversary's leftovers do no harm.
        """


class Objective(ABC):
    """Networks, optimisers, one training step, validation. Made on its device by a builder, `build(device)`.

    The loop seeds torch's global generators with a function of (seed, step) before each `step`, so dropout and
    noise drawn there need no care. Everything drawn in `batch` must come from `rekon.randomness`, as a function of
    (seed, step, item); it may run in another process.
    """

    networks: nn.ModuleDict  # everything with weights; trained, saved and restored
    optimisers: dict[str, torch.optim.Optimizer]  # over parameters of `networks`; see `optimiser` below
    train_length: int  # items in the training set
    published: tuple[str, ...] | None = None  # the networks whose weights are the run's product; None: all
    selection: str = "val_loss"  # key of `validate`'s result; the weights with the lowest value are kept

    @abstractmethod
    def batch(self, indices: Sequence[int], step: int) -> Any:
        """CPU tensors (alone or in dicts, lists, tuples) of the items `indices` of the training set at `step`."""

    @abstractmethod
    def step(self, batch: Any, step: int, update: Update) -> Mapping[str, float | Tensor]:
        """One training step on a batch (already on the device): losses, `update` per optimiser. Returns values to log.

        Values are scalars; tensors need not be moved to the CPU (that would make the GPU wait).
        """

    @abstractmethod
    def validate(self) -> Mapping[str, float]:
        """Metrics over the validation set, equal on all processes (see `distributed.share` and `distributed.total`).

        Called with the networks in evaluation mode and without gradients.
        """

    def compile(self) -> None:
        """torch.compile, in place, what pays; called once, on a GPU, if the recipe asks for it. Keys must stay."""
        for network in self.networks.values():
            network.compile()

    def extra_state(self) -> dict[str, Tensor]:
        """Tensors beyond networks and optimisers that training carries along (running codebook sums, for example)."""
        return {}

    def load_extra_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `extra_state` gave."""
        assert not state, f"unexpected extra state: {', '.join(state)}"

    def product(self) -> dict[str, Tensor]:
        """The tensors of the run's weights file: `<network>.<key>` of every published network."""
        names = tuple(self.networks) if self.published is None else self.published
        return {f"{name}.{key}": value for name in names for key, value in self.networks[name].state_dict().items()}


def optimiser(parameters: Iterable[nn.Parameter], settings: TrainingSettings) -> torch.optim.Optimizer:
    """Adam or AdamW as the recipe asks. `fused` is one kernel instead of a dozen per tensor, on the CPU too."""
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[settings.optimiser]
    return kind(
        parameters, lr=settings.learning_rate, betas=settings.betas, weight_decay=settings.weight_decay, fused=True
    )


def move(batch: Any, device: torch.device) -> Any:
    """`batch` with its tensors on `device`; dicts, lists and tuples keep their shape."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, Mapping):
        return {key: move(value, device) for key, value in batch.items()}
    if isinstance(batch, list | tuple):
        return type(batch)(move(value, device) for value in batch)
    return batch
