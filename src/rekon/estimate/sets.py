"""How many slices and coils a set has: from its manifest, from its simulation, or as assumed, and which of these."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rekon.config import Dataset, Recipe
from rekon.config.datasets import Simulation, Split
from rekon.data.phantom.names import volumes as simulated_volumes
from rekon.errors import UserError
from rekon.files import read_json
from rekon.plan import Plan
from rekon.recipe import contrast_groups, selected

Source = Literal["manifest", "simulation", "assumed", "given"]
SOURCES: tuple[Source, ...] = ("assumed", "given", "simulation", "manifest")  # the weakest first
Shape = tuple[int, int, int, int]  # slices, coils, readout, phase encoding


@dataclass(frozen=True)
class SetSize:
    """A split. coils: mean over slices; most_coils: of the volume with most."""

    slices: int
    coils: float
    most_coils: int
    source: Source
    contrasts: Mapping[str, int] = field(default_factory=dict)  # contrast -> volumes of it, where that is known
    shapes: tuple[Shape, ...] = ()  # of the volumes, where they are known

    @property
    def volumes(self) -> int:
        return sum(self.contrasts.values())

    def of(self, contrasts: tuple[str, ...] | None) -> int:
        """Slices of some contrasts, None: all; volumes count as equally long where their shapes are not known."""
        if contrasts is None or not self.volumes:
            return self.slices
        return round(self.slices * sum(self.contrasts.get(name, 0) for name in contrasts) / self.volumes)


class Sets:
    """Sizes of a plan's sets."""

    def __init__(
        self, plan: Plan, root: Path | str = ".", given: Mapping[tuple[str, Split], int] | None = None
    ) -> None:
        """root: where manifests may lie; given: slices that the user says a split has."""
        self.plan, self.root, self.given = plan, Path(root), dict(given or {})
        self._sizes: dict[tuple[str, Split], SetSize | None] = {}

    def size(self, dataset: str, split: Split) -> SetSize | None:
        """Size of a split; None where nobody knows it."""
        if (dataset, split) not in self._sizes:
            self._sizes[dataset, split] = self._find(dataset, split)
        return self._sizes[dataset, split]

    def used(self) -> list[tuple[str, Split, SetSize | None]]:
        """Every split of the scale."""
        return [
            (name, split, self.size(name, split))
            for name in self.plan.scale.datasets
            for split in self.plan.splits(name)
        ]

    def _find(self, dataset: str, split: Split) -> SetSize | None:
        entry = self.plan.dataset(dataset)
        found = (
            self._manifest(dataset, split)
            or self._simulated(dataset, entry, split)
            or published(self.plan, dataset, split)
        )
        found = found or self._joined(entry, split)
        slices = self.given.get((dataset, split))
        if slices is None:
            return found
        known = found or SetSize(slices, 16.0, 32, "given")
        return SetSize(slices, known.coils, known.most_coils, "given", known.contrasts)

    def _manifest(self, dataset: str, split: Split) -> SetSize | None:
        path = self.root / "runs" / self.plan.scale.scale / "data" / dataset / f"{split}.json"
        if not path.exists():
            return None
        volumes = read_json(path)["volumes"]
        return _counted([tuple(one["shape"]) for one in volumes], [one["contrast"] for one in volumes], "manifest")

    def _simulated(self, dataset: str, entry: Dataset, split: Split) -> SetSize | None:
        if entry.simulation is None:
            return None
        names = simulated_volumes(
            dataset, entry.simulation, split, getattr(self.plan.scale.datasets[dataset], split) or 0
        )
        dropped = sum(entry.stack.drop) if entry.stack else 0
        shapes = [simulated_shape(entry.simulation, index, dropped) for index in range(len(names))]
        return _counted(shapes, [one.contrast for one in names], "simulation")

    def _joined(self, entry: Dataset, split: Split) -> SetSize | None:
        """Of a set made of others: so much of each as its parts say; None where nobody knows one of them."""
        slices, coils, most, contrasts = 0, 0.0, 0, dict[str, int]()
        sources: list[Source] = []
        for part in entry.parts.get(split, ()):
            size = self.size(part.dataset, part.split)
            if size is None:
                return None
            taken = {name: math.ceil(part.high * n) - math.ceil(part.low * n) for name, n in size.contrasts.items()}
            seen = round(size.slices * sum(taken.values()) / size.volumes) if size.volumes else size.slices
            slices, coils, most = slices + seen, coils + seen * size.coils, max(most, size.most_coils)
            contrasts = {name: contrasts.get(name, 0) + taken.get(name, 0) for name in {**contrasts, **taken}}
            sources.append(size.source)
        if not slices:
            return None
        weakest = next(source for source in SOURCES if source in sources)
        return SetSize(slices, coils / slices, most, weakest, contrasts)


def published(plan: Plan, dataset: str, split: Split) -> SetSize | None:
    """What is published about a set, as far as the scale uses it; None where the catalogue tells nothing."""
    whole, known = plan.dataset(dataset).published.get(split), plan.expected(dataset, split)
    if whole is None or known is None:
        return None
    contrasts = whole.contrasts if known.volumes == whole.volumes else {}
    return SetSize(known.slices, *whole.coils, "assumed", contrasts or {"all": known.volumes})


def simulated_shape(simulation: Simulation, index: int, dropped: int = 0) -> Shape:
    """Shape of the canonical k-space of a split's index-th volume; dropped: slices that the set leaves out."""
    coils = simulation.coils[index % len(simulation.coils)]
    return (simulation.slices - dropped, coils, *simulation.matrix)


def trained_on(recipe: Recipe, size: SetSize) -> int:
    """Slices of a set that a run is trained on: all, or those of the subjects that it selects."""
    groups = contrast_groups(recipe)
    if groups is None:
        return size.slices
    total = 0.0
    for group, subjects in selected(recipe).items():
        volumes = sum(size.contrasts.get(contrast, 0) for contrast in groups[group])
        seen = volumes if subjects is None else min(subjects, volumes)
        total += size.slices * seen / size.volumes if size.volumes else 0
    return round(total)


def validated_on(recipe: Recipe, size: SetSize) -> int:
    """Slices of a set that each validation of a run sees; runs that select are validated on what they train on."""
    assert recipe.training is not None, "nothing to train in this recipe"
    slices = size.slices
    if (groups := contrast_groups(recipe)) is not None:
        seen = [group for group, subjects in selected(recipe).items() if subjects != 0]
        slices = size.of(tuple(contrast for group in seen for contrast in groups[group]))
    return min(slices, recipe.training.validation_slices or slices)


def parse_slices(options: list[str]) -> dict[tuple[str, Split], int]:
    """`set/split=slices` options; UserError for anything else."""
    found: dict[tuple[str, Split], int] = {}
    splits: dict[str, Split] = {"train": "train", "validation": "validation", "test": "test"}
    for option in options:
        name, _, number = option.partition("=")
        dataset, _, split = name.rpartition("/")
        if not dataset or split not in splits or not number.isdecimal() or not int(number):
            raise UserError(f"--slices {option}: expected SET/SPLIT=NUMBER, for example fastmri-brain/train=70748.")
        found[dataset, splits[split]] = int(number)
    return found


def _counted(shapes: list[Shape], contrasts: list[str], source: Source) -> SetSize | None:
    slices = sum(shape[0] for shape in shapes)
    if not slices:
        return None
    coils = sum(shape[0] * shape[1] for shape in shapes) / slices
    count = {name: contrasts.count(name) for name in sorted(set(contrasts))}
    return SetSize(slices, coils, max(shape[1] for shape in shapes), source, count, tuple(shapes))
