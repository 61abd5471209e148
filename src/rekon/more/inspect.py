"""Look at a trained network's routing: which samples go to which experts, and what their embeddings are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from rekon.data.selection import Selection
from rekon.data.slices import SliceSet
from rekon.errors import UserError
from rekon.more.inspection import Routing
from rekon.more.network import size
from rekon.more.reconstructor import ExpertsReconstructor
from rekon.physics.masks import Mask


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
