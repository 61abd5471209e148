"""Names of the simulated cohort: which volumes a set has. Light, because the Snakefile asks while it is parsed."""

from __future__ import annotations

import re
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
    """First `count` volumes of a split, one per subject; the contrasts take turns.

    Where scans are repeated, the volume is the first repetition, named as M4Raw's files are (`repetitions`).
    """
    contrasts, base = contrasts_of(simulation), dataset_name.replace("-", "_")
    out = []
    for index in range(count):
        number, contrast = subject_number(split, index), contrasts[index % len(contrasts)]
        name = f"{base}_{contrast}_{number:05d}"
        if simulation.repetitions > 1:
            name = f"{base}_{number:05d}_{contrast.removeprefix('AX')}01"
        out.append(VolumeId(name, f"{dataset_name}-{number:05d}", contrast))
    return out


def repetitions(volume: str, simulation: Simulation) -> list[str]:
    """Names of all repetitions of a volume's scan; the volume alone if scans are not repeated."""
    if simulation.repetitions == 1:
        return [volume]
    return [f"{volume[:-2]}{number:02d}" for number in range(1, simulation.repetitions + 1)]


def place(volume: str, simulation: Simulation, split: Split) -> tuple[int, int]:
    """Index in its split, and repetition counted from 0, of a volume or of one of its `repetitions`."""
    digits = re.search(r"_(\d{5})(_|$)", volume)
    if digits is None:
        raise UserError(f"volume {volume!r}: no name of a simulated one, whose subject is five digits.")
    repetition = int(volume[-2:]) - 1 if simulation.repetitions > 1 else 0
    return int(digits[1]) - FIRST_SUBJECT[split], repetition
