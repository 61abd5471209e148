"""A trained transformer as a Reconstructor: measured k-space to tokens, tokens to an image (Sec. 4)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rekon.config import Recipe
from rekon.config.base import check
from rekon.config.nas import DecodingSettings
from rekon.config.sampling import PATTERNS
from rekon.errors import UserError
from rekon.evaluation.reconstructor import Reconstructor
from rekon.nas.generate import rollout, uniforms
from rekon.nas.inputs import combine
from rekon.nas.tokenizer import NO_PATTERN, Tokenizer
from rekon.nas.transformer import ScaleTransformer
from rekon.nas.weights import load_tokenizer, load_transformer, recipe_of
from rekon.randomness import torch_generator
from rekon.training.weights import check_recipe

if TYPE_CHECKING:
    from rekon.evaluation.reconstructor import Scan

UNTRAINED = "untrained-backbone"


class NASReconstructor(Reconstructor):
    """Coil combination, tokens of the highest acceleration, rollout, decoder. No data consistency: the paper has none.

    Draws, where `decoding` draws, follow from its seed and the scan: volume, slice and pattern.
    """

    needs_maps = True

    def __init__(
        self,
        name: str,
        tokenizer: Tokenizer,
        transformer: ScaleTransformer,
        decoding: DecodingSettings,
        device: torch.device,
        *,
        half: bool = False,
        note: str = "",
    ) -> None:
        """half: run the transformer (never the tokenizer) in bfloat16."""
        self.name, self.note, self.device, self.half = name, note, device, half
        self.tokenizer, self.transformer, self.decoding = tokenizer, transformer, decoding
        self.pattern = torch.tensor([NO_PATTERN], device=device)
        self.uniform: Tensor | None = None
        assert transformer.context is None or transformer.context.images == ("measured",), "no teacher reconstructs"

    def prepare(self, scan: Scan) -> None:
        known = PATTERNS.index(scan.pattern) if scan.pattern in PATTERNS else NO_PATTERN
        self.pattern = torch.tensor([known], device=self.device)
        if self.decoding.rule != "argmax":
            stream = f"decoding/{scan.volume}/{scan.pattern}"
            drawn = torch_generator(self.decoding.seed, stream, 0, scan.slice)
            self.uniform = uniforms(drawn, self.transformer.ends[-1])[None].to(self.device)

    def __call__(self, kspace: Tensor, mask: Tensor, maps: Tensor | None = None) -> Tensor:
        """kspace, maps complex64 (coil, H, W), mask bool (W,) or (H, W). Returns float32 (H, W).

        Of a tokenizer with `normalisation` reference_max, k-space must come in units of the fully sampled image's
        maximum; one with measured_max needs no such knowledge.
        """
        assert maps is not None, "scoring gives maps to methods that need them"
        image_1HW, scale = combine(kspace, mask, maps)[None], kspace.new_ones((), dtype=torch.float32)
        if self.tokenizer.model.normalisation == "measured_max":
            scale = image_1HW.abs().max()
            image_1HW = image_1HW / torch.where(scale > 0, scale, 1)
        first = self.tokenizer.tokenise_level(image_1HW, 0, self.pattern)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.half):
            look = self.transformer.context
            context = None if look is None else look({"measured": image_1HW}, self.pattern)
            ids = rollout(self.transformer, self.tokenizer, first, self.pattern, context, self.decoding, self.uniform)
        return self.tokenizer.reconstruct(ids)[0].abs() * scale


def load(recipe: Recipe, weights: Path, parents: Mapping[str, Path], device: torch.device) -> NASReconstructor:
    """The transformer of `recipe` with its `weights`, and its tokenizer (`parents`).

    A recipe with nothing to train decodes with the weights of another run (parent role "weights"), in its own way.
    Raises UserError for weights of another recipe, a teacher, or a sampling the method is not made for.
    """
    name = f"{recipe.study}/{recipe.run}"
    if "tokenizer" not in parents:
        raise UserError(f"{name}: key 'parents.tokenizer': the weights of the tokenizer are needed; name its run.")
    assert recipe.sampling is not None, "runs of this study have a hierarchy of patterns"
    first = recipe.sampling.accelerations[0]
    if recipe.sampling.evaluated != (first,):
        raise UserError(
            f"{name}: key 'sampling.evaluated': reconstruction starts from R = {first}, the first of 'accelerations', "
            f"and from no other; set it to [{first}]."
        )
    trained = recipe_of(weights)
    if recipe.training is not None:
        check_recipe(weights, trained.model_dump(mode="json"), recipe.model_dump(mode="json"))
    tokenizer = load_tokenizer(parents["tokenizer"], device)
    transformer = load_transformer(weights, tokenizer, device)
    if transformer.context is not None and transformer.context.images != ("measured",):
        raise UserError(
            f"{weights}: a teacher, whose context shows the fully sampled image; there is none to reconstruct from."
        )
    decoding = check(DecodingSettings, recipe.model.get("decoding", {}), f"recipe of {name}, section 'model.decoding'")
    half = trained.training is not None and trained.training.precision == "bf16" and device.type == "cuda"
    discriminator = recipe_of(parents["tokenizer"]).model.get("discriminator")
    note = UNTRAINED if discriminator and not discriminator.get("backbone") else ""
    return NASReconstructor(recipe.run, tokenizer, transformer, decoding, device, half=half, note=note)
