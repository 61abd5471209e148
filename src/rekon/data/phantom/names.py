"""Names of the simulated cohort: which volumes a set has. Light, because the Snakefile asks while it is parsed."""

from __future__ import annotations

from dataclasses import dataclass

from rekon.config.datasets import Simulation, Split
from rekon.errors import UserError

FIRST_SUBJECT: dict[Split, int] = {"train": 0, "validation": 10_000, "test": 20_000}


@dataclass(frozen=True)
class VolumeId:
    """A volume's name, subject and contrast."""

    name: str
    subject: str
    contrast: str


def subject_number(split: Split, index: int) -> int:
    """Number of the index-th subject of a split; splits never share one."""
    if not 0 <= index < 10_000:
        raise UserError(f"split {split!r}: a simulated split has at most 10000 volumes; ask for fewer.")
    return FIRST_SUBJECT[split] + index


def contrasts_of(simulation: Simulation) -> list[str]:
    """The contrasts in the order in which subjects take them: by name, since JSON and YAML do not keep an order."""
    return sorted(simulation.sequences)


def volumes(dataset_name: str, simulation: Simulation, split: Split, count: int) -> list[VolumeId]:
    """First `count` volumes of a split, one per subject; the contrasts take turns."""
    contrasts = contrasts_of(simulation)
    out = []
    for index in range(count):
        number, contrast = subject_number(split, index), contrasts[index % len(contrasts)]
        name = f"{dataset_name.replace('-', '_')}_{contrast}_{number:05d}"
        out.append(VolumeId(name, f"{dataset_name}-{number:05d}", contrast))
    return out
