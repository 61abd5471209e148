"""The prior as one thing: a U-Net behind EDM's formulas, its contrast labels, and its weights from another run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rekon.config.base import check
from rekon.config.dpm import DiffusionModel
from rekon.dpm.edm import Denoiser
from rekon.dpm.network import UNet
from rekon.errors import UserError
from rekon.training.weights import load_into, load_weights


def build(model: DiffusionModel) -> Denoiser:
    """The prior with random weights."""
    return Denoiser(UNet(model), model.sigma_data)


def one_hot(model: DiffusionModel, contrast: str) -> Tensor:
    """Label of a contrast, float32 (labels,); zeros, as where it is withheld in training, for one without a label."""
    label, number = torch.zeros(len(model.labels)), model.label(contrast)
    if number is not None:
        label[number] = 1
    return label


def read_prior(weights: Path) -> tuple[Denoiser, DiffusionModel, dict[str, Any]]:
    """A trained prior (its averaged weights), its model section, and the recipe that made it.

    Raises UserError where the file is missing, damaged, or of another kind of run.
    """
    _, recipe = load_weights(weights)
    if recipe.get("kind") != "diffusion":
        raise UserError(f"{weights}: holds a run of kind {recipe.get('kind')!r}, not a diffusion prior.")
    model = check(DiffusionModel, recipe["model"], f"{weights}, recipe, section 'model'")
    prior = build(model)
    load_into({"ema": prior}, weights)
    return prior, model, recipe


def start_from(network: Denoiser, model: DiffusionModel, base: Path) -> None:
    """Fill a prior with the averaged weights of another run, whose shapes and labels must be the same."""
    _, other, _ = read_prior(base)
    if other.labels != model.labels:
        raise UserError(
            f"{base}: its contrast labels are {', '.join(other.labels)}, not {', '.join(model.labels)}; list the "
            "contrasts of all stages under 'model.contrasts' of both runs."
        )
    load_into({"ema": network}, base)
