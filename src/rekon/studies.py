"""The one registry: kind of run -> its objective (how it is trained) and its reconstructor (how it is used).

A new kind of method is one line here and its model section in `rekon.recipe.MODELS`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rekon.config import Compute, EvaluationSettings, Recipe
from rekon.errors import UserError
from rekon.files import atomic_path, write_json

if TYPE_CHECKING:
    import torch

    from rekon.evaluation.reconstructor import Reconstructor
    from rekon.training.objective import Objective


@dataclass(frozen=True)
class Kind:
    """What a kind of run hands over. Factories import what they need when called: start-up stays light."""

    reconstructor: Callable[[Recipe, Path | None, torch.device], Reconstructor]
    objective: Callable[[Recipe, Mapping[str, Path], torch.device], Objective] | None = None


def _unrolled_objective(recipe: Recipe, inputs: Mapping[str, Path], device: torch.device) -> Objective:
    from rekon.data.slices import SliceSet
    from rekon.physics.masks import read_mask
    from rekon.ueps.objective import UnrolledObjective

    mask = read_mask(inputs["mask"])
    train, validation = (SliceSet(inputs[name], recipe.data.size, mask) for name in ("train", "validation"))
    return UnrolledObjective(recipe, train, validation, mask, device)


def _unrolled_reconstructor(recipe: Recipe, weights: Path | None, device: torch.device) -> Reconstructor:
    from rekon.ueps.reconstructor import load

    if weights is None:
        raise UserError(f"{recipe.study}/{recipe.run}: needs trained weights; give --weights.")
    return load(recipe, weights, device)


def _classical(recipe: Recipe, weights: Path | None, device: torch.device) -> Reconstructor:
    from rekon.config.base import check
    from rekon.config.ueps import ClassicalModel

    model = check(ClassicalModel, recipe.model, f"recipe of {recipe.study}/{recipe.run}")
    if model.method == "zero-filled":
        from rekon.classical.zero_filled import ZeroFilled

        return ZeroFilled()
    from rekon.classical.sense import Sense

    return Sense(model)


KINDS = {
    "unrolled": Kind(_unrolled_reconstructor, _unrolled_objective),
    "classical": Kind(_classical),
}


def train(
    recipe: Recipe,
    inputs: Mapping[str, Path],
    *,
    weights: Path,
    metrics: Path,
    provenance: Path,
    state: Path,
    compute: Compute,
    max_minutes: float | None = None,
) -> bool:
    """Train a run to the end, or go on with it. False when `max_minutes` ran out: the state is saved, call again."""
    from rekon.files import sha256
    from rekon.training.loop import BudgetReached, TrainOutputs
    from rekon.training.loop import train as loop

    objective = KINDS[recipe.kind].objective
    if objective is None or recipe.training is None:
        raise UserError(f"{recipe.study}/{recipe.run}: a run of kind {recipe.kind!r} has nothing to train.")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        loop(
            lambda device: objective(recipe, inputs, device),
            recipe,
            TrainOutputs(weights, metrics, provenance),
            state,
            compute,
            max_minutes,
            {name: sha256(path) for name, path in inputs.items()},
        )
    except BudgetReached as reached:
        logging.getLogger(__name__).warning("%s", reached)
        return False
    return True


def _calibrate_missing(volumes: Mapping[str, Mapping[str, Any]], folder: Path) -> None:
    """Maps of volumes whose names Snakemake could not know, hence had no calibration job for (`source: manual`)."""
    from rekon.data.calibrate import calibrate

    for name, volume in volumes.items():
        if not (folder / f"{name}.h5").exists():
            calibrate(volume["path"], folder / f"{name}.h5")


def evaluate(
    recipe: Recipe,
    *,
    manifest: Path,
    mask: Path,
    weights: Path | None,
    settings: EvaluationSettings,
    scores: Path,
    panel: Path,
    provenance: Path,
    compute: Compute,
) -> None:
    """Score a run on the test set of `manifest`: rows (CSV), one slice's pictures (npz), provenance (JSON)."""
    import torch

    from rekon.data.slices import SliceSet
    from rekon.evaluation.panel import write_panels
    from rekon.evaluation.score import Sampling
    from rekon.evaluation.score import evaluate as score
    from rekon.physics.masks import read_mask
    from rekon.provenance import describe

    started = time.time()
    torch.set_num_threads(compute.threads)
    device = torch.device("cuda" if compute.gpus else "cpu")
    columns = read_mask(mask)
    reconstructor = KINDS[recipe.kind].reconstructor(recipe, weights, device)
    dataset, split = manifest.parent.name, manifest.stem
    maps = Path("data/maps") / dataset / split if reconstructor.needs_maps else None
    slices = SliceSet(manifest, recipe.data.size, columns, maps=maps)
    if maps:
        _calibrate_missing(slices.volumes, maps)

    def fitted_maps(example: Any) -> torch.Tensor:
        return slices.maps(example)

    result = score(
        reconstructor,
        slices,
        [Sampling(columns.settings, lambda example: columns.columns)],
        settings,
        dataset=slices.dataset,
        device=device,
        maps=fitted_maps if maps else None,
    )
    with atomic_path(scores) as temporary:
        result.rows.to_csv(temporary, index=False, float_format="%.9g")
    write_panels(panel, result.panels)
    inputs: dict[str, Any] = {"manifest": manifest, "mask": mask, "data": slices.hash}
    if weights is not None:
        inputs["weights"] = weights
    used = settings.model_dump(mode="json")
    write_json(provenance, describe("evaluate", inputs, started=started, device=str(device), settings=used))
