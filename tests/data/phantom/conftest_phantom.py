"""Small versions of the catalogue's simulated sets, scanned once per test session."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from rekon.config.base import load
from rekon.config.datasets import Catalogue, Dataset, Simulation
from rekon.data.phantom import cohort
from rekon.data.phantom.acquire import Scan

CATALOGUE = Path(__file__).parents[3] / "config" / "datasets.yaml"


@cache
def catalogue() -> Catalogue:
    return load(Catalogue, CATALOGUE)


def small(name: str, **changes: object) -> Simulation:
    """The catalogue's set at a size that takes a fraction of a second."""
    simulation = catalogue()[name].simulation
    assert simulation is not None
    defaults = {"matrix": (64, 64), "phase_lines": 64, "slices": 2, "coils": (4,)}
    return simulation.model_copy(update={**defaults, **changes})


@cache
def scanned(name: str, index: int = 0, **changes: object) -> Scan:
    entry: Dataset = catalogue()[name]
    simulation = small(name, **changes)
    contrast = list(simulation.sequences)[index % len(simulation.sequences)]  # in the catalogue's order
    return cohort.simulated_scan(name, simulation, "test", cohort.contrasts_of(simulation).index(contrast), entry)


SETS = tuple(name for name, entry in load(Catalogue, CATALOGUE).root.items() if entry.simulation is not None)
FASTMRI_SETS = tuple(name for name in SETS if catalogue()[name].format == "fastmri")
