"""A recipe scored on a test set."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rekon.config import Compute, EvaluationSettings, MaskSettings, Recipe
from rekon.errors import UserError
from rekon.files import atomic_path, write_json
from rekon.studies import KINDS
from rekon.studies.kinds import Trained, maps_folder

if TYPE_CHECKING:
    import numpy as np
    import torch

    from rekon.evaluation.score import Example, Sampling
    from rekon.physics.patterns import ExactMask


def evaluate(
    recipe: Recipe,
    trained: Trained,
    *,
    manifest: Path,
    settings: EvaluationSettings,
    scores: Path,
    panel: Path,
    provenance: Path,
    compute: Compute,
    backbones: Mapping[str, Path] | None = None,
) -> None:
    """Score a run on the test set of `manifest`: rows (CSV), one slice's pictures (npz), provenance (JSON)."""
    import torch

    from rekon.evaluation.panel import write_panels
    from rekon.evaluation.score import evaluate as score
    from rekon.provenance import describe

    started = time.time()
    torch.set_num_threads(compute.threads)
    device = torch.device("cuda" if compute.gpus else "cpu")
    factory = KINDS[recipe.kind].reconstructor
    if factory is None:
        raise UserError(f"{recipe.study}/{recipe.run}: a run of kind {recipe.kind!r} reconstructs nothing.")
    reconstructor = factory(recipe, trained, device)
    slices = scored_slices(recipe, manifest, reconstructor.needs_maps)

    def fitted_maps(example: Any) -> torch.Tensor:
        return slices.maps(example)

    result = score(
        reconstructor,
        slices,
        samplings(recipe),
        settings,
        dataset=slices.dataset,
        device=device,
        maps=fitted_maps if reconstructor.needs_maps else None,
        backbones=dict(backbones or {}),
    )
    with atomic_path(scores) as temporary:
        result.rows.to_csv(temporary, index=False, float_format="%.9g")
    write_panels(panel, result.panels)
    masks = [Path(mask.path(recipe.data.size)) for mask in recipe.scored]
    inputs: dict[str, Any] = {"manifest": manifest, "data": slices.hash}
    inputs |= {"mask" if len(masks) == 1 else f"mask.{path}": path for path in masks}
    inputs |= {"weights": trained.weights} if trained.weights else {}
    inputs |= {f"parent.{role}": path for role, path in trained.parents.items()}
    inputs |= {"tuned": trained.tuned} if trained.tuned else {}
    inputs |= {f"backbone.{name}": path for name, path in (backbones or {}).items()}
    used = settings.model_dump(mode="json")
    write_json(provenance, describe("evaluate", inputs, started=started, device=str(device), settings=used))


def samplings(recipe: Recipe) -> list[Sampling]:
    """How a recipe's test slices are undersampled, from the mask artefacts."""
    from rekon.evaluation.score import Sampling
    from rekon.physics.masks import read_mask
    from rekon.physics.patterns import read_exact_mask

    found = []
    for settings in recipe.scored:
        path = settings.path(recipe.data.size)
        if isinstance(settings, MaskSettings):
            found.append(Sampling(settings, _always(read_mask(path).columns)))
        else:
            found.append(Sampling(settings, _drawn(read_exact_mask(path))))
    return found


def _always(columns: np.ndarray) -> Callable[[Example], np.ndarray]:
    return lambda example: columns


def _drawn(mask: ExactMask) -> Callable[[Example], np.ndarray]:
    return lambda example: mask.of(example.volume, example.slice)


def scored_slices(recipe: Recipe, manifest: Path, needs_maps: bool) -> Any:
    """What is scored: multi-coil slices, or, under a hierarchy of patterns, coil-combined images."""
    folder = maps_folder(manifest)
    if recipe.sampling:
        from rekon.data.images import ImageSet

        return ImageSet(manifest, recipe.data.size, folder)
    from rekon.data.slices import SliceSet

    combined = recipe.data.reference == "combined"
    maps = folder if needs_maps or combined else None
    return SliceSet(manifest, recipe.data.size, maps=maps, combined=combined, contrasts=recipe.data.contrasts)
