"""Which items make up a step, a pure function of (seed, step), and the batches made of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

from rekon.errors import UserError
from rekon.randomness import generator
from rekon.training.distributed import Place
from rekon.training.objective import Objective


def items(seed: int, step: int, batch: int, length: int) -> list[int]:
    """Indices of the `batch` items of `step`, out of `length`.

    Steps cut one endless row into pieces: epoch after epoch, each a new permutation of all items. So every item
    comes equally often, and every batch is full.
    """
    assert length > 0
    places = range(step * batch, (step + 1) * batch)
    return [int(_order(seed, place // length, length)[place % length]) for place in places]


def batches(
    objective: Objective, seed: int, batch: int, place: Place, steps: range, workers: int
) -> Iterator[tuple[int, Any]]:
    """(step, this process's share of its batch, on the CPU) for `steps`; `workers` > 0 make them ahead of time.

    Raises what `objective.batch` raises.
    """
    source = _Batches(objective, seed, batch, place)
    made: Iterable[Any] = (source[step] for step in steps)
    if workers:
        made = DataLoader(
            source,
            batch_size=None,  # an item of `source` is a batch already
            sampler=steps,
            num_workers=workers,
            collate_fn=_as_it_is,
            pin_memory=place.device.type == "cuda",
            multiprocessing_context="fork",  # nothing has to be picklable, files are opened where they are read
        )
    for step, value in zip(steps, made, strict=True):
        if isinstance(value, UserError):
            raise value
        yield step, value


class _Batches(Dataset):
    """Batch of each step; any process can make any of them."""

    def __init__(self, objective: Objective, seed: int, batch: int, place: Place) -> None:
        self.objective, self.seed, self.batch, self.place = objective, seed, batch, place

    def __getitem__(self, step: int) -> Any:
        chosen = items(self.seed, step, self.batch, self.objective.train_length)
        size = len(chosen) // self.place.world
        try:
            return self.objective.batch(chosen[self.place.rank * size : (self.place.rank + 1) * size], step)
        except UserError as error:  # handed over as a value: a worker would wrap its text into a traceback
            return error


def _as_it_is(batch: Any) -> Any:
    return batch


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, length: int) -> np.ndarray:
    return generator(seed, "order", epoch).permutation(length)
