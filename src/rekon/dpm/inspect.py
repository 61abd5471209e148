"""Look at the trained priors: what they draw without a measurement, and how sure their posteriors are with one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from rekon.config import MaskSettings, Recipe
from rekon.config.dpm import SamplerSettings
from rekon.data.images import ImageSet
from rekon.data.slices import Example, SliceSet
from rekon.data.undersampled import spread
from rekon.dpm import sampling
from rekon.dpm.inspection import Case, Inspection, PriorDraws, write_inspection
from rekon.dpm.prior import one_hot
from rekon.dpm.reconstructor import PosteriorSampler, load
from rekon.dpm.tuning import read_tuned, scan_of
from rekon.dpm.uncertainty import Posterior, calibration, posterior
from rekon.errors import UserError
from rekon.evaluation.score import middle_of_first_volume
from rekon.physics.masks import read_mask
from rekon.physics.patterns import read_exact_mask
from rekon.plan import Plan
from rekon.randomness import torch_generator

PRIORS = ("pretrained", "fine-tuned")  # runs that draw without a measurement
JUDGED = ("fine-tuned", "stroke-tuned")  # runs whose posteriors are compared with the truth
SLICES = 4  # of a test set, evenly spread, and the one that all runs picture
DRAWS = 8  # of each slice: a standard deviation of eight is right to a quarter
FLOOR = 0.05  # of a slice's maximum: background and dark fluid, where magnitudes are no Gaussian, do not count
PRIOR_DRAWS, PRIOR_STEPS = 3, 12
PRIOR = SamplerSettings()  # its noise levels: the published ones, whatever a run's own sampler starts from

Slices = SliceSet | ImageSet
MaskOf = Callable[[Example], np.ndarray]  # bool (W,) or (H, W)


def inspect_dpm(plan: Plan, study: str, out: Path) -> None:
    """Inspect the runs that a study's config lists under `inspected`, below the current folder, and write `out`.

    What is not among them is left out. Raises UserError for missing weights, maps or data, and for a test set in which
    no slice has a reference.
    """
    device = torch.device("cuda" if plan.scale.compute.gpus and torch.cuda.is_available() else "cpu")
    runs = plan.inspected(study)
    samplers = {run: _sampler(plan, study, run, device) for run in dict.fromkeys((*PRIORS, *JUDGED)) if run in runs}
    recipes = {run: plan.recipes[study, run] for run in samplers}
    priors = {run: sampler for run, sampler in samplers.items() if run in PRIORS}
    found = []
    for run in (run for run in JUDGED if run in runs):
        dataset = next(dataset for _, name, dataset in plan.scored(study) if name == run)
        slices, masks = _slices(plan, recipes[run], dataset), _masks(recipes[run])
        found += [judge(samplers[run], slices, masks[r], r) for r in sorted({min(masks), max(masks)})]
    write_inspection(out, Inspection(prior_draws(plan, recipes, priors) if priors else None, tuple(found)))


@torch.no_grad()
def prior_draws(
    plan: Plan, recipes: Mapping[str, Recipe], samplers: Mapping[str, PosteriorSampler]
) -> PriorDraws | None:
    """Some images of every contrast label that one of the runs was trained on; None if there is no such label."""
    training: dict[str, np.ndarray] = {}
    for run in samplers:
        for label in samplers[run].model.labels:
            if label not in training and _sees(recipes[run], label):
                image = _trained_on(plan, recipes[run], samplers[run].model.contrasts[label])
                training |= {} if image is None else {label: image}
    if not training:
        return None
    labels, size = sorted(training), next(iter(training.values())).shape
    seen = [[_sees(recipes[run], label) for label in labels] for run in samplers]
    sigmas = sampling.schedule(PRIOR_STEPS, PRIOR.sigma_min, PRIOR.sigma_max, PRIOR.rho)
    images = []
    for sampler in samplers.values():
        generator = torch_generator(0, "inspected prior")
        noise = sampling.noise([generator], PRIOR_DRAWS, (size[0], size[1]), sampler.device)[0].repeat(
            len(labels), 1, 1
        )
        one_hots = torch.stack([one_hot(sampler.model, sampler.model.contrasts[label][0]) for label in labels])
        denoise = _denoise(sampler, one_hots.repeat_interleave(PRIOR_DRAWS, 0).to(sampler.device))
        drawn = sampling.heun(denoise, sigmas[0] * noise, sigmas).abs().float().cpu().numpy()
        images.append(drawn.reshape(len(labels), PRIOR_DRAWS, *size))
    real = np.stack([training[label] for label in labels])
    return PriorDraws(tuple(samplers), tuple(labels), np.array(seen), np.stack(images), real, PRIOR_STEPS)


def judge(sampler: PosteriorSampler, slices: Slices, mask: MaskOf, acceleration: int) -> Case:
    """Several draws of some slices; pictures of the slice that the report shows of every run."""
    sampler.settings = sampler.settings.model_copy(update={"samples": DRAWS})
    chosen = dict.fromkeys([middle_of_first_volume(slices), *spread(len(slices), SLICES)]) if len(slices) else {}
    examples = [slices.item(index) for index in chosen]
    examples = [example for example in examples if example.target is not None and example.target.any()]
    if not examples:
        raise UserError(f"{slices.path}: no slice has a reference to compare posteriors with; check the test set.")
    posteriors = [_posterior(sampler, slices, example, mask(example), acceleration) for example in examples]
    first = examples[0]
    return Case(
        sampler.name, slices.dataset, acceleration, first.volume, first.slice, posteriors[0], len(examples), FLOOR,
        calibration(posteriors, floor=FLOOR),
    )  # fmt: skip


def _posterior(
    sampler: PosteriorSampler, slices: Slices, example: Example, mask: np.ndarray, acceleration: int
) -> Posterior:
    """All draws of a slice are one batch; more slices in it would not fit at paper size."""
    assert example.target is not None
    sampled = torch.as_tensor(mask, dtype=torch.bool)
    kspace, maps = (example.kspace * sampled)[None], slices.maps(example)[None]
    kspace, sampled, maps = (value.to(sampler.device) for value in (kspace, sampled, maps))
    draws = sampler.draw(kspace, sampled, maps, [scan_of(example, acceleration)])[0]
    return posterior(draws.abs().cpu().numpy(), example.target.numpy())


def _denoise(sampler: PosteriorSampler, label: torch.Tensor) -> sampling.Denoise:
    return lambda x, sigma: sampler.denoiser(x, torch.full((len(x),), sigma, device=x.device), label)


def _sees(recipe: Recipe, label: str) -> bool:
    """Whether a run is trained on images of a label."""
    return recipe.data.select is None or recipe.data.select.get(label, 0) != 0


def _trained_on(plan: Plan, recipe: Recipe, contrasts: Sequence[str]) -> np.ndarray | None:
    """Magnitude of the middle slice of the first training volume of some contrasts, whose subject every run with these
    contrasts has seen; None where the set has none."""
    images = ImageSet(*_files(plan, recipe.data.train, "train", recipe))
    names = [name for name, entry in images.volumes.items() if entry["contrast"] in contrasts]
    if not names:
        return None
    indices = [index for index, item in enumerate(images.items) if item.volume == names[0]]
    return images.image(indices[len(indices) // 2]).abs().numpy()


def _slices(plan: Plan, recipe: Recipe, dataset: str) -> Slices:
    """What the run is scored on."""
    manifest, size, maps = _files(plan, dataset, "test", recipe)
    if recipe.sampling:
        return ImageSet(manifest, size, maps)
    combined = recipe.data.reference == "combined"
    return SliceSet(manifest, size, maps=maps, combined=combined, contrasts=recipe.data.contrasts)


def _masks(recipe: Recipe) -> dict[int, MaskOf]:
    """By acceleration; of a hierarchy its first pattern."""
    found: dict[int, MaskOf] = {}
    for settings in recipe.scored:
        path = settings.path(recipe.data.size)
        if settings.acceleration not in found:
            found[settings.acceleration] = _columns(path) if isinstance(settings, MaskSettings) else _variant(path)
    return found


def _columns(path: str) -> MaskOf:
    columns = read_mask(path).columns
    return lambda example: columns


def _variant(path: str) -> MaskOf:
    mask = read_exact_mask(path)
    return lambda example: mask.of(example.volume, example.slice)


def _files(plan: Plan, dataset: str, split: str, recipe: Recipe) -> tuple[Path, tuple[int, int], Path]:
    """Manifest of a split, the networks' matrix, folder of coil maps."""
    manifest = Path("runs") / plan.scale.scale / "data" / dataset / f"{split}.json"
    return manifest, recipe.data.size, Path("data/maps") / dataset / split


def _sampler(plan: Plan, study: str, run: str, device: torch.device) -> PosteriorSampler:
    """A run as it is scored, with what its sweep found."""
    scale = plan.scale.scale
    tuned = read_tuned(Path("runs") / scale / study / run / "zeta.json") if plan.tuned(study, run) else (None, None)
    return load(plan.recipes[study, run], Path("weights") / scale / study / f"{run}.safetensors", device, *tuned)
