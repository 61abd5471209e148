"""What work takes on a machine: hours, attempts, memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from rekon.config import Compute, Recipe
from rekon.errors import UserError
from rekon.estimate.cost import Cost

UTILISATION = 0.35  # of the peak that training reaches, as measured for large networks elsewhere; yours may differ
CONTEXT_GB = 1.5  # what CUDA, its libraries and their workspace take
GB = 1e9


@dataclass(frozen=True)
class Machine:
    """A kind of GPU (or a core): peak in TFLOP/s by a recipe's precision, as its maker states it, without sparsity."""

    name: str
    bf16: float
    fp32: float  # with TF32, which torch uses for convolutions by default
    memory_gb: float | None  # None: a CPU
    utilisation: float = UTILISATION

    def speed(self, precision: str) -> float:
        """FLOP/s that are reached."""
        return (self.bf16 if precision == "bf16" else self.fp32) * 1e12 * self.utilisation

    def hours(self, flops: float, precision: str) -> float:
        return flops / self.speed(precision) / 3600


MACHINES = {
    "a100": Machine("NVIDIA A100 SXM 80 GB", 312.0, 156.0, 80.0),
    "h100": Machine("NVIDIA H100 SXM 80 GB", 989.0, 494.0, 80.0),
    # the demo's networks reach 3 to 19 GFLOP/s of a core, the small convolutions least
    "cpu": Machine("one CPU core", 0.05, 0.05, None),
}


def machine(
    name: str | None, compute: Compute, tflops: float | None = None, utilisation: float = UTILISATION
) -> Machine:
    """The machine by its short name; without one, what the scale asks for. tflops: another peak, at any precision."""
    name = name or ("a100" if compute.gpus else "cpu")
    if name not in MACHINES:
        raise UserError(f"--gpu {name}: known are {', '.join(MACHINES)}; or give --tflops.")
    if not 0 < utilisation <= 1 or (tflops is not None and tflops <= 0):
        raise UserError("--utilisation must lie above 0 and up to 1, --tflops above 0.")
    found = replace(MACHINES[name], utilisation=utilisation)
    return found if tflops is None else replace(found, bf16=tflops, fp32=tflops)


def attempts(hours: float, asked: float, limit: float | None = None) -> int:
    """Jobs that a training of `hours` takes: each ends before its time, saves and goes on; 0 where that cannot be.

    The first asks for `asked` hours, and each further one for as many more, up to `limit`; by default all for `asked`.
    """
    limit, count, done = asked if limit is None else limit, 0, 0.0
    while count == 0 or done < hours:
        count += 1
        wall = min(count * asked, limit)
        usable = wall - max(2 / 60, 0.05 * wall)  # the margin that `rekon train --wall-minutes` leaves
        if usable <= 0:
            return 0
        done += usable
    return count


@dataclass(frozen=True)
class Memory:
    """Of one training process, in GB (1e9 bytes)."""

    weights: float  # weights, their gradients, two moments; a copy in bf16 where that is the precision
    held: float  # frozen networks, averages, buffers
    activations: float
    context: float = CONTEXT_GB

    @property
    def total(self) -> float:
        return self.weights + self.held + self.activations + self.context


def memory(cost: Cost, recipe: Recipe, gpus: int, most_coils: int) -> Memory:
    """Memory of each of `gpus` training processes, from the slices of a step that each gets."""
    assert recipe.training is not None
    half = recipe.training.precision == "bf16"
    slices = math.ceil(recipe.training.batch / max(gpus, 1))
    coils = min(most_coils, recipe.data.max_coils or most_coils)
    activations = slices * cost.activations.at(coils) * (0.5 if half else 1.0)
    numbers = 4 * 4 + (2 if half else 0)  # bytes a parameter
    return Memory(cost.parameters * numbers / GB, cost.held * 4 / GB, activations / GB, CONTEXT_GB if gpus else 0.0)
