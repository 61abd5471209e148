"""metrics.jsonl: one JSON object a line, `{"step": finished steps, name: value, ...}`.

It holds no times, so equal runs have equal histories.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rekon.errors import UserError
from rekon.training import distributed
from rekon.training.distributed import Place

Sums = dict[str, list[float]]  # name -> [sum, number of steps]


class History:
    """A history that grows at its end, in the run's state folder."""

    def __init__(self, path: Path, length: int) -> None:
        """Open `path` and drop what stands behind its first `length` bytes: lines of steps that will come again.

        The caller checks with `holds` that so many bytes are there.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("r+b" if path.exists() else "w+b")
        self._file.truncate(length)
        self._file.seek(length)

    @staticmethod
    def holds(path: Path, length: int) -> bool:
        """Whether `path` has at least `length` bytes."""
        return length == 0 or (path.exists() and path.stat().st_size >= length)

    def append(self, step: int, values: Mapping[str, Any]) -> None:
        """Add a line; readers that follow the file see it at once."""
        self._file.write(json.dumps({"step": step, **values}, allow_nan=False).encode() + b"\n")
        self._file.flush()

    def sync(self) -> int:
        """Put all lines on the disk; returns the length in bytes. Belongs before every saved state."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        self._file.close()


class Tally:
    """Values of steps, added up between two lines of the history.

    Values stay on the device until `settle`: fetching each at once would make the GPU wait for the CPU every step.
    """

    def __init__(self, run: str, steps: int, place: Place, sums: Sums) -> None:
        """run, steps: for messages. sums: filled in place, so that a saved state can hold it."""
        self.run, self.steps, self.place, self.sums = run, steps, place, sums
        self._pending: list[tuple[int, Mapping[str, float | Tensor]]] = []

    def add(self, step: int, values: Mapping[str, float | Tensor]) -> None:
        """Note the values (scalars) of `step`."""
        self._pending.append((step, values))

    def settle(self) -> None:
        """Add up what is noted, as means over processes. UserError naming the step where a value is not finite."""
        names = [(step, name) for step, values in self._pending for name in values]
        if not names:
            return
        flat = [torch.as_tensor(value, dtype=torch.float64) for _, values in self._pending for value in values.values()]
        means = distributed.total(torch.stack([value.to(self.place.device) for value in flat])) / self.place.world
        for (step, name), value in zip(names, means.tolist(), strict=True):
            if not math.isfinite(value):
                raise UserError(
                    f"{self.run}: {name} is {value} at step {step} of {self.steps}; lower 'training.learning_rate' "
                    "or check the training data, and run again."
                )
            entry = self.sums.setdefault(name, [0.0, 0])
            entry[0], entry[1] = entry[0] + value, entry[1] + 1
        self._pending.clear()

    def means(self) -> dict[str, float]:
        """Mean of every value since the last call, which starts the next interval."""
        self.settle()
        means = {name: total / count for name, (total, count) in self.sums.items()}
        self.sums.clear()
        return means


def read_history(path: Path | str) -> list[dict[str, Any]]:
    """Lines of a metrics.jsonl; UserError naming the line that is no JSON object.

    A last line without its end (a run that is being written, or was killed) is left out.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; train the run first.") from None
    rows = []
    for number, line in enumerate(text[: text.rfind("\n") + 1].splitlines(), 1):
        try:
            row = json.loads(line)
            row["step"]
        except (json.JSONDecodeError, TypeError, KeyError):
            raise UserError(f"{path}: line {number} is no JSON object with a 'step'; train the run again.") from None
        rows.append(row)
    return rows
