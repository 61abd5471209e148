"""Look at a trained network's routing: which samples go to which experts, and what their embeddings are.

The embeddings are drawn in a plane by scikit-learn's t-SNE, as in the paper's Fig. 2b, c.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from rekon.config import MaskSettings
from rekon.config.base import check
from rekon.config.more import ExpertsModel
from rekon.data.selection import Selection
from rekon.data.slices import SliceSet
from rekon.data.undersampled import spread
from rekon.errors import UserError
from rekon.more.inspection import Inspection, Routing, Sizes, write_inspection
from rekon.more.network import build, size
from rekon.more.reconstructor import ExpertsReconstructor, load
from rekon.physics.masks import Mask, read_mask
from rekon.plan import Plan

SLICES = 100  # of a modality, evenly spread: as many of each, enough to see where it goes
PERPLEXITY = 30.0  # scikit-learn's default, less where there are few samples


def inspect_more(plan: Plan, study: str, out: Path) -> None:
    """Inspect the first run that a study's config lists under `inspected`, below the current folder, and write `out`.

    Raises UserError for missing weights or data, and for a run that routes nothing.
    """
    device = torch.device("cuda" if plan.scale.compute.gpus and torch.cuda.is_available() else "cpu")
    runs = plan.inspected(study)
    if not runs:
        write_inspection(out, Inspection(sizes_of(plan, study)))
        return
    recipe, scale = plan.recipes[study, runs[0]], plan.scale.scale
    reconstructor = load(recipe, Path("weights") / scale / study / f"{runs[0]}.safetensors", device)
    settings = recipe.scored[0]
    assert isinstance(settings, MaskSettings), "the objective of this kind refuses anything else"
    dataset = next(dataset for _, run, dataset in plan.scored(study) if run == runs[0])
    slices = SliceSet(Path("runs") / scale / "data" / dataset / "test.json", recipe.data.size)
    mask = read_mask(settings.path(recipe.data.size))
    routing = observe(reconstructor, slices, mask, some_of_each(slices, reconstructor.model))
    write_inspection(out, Inspection(sizes_of(plan, study), routing, plane(routing.embedding_SRE[:, -1])))


def sizes_of(plan: Plan, study: str) -> Sizes:
    """Sizes of all networks of a study, counted without making them."""
    counted = {}
    for _, run in plan.trained(study, "experts"):
        recipe = plan.recipes[study, run]
        with torch.device("meta"):
            model = check(ExpertsModel, recipe.model, f"recipe of {study}/{run}, section 'model'")
            counted[run] = size(build(model, recipe.data.size))
    total, active = ([getattr(one, name) for one in counted.values()] for name in ("total", "active"))
    return Sizes(tuple(counted), np.array(total, np.int64), np.array(active, np.int64))


def some_of_each(slices: SliceSet, model: ExpertsModel, count: int = SLICES) -> list[int]:
    """At most `count` slices of every modality, evenly spread over its volumes."""
    selection = Selection(slices, model.modalities)
    found: list[int] = []
    for name in model.names:
        own = [index for index, group in zip(selection.indices, selection.groups, strict=True) if group == name]
        found += [own[place] for place in spread(len(own), count)] if own else []
    return sorted(found)


def plane(embedding_SE: np.ndarray) -> np.ndarray:
    """Embeddings in a plane: neighbours stay neighbours, distances between groups mean nothing. float32 (S, 2)."""
    from sklearn.manifold import TSNE

    samples = len(embedding_SE)
    if samples < 4:
        return np.zeros((samples, 2), np.float32)  # too few for neighbourhoods
    perplexity = min(PERPLEXITY, (samples - 1) / 3)
    found = TSNE(init="pca", perplexity=perplexity, method="exact", random_state=0).fit_transform(embedding_SE)
    return np.asarray(found, np.float32)


@torch.inference_mode()
def observe(
    reconstructor: ExpertsReconstructor, slices: SliceSet, mask: Mask, indices: Sequence[int] | None = None
) -> Routing:
    """Route slices of a test set as they would be reconstructed: without noise, with the mask of the run.

    indices: slices of `slices`; None: all that belong to a modality of the run. Raises UserError for a network without
    routers, and where no slice belongs to any modality.
    """
    if not reconstructor.network.routers:
        raise UserError(f"{reconstructor.name}: has one expert and routes nothing; inspect a run with more.")
    selection = Selection(slices, reconstructor.model.modalities)
    groups = dict(zip(selection.indices, selection.groups, strict=True))
    names = reconstructor.model.names
    wanted = [i for i in (groups if indices is None else indices) if i in groups]
    columns = torch.from_numpy(mask.columns)
    embeddings, gates, chosen = [], [], []
    for index in wanted:
        kspace = (slices.item(index).kspace * columns)[None].to(reconstructor.device)
        with torch.autocast(reconstructor.device.type, dtype=torch.bfloat16, enabled=reconstructor.half):
            routes = reconstructor.network(kspace, columns[None].to(reconstructor.device)).routes
        embeddings.append(torch.cat([route.embedding_ME for route in routes]).float().cpu().numpy())
        gates.append(torch.cat([route.logits_MN.softmax(dim=1) for route in routes]).cpu().numpy())
        chosen.append(torch.cat([route.chosen_MN for route in routes]).cpu().numpy())
    if not wanted:
        raise UserError(f"{slices.path}: none of the slices asked for is of {', '.join(names)}.")
    items = [slices.items[index] for index in wanted]
    parameters, active = size(reconstructor.network)
    return Routing(
        reconstructor.name, slices.dataset, tuple(item.volume for item in items), tuple(item.slice for item in items),
        names, np.array([names.index(groups[index]) for index in wanted]), np.stack(embeddings), np.stack(gates),
        np.stack(chosen), parameters, active,
    )  # fmt: skip
