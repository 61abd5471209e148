"""A tiny chain of tokenizer and transformers, untrained, on the tiny cohort."""

from __future__ import annotations

import torch

from rekon.config.nas import TokenizerModel, TransformerModel
from rekon.nas.tokenizer import Tokenizer
from rekon.nas.transformer import ScaleTransformer

SIZE = (32, 32)
TOKENIZER = {
    "channels": 8, "multipliers": (1, 1, 2), "blocks": 1, "latent": 4, "vocabulary": 24, "grids": (3, 4, 5, 6, 7, 8),
    "condition": 8, "losses": {"adversarial": 0.0, "perceptual": 0.0}, "discriminator": None,
}  # fmt: skip
CONTEXT = {"features": ("mid", 1), "trainable": True, "image": "measured"}
TRANSFORMER = {"depth": 4, "width": 16, "heads": 2, "mlp": 2.0, "drop_path": 0.0, "context": CONTEXT}
LENGTH = 16 + 25 + 36 + 49 + 64


def tokenizer(**changes) -> Tokenizer:
    """Fixed, with labels and codes that matter."""
    torch.manual_seed(0)
    made = Tokenizer(TokenizerModel(**TOKENIZER | changes), SIZE)
    for name, parameter in made.encoder.named_parameters():
        if ".film." in name:
            torch.nn.init.normal_(parameter, std=0.3)
    example = torch.randn(8, *SIZE, dtype=torch.complex64)
    with torch.no_grad():
        z = made.encode(example, torch.zeros(8, dtype=torch.long), torch.zeros(8, dtype=torch.long))
        made.codebook.initialise(z.flatten(2).transpose(1, 2).flatten(0, 1))
    return made.eval().requires_grad_(False)


def transformer(tokens: Tokenizer | None = None, seed: int = 1, loud: bool = True, **changes) -> ScaleTransformer:
    """loud: gates and head far from their small initial values, so that everything shows in the logits."""
    torch.manual_seed(seed)
    made = ScaleTransformer(TransformerModel(**TRANSFORMER | changes), tokens or tokenizer())
    if loud:
        with torch.no_grad():
            for name, parameter in made.named_parameters():
                if "modulation" in name or name.startswith("head"):
                    parameter.normal_(std=0.3)
    return made.eval()


def images(count: int, seed: int = 2) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(count, *SIZE, dtype=torch.complex64, generator=generator) for name in ("measured", "full")
    }


def ids(tokens: Tokenizer, count: int, seed: int = 3) -> list[torch.Tensor]:
    """Random ones of every level."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(tokens.model.vocabulary, (count, g * g), generator=generator) for g in tokens.model.grids]
