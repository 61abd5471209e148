"""Look inside the trained networks: coil maps (Fig. 3), attention (Fig. 4), runtime against patches (Fig. 6)."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np
import torch

from rekon.config import Recipe, UnrolledModel
from rekon.config.base import check
from rekon.data.slices import Example, SliceSet
from rekon.physics.espirit import espirit_maps
from rekon.physics.masks import make_mask
from rekon.plan import Plan
from rekon.provenance import device_name
from rekon.ueps import cascade
from rekon.ueps.inspection import Attention, CoilMaps, Inspection, Runtime, write_inspection
from rekon.ueps.reconstructor import load
from rekon.ueps.unrolled import build

STUDY = "ueps"
WITH_MAPS, WITH_ATTENTION = "e2e-varnet", "ue-vit"  # the rungs of Figs. 3 and 4
TIMED = {"ue-vit": "UE", "uep-vit": "UEP", "ueps": "UEPS"}  # the rungs of Fig. 6 and their names there
PATCHES = (32, 16, 8, 4, 2, 1)  # pixels (A.3)
LONGEST = 3.0  # s: a point that may take longer is left out; four times the tokens take at most 16 times as long
REPEATS = 3  # fewer where one already takes a second
COILS = 4  # shown


def inspect(plan: Plan, output: Path, root: Path | None = None) -> None:
    """Inspect the runs of a plan and write results/<scale>/ueps/inspect.npz.

    Uses the middle slice of the first test volume of the first in-distribution and the first zero-shot set, as the
    picture panels do. What the scale does not train is left out. Raises UserError for missing weights or data.
    """
    root = root or Path()
    device = torch.device("cuda" if plan.scale.compute.gpus and torch.cuda.is_available() else "cpu")
    recipes = {run: recipe for (study, run), recipe in plan.recipes.items() if study == STUDY}
    maps: list[CoilMaps] = []
    attention = None
    if WITH_MAPS in recipes:
        network = _network(plan, recipes[WITH_MAPS], root, device)
        for dataset in plan.scale.evaluation.datasets[:2]:
            if plan.catalogue[dataset].reference:
                example = _example(plan, dataset, recipes[WITH_MAPS], root)
                if len(example.kspace) > 1:  # one coil has nothing to compare: its normalised map is 1
                    maps.append(coil_maps(network, example, recipes[WITH_MAPS]))
    if WITH_ATTENTION in recipes:
        recipe = recipes[WITH_ATTENTION]
        example = _example(plan, plan.scale.evaluation.datasets[0], recipe, root)
        if example.target is not None:
            attention = attend(_network(plan, recipe, root, device), example, recipe)
    timed = {label: recipes[run] for run, label in TIMED.items() if run in recipes}
    runtime = measure(timed, device) if timed else None
    write_inspection(output, Inspection(tuple(maps), attention, runtime))


def coil_maps(network: torch.nn.Module, example: Example, recipe: Recipe) -> CoilMaps:
    """E2EVarNet's maps from undersampled data against ESPIRiT's from all of it."""
    kspace, mask = _undersampled(example, recipe)
    device = next(network.parameters()).device
    trace = cascade.inspect(network, kspace[None].to(device), mask[None].to(device))
    assert trace.maps is not None, "only E2EVarNet has coil maps"
    top, bottom, left, right = example.crop_box
    estimate = trace.maps[0].cpu().numpy()[:, top:bottom, left:right]
    reference = espirit_maps(example.kspace.numpy())[:, top:bottom, left:right]
    shown = np.unique(np.linspace(0, len(reference) - 1, COILS).round().astype(int))
    assert example.target is not None
    return CoilMaps(
        example.dataset, example.volume, example.slice, len(reference), tuple(shown.tolist()),
        example.target.numpy()[top:bottom, left:right], reference[shown], estimate[shown],
        similarity(reference, estimate),
    )  # fmt: skip


def similarity(reference: np.ndarray, estimate: np.ndarray) -> np.ndarray:
    """|<a, b>| / (|a| |b|) over the coils at each pixel: complex (C, h, w) twice to float32 (h, w).

    1 for maps that differ by a common factor and phase; NaN where the reference is zero.
    """
    product = np.abs((reference.conj() * estimate).sum(0))
    norms = np.linalg.norm(reference, axis=0) * np.linalg.norm(estimate, axis=0)
    known = np.linalg.norm(reference, axis=0) > 0
    return np.where(known, product / np.maximum(norms, np.finfo(np.float32).tiny), np.nan).astype(np.float32)


def attend(network: torch.nn.Module, example: Example, recipe: Recipe) -> Attention:
    """Where three query patches look in the last cascade, and how much of it is in their rows and columns."""
    assert example.target is not None
    kspace, mask = _undersampled(example, recipe)
    device = next(network.parameters()).device
    image = example.target.numpy()
    patch = check(UnrolledModel, recipe.model, "recipe").vit.patch  # type: ignore[union-attr]
    h, w = (n // patch for n in recipe.data.size)
    queries = query_patches(image, patch)
    maps = []
    for row, column in queries:
        place = ((row + 0.5) / h, (column + 0.5) / w)
        trace = cascade.inspect(network, kspace[None].to(device), mask[None].to(device), place)
        maps.append(trace.attention[-1][0].mean(dim=(0, 2)).cpu().numpy())  # coils and heads: (layers, h, w)
    scores = np.stack(maps)
    near_rows, near_columns = (np.abs(np.arange(n) - queries[:, axis, None]) <= 1 for axis, n in ((0, h), (1, w)))
    return Attention(
        example.dataset, example.volume, example.slice, image, queries, scores.mean(1).astype(np.float32),
        np.einsum("qlhw,qh->l", scores, near_rows).astype(np.float32) / len(queries),
        np.einsum("qlhw,qw->l", scores, near_columns).astype(np.float32) / len(queries),
        np.array([near_rows.mean(), near_columns.mean()], np.float32),
    )  # fmt: skip


def query_patches(image: np.ndarray, patch: int) -> np.ndarray:
    """Three patches with structure, one each in the upper, middle and lower part: int (3, 2), row and column."""
    h, w = (n // patch for n in image.shape)
    tiles = image[: h * patch, : w * patch].reshape(h, patch, w, patch)
    contrast = tiles.std(axis=(1, 3))
    found = []
    for part in (0.35, 0.5, 0.65):
        row = min(int(part * h), h - 1)
        inner = contrast[row, w // 4 : w - w // 4]
        found.append((row, w // 4 + int(inner.argmax())))
    return np.array(found)


def measure(recipes: dict[str, Recipe], device: torch.device) -> Runtime:
    """Forward time of one coil image for every patch size that divides the matrix, with untrained weights, ms."""
    size = next(iter(recipes.values())).data.size
    patches = [patch for patch in PATCHES if all(n % patch == 0 for n in size)]
    times = np.full((len(recipes), len(patches)), np.nan)
    for line, recipe in zip(times, recipes.values(), strict=True):
        for index, patch in enumerate(patches):
            if index and not 16 * line[index - 1] < 1e3 * LONGEST:
                break
            line[index] = _forward(with_patch(recipe, patch), size, device)
    counts = np.array([size[0] * size[1] // patch**2 for patch in patches])
    return Runtime(tuple(recipes), size, counts, times, device_name(str(device)))


def with_patch(recipe: Recipe, patch: int) -> UnrolledModel:
    """The recipe's model with another patch; matrices of the schedule grow to its next multiple."""
    model = recipe.model
    schedule = model["schedule"]
    grown = [-(-n // patch) * patch for n in schedule] if schedule else None
    return check(UnrolledModel, model | {"vit": model["vit"] | {"patch": patch}, "schedule": grown}, "recipe")


def _forward(model: UnrolledModel, size: tuple[int, int], device: torch.device) -> float:
    network = build(model, size).to(device).eval()
    kspace = torch.randn(1, 1, *size, dtype=torch.complex64, generator=torch.Generator().manual_seed(0)).to(device)
    mask = torch.ones(1, size[1], dtype=torch.bool, device=device)
    seconds: list[float] = []
    with torch.inference_mode():
        while len(seconds) < 2 or (len(seconds) <= REPEATS and sum(seconds) < 1):
            start = time.perf_counter()
            network(kspace, mask)
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
    return 1e3 * statistics.median(seconds[1:])  # the first one warms up


def _undersampled(example: Example, recipe: Recipe) -> tuple[torch.Tensor, torch.Tensor]:
    assert recipe.mask is not None, "the ladder is trained with one mask of columns"
    mask = torch.from_numpy(make_mask(recipe.mask, recipe.data.size[1]).columns)
    return example.kspace * mask, mask


def _example(plan: Plan, dataset: str, recipe: Recipe, root: Path) -> Example:
    slices = SliceSet(root / "runs" / plan.scale.scale / "data" / dataset / "test.json", recipe.data.size)
    count = sum(item.volume == slices.items[0].volume for item in slices.items)
    return slices.item(count // 2)


def _network(plan: Plan, recipe: Recipe, root: Path, device: torch.device) -> torch.nn.Module:
    weights = root / "weights" / plan.scale.scale / recipe.study / f"{recipe.run}.safetensors"
    return load(recipe, weights, device).network
