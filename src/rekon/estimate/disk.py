"""Bytes that a plan leaves on the disk, stage by stage; unknown where the catalogue does not tell a set's size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rekon.config import ExactMaskSettings, Recipe
from rekon.config.datasets import Simulation, Split
from rekon.estimate.contents import contents
from rekon.estimate.cost import Cost
from rekon.estimate.sets import Sets, Shape
from rekon.plan import Plan

ROW = 330  # bytes of a row of scores, as the demo's have


@dataclass(frozen=True)
class Place:
    """What lies in one place. bytes None: unknown."""

    stage: str  # raw | kspace | maps | masks | tokens | weights | state | results
    what: str
    bytes: float | None
    how: str  # where the number comes from
    until: str = ""  # when it goes; "": it stays


def places(plan: Plan, sets: Sets, cost: Callable[[Recipe], Cost | None], root: Path | str = ".") -> list[Place]:
    """Every place that holds more than a few files of text."""
    mapped = set(plan.mapped)
    found: list[Place] = []
    for dataset, split, _ in sets.used():
        if plan.joined(dataset):
            continue  # its volumes are its parts'
        found += _set(plan, sets, dataset, split, (dataset, split) in mapped, Path(root))
    found.append(_masks(plan))
    for recipe in plan.recipes.values():
        network = cost(recipe)
        if network is not None and recipe.training:
            found += _run(recipe, network, sets)
    return [*found, *_tokens(plan, sets), *_results(plan, sets)]


def raw_bytes(simulation: Simulation, shape: Shape) -> int:
    """A simulated raw volume: k-space with its oversampled readout, and the reference images."""
    slices, coils, rows, columns = shape
    return 8 * slices * coils * rows * simulation.oversampling * columns + 4 * slices * rows * columns


def _set(plan: Plan, sets: Sets, dataset: str, split: Split, mapped: bool, root: Path) -> list[Place]:
    size, entry, name = sets.size(dataset, split), plan.dataset(dataset), f"{dataset}/{split}"
    inside, whole = contents(plan, sets, dataset, split), entry.published.get(split)
    raw: float | None = None
    if whole is not None:
        raw = whole.gigabytes * 1e9 * (1 if size is None else size.slices / whole.slices)
    elif entry.simulation and size and size.shapes:
        raw = sum(raw_bytes(entry.simulation, shape) for shape in size.shapes)
    kspace, maps = (inside.kspace_bytes, inside.map_bytes) if inside else (None, None)
    source = inside.how if inside else "the catalogue does not tell"
    found = []
    for stage, folder, known in (("raw", "raw", raw), ("kspace", "data/kspace", kspace), ("maps", "data/maps", maps)):
        if stage == "maps" and not mapped:
            continue
        there = None if known is not None else _there(root / folder / name)
        how = source if there is None else "what lies there now"
        goes = stage == "raw" and (dataset, split) in plan.temporary("raw")
        until = "it is converted" if goes else ""
        found.append(Place(stage, name, known if known is not None else there, how, until))
    return found


def _there(folder: Path) -> float | None:
    """Bytes of the files in a folder; None where there are none."""
    total = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0
    return float(total) or None


def _masks(plan: Plan) -> Place:
    total = 0
    for mask, (rows, columns) in plan.masks.values():
        total += 6000 + (mask.variants * rows * columns if isinstance(mask, ExactMaskSettings) else columns)
    return Place("masks", f"{len(plan.masks)} masks", float(total), "a byte a sample at most: they are compressed")


def _run(recipe: Recipe, cost: Cost, sets: Sets) -> list[Place]:
    name = f"{recipe.study}/{recipe.run}"
    # the best weights so far, and what training goes on from: networks, with what trains beside them, and two moments
    beside = cost.held if recipe.kind in ("tokenizer", "diffusion") else 0
    state = 4.0 * (cost.published + 3 * cost.parameters + beside)
    return [
        Place("weights", name, 4.0 * cost.published, "4 bytes a number"),
        Place("state", name, state, "weights, moments, best weights so far", until="it is trained"),
    ]


def _tokens(plan: Plan, sets: Sets) -> list[Place]:
    found: dict[str, Place] = {}
    for recipe in plan.recipes.values():
        if not (recipe.training and "tokenizer" in recipe.parents):
            continue
        key = recipe.parent("tokenizer")
        tokenizer = plan.recipes[key]
        assert tokenizer.sampling is not None
        each = sum(side * side for side in tokenizer.model["grids"]) * len(tokenizer.sampling.patterns)
        width = 2 if tokenizer.model["vocabulary"] <= 2**15 else 4
        pairs: tuple[tuple[str, Split], ...] = ((recipe.data.train, "train"), (recipe.data.validation, "validation"))
        for dataset, split in pairs:
            size, name = sets.size(dataset, split), f"{'/'.join(key)} {dataset}/{split}"
            total = float(size.slices * each * width) if size else None
            found[name] = Place("tokens", name, total, f"{each} tokens a slice, {width} bytes each")
    return list(found.values())


def _results(plan: Plan, sets: Sets) -> list[Place]:
    found = []
    for study in plan.scale.studies:
        total, known = 0.0, True
        for _, run, dataset in plan.scored(study):
            recipe, size = plan.recipes[study, run], sets.size(dataset, "test")
            known = known and size is not None
            rows = (size.of(recipe.data.contrasts) if size else 0) * len(recipe.scored)
            panel = 12 * recipe.data.size[0] * recipe.data.size[1] * len(recipe.scored)  # three pictures, float32
            total += ROW * rows + panel
        found.append(Place("results", study, total if known else None, f"{ROW} bytes a row, three pictures a mask"))
    return found
