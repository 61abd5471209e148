"""A tiny chain of tokenizer and transformers, untrained, on the tiny cohort."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path

import cohort
import pytest
import torch

from rekon.config import Compute, DataSettings, Recipe, TrainingSettings
from rekon.config.nas import DistilledModel, TokenizerModel, TransformerModel
from rekon.files import sha256
from rekon.nas.tokenizer import Tokenizer
from rekon.nas.tokens import TokenSet, read_tokens, tokenise
from rekon.nas.transformer import ScaleTransformer
from rekon.training.history import read_history
from rekon.training.loop import TrainOutputs, train
from rekon.training.weights import save_weights

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


def recipe(run: str = "base", kind: str = "transformer", model: dict | None = None, **training) -> Recipe:
    """model: changes of TRANSFORMER (or, for the kind tokenizer, of TOKENIZER)."""
    settings = {
        "steps": 8, "batch": 2, "learning_rate": 3e-3, "validations": 2, "validation_slices": 4, "optimiser": "adamw",
        "weight_decay": 0.05, "betas": (0.9, 0.95), "clip": 2.0,
    } | training  # fmt: skip
    sections = (TOKENIZER if kind == "tokenizer" else TRANSFORMER) | (model or {})
    classes = {"tokenizer": TokenizerModel, "transformer": TransformerModel, "distilled": DistilledModel}
    plain = classes[kind](**sections).model_dump(mode="json")
    return Recipe(
        scale="tiny", study="nas", run=run, title=run, kind=kind, seed=42, model=plain, sampling=cohort.sampling(),
        training=TrainingSettings(**settings), parents={} if kind == "tokenizer" else {"tokenizer": "aqvae"},
        data=DataSettings(train="sim-tiny", validation="sim-tiny", size=SIZE),
    )  # fmt: skip


def tokenizer_weights(folder: Path, made: Tokenizer | None = None) -> Path:
    """The weights file of a tokenizer, by default of `tokenizer()`."""
    path = folder / "aqvae.safetensors"
    made = made or tokenizer()
    tensors = {f"tokenizer.{key}": value for key, value in made.state_dict().items()}
    settings = recipe("aqvae", "tokenizer")
    settings = settings.model_copy(update={"model": made.model.model_dump(mode="json")})
    save_weights(path, tensors, settings.model_dump(mode="json"))
    return path


def weights(folder: Path, network: ScaleTransformer, settings: Recipe) -> Path:
    """The weights file of a transformer."""
    path = folder / f"{settings.run}.safetensors"
    save_weights(
        path, {f"transformer.{k}": v for k, v in network.state_dict().items()}, settings.model_dump(mode="json")
    )
    return path


@functools.cache
def tokens(folder: Path) -> tuple[Tokenizer, TokenSet, Path]:
    """Tokenizer, the cohort's tokens, and the tokenizer's weights; made once per folder."""
    hierarchy, cache, made = cohort.hierarchy(cohort.volumes(folder)), folder / "tokens.safetensors", tokenizer()
    path = folder / "aqvae.safetensors"
    if not cache.exists():
        tokenizer_weights(folder, made)
        tokenise(made, hierarchy, sha256(path), cache)
    return made, read_tokens(cache, made, hierarchy, path), path


def run(folder: Path, build, settings: Recipe, save: float = 60.0, minutes=None, workers: int = 0) -> list[dict]:
    """Train what `build(settings, device)` makes; the rows of its history."""
    train(
        lambda device: build(settings, device), settings, outputs(folder), folder / "work",
        Compute(device="cpu", threads=1, workers=workers), minutes, {"train": "1" * 64}, save,
    )  # fmt: skip
    return read_history(outputs(folder).metrics)


def outputs(folder: Path) -> TrainOutputs:
    return TrainOutputs(folder / "weights.safetensors", folder / "metrics.jsonl", folder / "run.json")


def products(folder: Path) -> tuple[bytes, bytes]:
    return outputs(folder).weights.read_bytes(), outputs(folder).metrics.read_bytes()


def golden(name: str, case: str, rows: list[dict], keys: tuple[str, ...]) -> None:
    """Compare curves with tests/golden/<name>.json; REKON_WRITE_GOLDEN=1 writes them instead."""
    path = Path(__file__).parents[1] / f"golden/{name}.json"
    curve = {key: [row[key] for row in rows if key in row] for key in keys}
    known = json.loads(path.read_text()) if path.exists() else {}
    if os.environ.get("REKON_WRITE_GOLDEN"):
        path.write_text(json.dumps(known | {case: curve}, indent=1, sort_keys=True) + "\n")
        pytest.skip("written")
    for key, values in known[case].items():
        assert curve[key] == pytest.approx(values, rel=1e-4), key
