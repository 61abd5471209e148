"""A recipe trained to the end, or as far as time allows."""

from __future__ import annotations

import logging
from pathlib import Path

from rekon.config import Compute, Recipe
from rekon.errors import UserError
from rekon.studies import KINDS
from rekon.studies.kinds import Sources


def train(
    recipe: Recipe,
    sources: Sources,
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
            lambda device: objective(recipe, sources, device),
            recipe,
            TrainOutputs(weights, metrics, provenance),
            state,
            compute,
            max_minutes,
            {name: sha256(path) for name, path in sources.named(recipe).items()},
        )
    except BudgetReached as reached:
        logging.getLogger(__name__).warning("%s", reached)
        return False
    return True


def tokenise(recipe: Recipe, *, manifest: Path, weights: Path, output: Path, compute: Compute) -> None:
    """Cache the tokens of a split under every pattern of a tokenizer's recipe."""
    import torch

    from rekon.files import sha256
    from rekon.nas.tokens import tokenise as run
    from rekon.studies.nas import fixed_tokenizer, hierarchy

    torch.set_num_threads(compute.threads)
    device = torch.device("cuda" if compute.gpus else "cpu")
    tokenizer = fixed_tokenizer(weights, device)
    run(tokenizer, hierarchy(recipe, manifest, tokenizer.model.normalisation), sha256(weights), output)
