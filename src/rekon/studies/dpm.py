"""Factories of the diffusion study: the prior, its use as a reconstruction, and the search for the data's weight."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rekon.config import Compute, Recipe
from rekon.studies.kinds import Sources, Trained, lacking, maps_folder

if TYPE_CHECKING:
    import torch

    from rekon.dpm.reconstructor import PosteriorSampler
    from rekon.training.objective import Objective


def objective(recipe: Recipe, sources: Sources, device: torch.device) -> Objective:
    """Training of a prior, from random weights or those of its parent in the role `base`."""
    from rekon.data.images import ImageSet
    from rekon.dpm.objective import DiffusionObjective

    manifests = (sources.train, sources.validation)
    train, validation = (ImageSet(path, recipe.data.size, maps_folder(path)) for path in manifests)
    return DiffusionObjective(recipe, train, validation, device, sources.parents.get("base"))


def reconstructor(recipe: Recipe, trained: Trained, device: torch.device) -> PosteriorSampler:
    """Posterior sampling with a run's own prior or that of its parent in the role `weights`."""
    from rekon.dpm.reconstructor import load
    from rekon.dpm.tuning import read_tuned

    weights = trained.weights or trained.parents.get("weights")
    if weights is None:
        lacking(recipe, "a trained prior; give --weights or --parent weights=WEIGHTS")
    if trained.tuned is None:
        return load(recipe, weights, device)
    return load(recipe, weights, device, *read_tuned(trained.tuned))


def tune(recipe: Recipe, trained: Trained, *, manifest: Path, output: Path, compute: Compute) -> None:
    """Search zeta for every acceleration of a run on validation slices, and the scale if the recipe leaves it open."""
    import torch

    from rekon.config.base import check
    from rekon.config.dpm import DiffusionModel
    from rekon.data.undersampled import spread
    from rekon.dpm.tuning import measured_scale, sweep, write_sweep
    from rekon.files import sha256
    from rekon.studies.evaluate import samplings, scored_slices

    torch.set_num_threads(compute.threads)
    model = check(DiffusionModel, recipe.model, f"recipe of {recipe.study}/{recipe.run}, section 'model'")
    if model.sampler.tuning is None:
        lacking(recipe, "'model.sampler.tuning' in its recipe")
    sampler = reconstructor(recipe, trained, torch.device("cuda" if compute.gpus else "cpu"))
    slices = scored_slices(recipe, manifest, needs_maps=True)
    masks = {sampling.settings.acceleration: sampling.mask for sampling in samplings(recipe)}
    indices = spread(len(slices), model.sampler.tuning.slices)
    if sampler.settings.scale is None and sampler.settings.scaling == "measured":
        scale = measured_scale(slices, masks.values(), indices)
        sampler.settings = sampler.settings.model_copy(update={"scale": scale})

    def progress(done: int, total: int) -> None:
        print(f"{recipe.study}/{recipe.run}: {done} of {total} trial reconstructions", flush=True)

    files = {"manifest": manifest, "weights": trained.weights or trained.parents["weights"]}
    found = sweep(sampler, slices, masks, model.sampler.tuning.zetas, indices, progress)
    write_sweep(output, found, {name: sha256(path) for name, path in files.items()})
