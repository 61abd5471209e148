"""Factories of the NAS study: tokenizer, transformer, distillation, and the U-Net on the same inputs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rekon.config import Recipe
from rekon.config.nas import Normalisation, TokenizerModel
from rekon.errors import UserError
from rekon.studies.kinds import Sources, Trained, lacking, maps_folder, parent

if TYPE_CHECKING:
    import torch

    from rekon.evaluation.reconstructor import Reconstructor
    from rekon.nas.inputs import Hierarchy
    from rekon.nas.tokenizer import Tokenizer
    from rekon.nas.tokens import TokenSet
    from rekon.training.objective import Objective


def tokenizer_objective(recipe: Recipe, sources: Sources, device: torch.device) -> Objective:
    """Training of the AQ-VAE."""
    from rekon.config.base import check
    from rekon.nas.tokenizer_objective import TokenizerObjective

    model = check(TokenizerModel, recipe.model, f"recipe of {recipe.study}/{recipe.run}, section 'model'")
    train, validation = (hierarchy(recipe, path, model.normalisation) for path in (sources.train, sources.validation))
    return TokenizerObjective(recipe, train, validation, device, sources.backbones)


def transformer_objective(recipe: Recipe, sources: Sources, device: torch.device) -> Objective:
    """Training of a transformer, base or teacher, on the fixed tokenizer's tokens."""
    from rekon.nas.transformer_objective import TransformerObjective

    tokenizer, train, validation = _tokenised(recipe, sources, device)
    return TransformerObjective(recipe, train, validation, tokenizer, device, base=sources.parents.get("base"))


def distil_objective(recipe: Recipe, sources: Sources, device: torch.device) -> Objective:
    """Training of a student on its own rollouts."""
    from rekon.nas.distil_objective import DistilObjective

    tokenizer, train, validation = _tokenised(recipe, sources, device)
    base, teacher = (parent(recipe, sources.parents, role) for role in ("base", "teacher"))
    return DistilObjective(recipe, train, validation, tokenizer, device, base=base, teacher=teacher)


def unet_objective(recipe: Recipe, sources: Sources, device: torch.device) -> Objective:
    """Training of the U-Net on zero-filled images."""
    from rekon.nas.baseline import UnetObjective

    train, validation = (hierarchy(recipe, path, "reference_max") for path in (sources.train, sources.validation))
    return UnetObjective(recipe, train, validation, device)


def reconstructor(recipe: Recipe, trained: Trained, device: torch.device) -> Reconstructor:
    """A transformer with its tokenizer."""
    from rekon.nas.reconstructor import load

    weights = trained.weights or trained.parents.get("weights")
    if weights is None:
        lacking(recipe, "trained weights; give --weights or --parent weights=WEIGHTS")
    parent(recipe, trained.parents, "tokenizer")
    return load(recipe, weights, trained.parents, device)


def unet_reconstructor(recipe: Recipe, trained: Trained, device: torch.device) -> Reconstructor:
    """The U-Net with its weights."""
    from rekon.nas.baseline import load

    if trained.weights is None:
        lacking(recipe, "trained weights; give --weights")
    return load(recipe, trained.weights, device)


def hierarchy(recipe: Recipe, manifest: Path, normalisation: Normalisation) -> Hierarchy:
    """The images of a split at every level of a recipe's sampling."""
    from rekon.data.images import ImageSet
    from rekon.nas.inputs import Hierarchy, read_masks

    if recipe.sampling is None:
        lacking(recipe, "'sampling', a hierarchy of patterns, in its recipe")
    images = ImageSet(manifest, recipe.data.size, maps_folder(manifest))
    return Hierarchy(images, recipe.sampling, read_masks(recipe.sampling, recipe.data.size), normalisation)


def fixed_tokenizer(weights: Path, device: torch.device) -> Tokenizer:
    """A trained tokenizer that no longer changes; its sizes stand in the recipe that its weights carry."""
    from rekon.config.base import check
    from rekon.nas.tokenizer import Tokenizer
    from rekon.training.weights import load_into, load_weights

    _, recipe = load_weights(weights)
    if recipe.get("kind") != "tokenizer":
        raise UserError(f"{weights}: holds a run of kind {recipe.get('kind')!r}, not a tokenizer.")
    size = tuple(recipe["data"]["size"])
    tokenizer = Tokenizer(check(TokenizerModel, recipe["model"], f"{weights}, recipe, section 'model'"), size)
    load_into({"tokenizer": tokenizer}, weights)
    return tokenizer.to(device).eval().requires_grad_(False)


def _tokenised(recipe: Recipe, sources: Sources, device: torch.device) -> tuple[Tokenizer, TokenSet, TokenSet]:
    """The fixed tokenizer, and its verified tokens of the training and validation sets."""
    from rekon.nas.tokens import read_tokens

    weights = parent(recipe, sources.parents, "tokenizer")
    tokenizer = fixed_tokenizer(weights, device)
    sets = []
    for split, manifest in (("train", sources.train), ("validation", sources.validation)):
        if split not in sources.tokens:
            lacking(recipe, f"cached tokens; give --tokens {split}=FILE, made by the rule tokenise")
        images = hierarchy(recipe, manifest, tokenizer.model.normalisation)
        sets.append(read_tokens(sources.tokens[split], tokenizer, images, weights))
    return tokenizer, sets[0], sets[1]
