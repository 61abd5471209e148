"""The parts of the chain from the weights files that hold them: what each is stands in the file's own recipe."""

from __future__ import annotations

from pathlib import Path

import torch

from rekon.config import Recipe
from rekon.config.base import check
from rekon.config.nas import DistilledModel, TokenizerModel, TransformerModel
from rekon.errors import UserError
from rekon.nas.tokenizer import Tokenizer
from rekon.nas.transformer import ScaleTransformer
from rekon.training.weights import load_into, load_weights

_TRANSFORMERS = {"transformer": TransformerModel, "distilled": DistilledModel}


def recipe_of(weights: Path | str) -> Recipe:
    """The recipe in a weights file's header."""
    return check(Recipe, load_weights(weights)[1], f"{weights}, recipe")


def load_tokenizer(weights: Path | str, device: torch.device) -> Tokenizer:
    """A trained tokenizer that no longer changes. Raises UserError for weights of another kind of run."""
    recipe = recipe_of(weights)
    if recipe.kind != "tokenizer":
        raise UserError(f"{weights}: holds a run of kind {recipe.kind!r}, not a tokenizer; name a tokenizer's weights.")
    model = check(TokenizerModel, recipe.model, f"{weights}, recipe, section 'model'")
    tokenizer = Tokenizer(model, recipe.data.size)
    load_into({"tokenizer": tokenizer}, weights)
    return tokenizer.to(device).eval().requires_grad_(False)


def load_transformer(weights: Path | str, tokenizer: Tokenizer, device: torch.device) -> ScaleTransformer:
    """A trained transformer over `tokenizer`'s tokens that no longer changes.

    Raises UserError for weights of another kind of run, or made for a tokenizer of another size.
    """
    recipe = recipe_of(weights)
    if recipe.kind not in _TRANSFORMERS:
        raise UserError(
            f"{weights}: holds a run of kind {recipe.kind!r}, not a transformer; name a transformer's weights."
        )
    model = check(_TRANSFORMERS[recipe.kind], recipe.model, f"{weights}, recipe, section 'model'")
    transformer = ScaleTransformer(model, tokenizer)
    load_into({"transformer": transformer}, weights)
    return transformer.to(device).eval().requires_grad_(False)
