"""The token cache: what a fixed tokenizer makes of a split, under every sampling pattern.

Transformers are trained on it, so it must belong to exactly the tokenizer, the images and the masks at hand: the file
says what it was made from, and reading compares.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from rekon import safetensors
from rekon.config.sampling import PATTERNS, Pattern
from rekon.errors import UserError
from rekon.files import sha256
from rekon.nas.inputs import Hierarchy
from rekon.nas.tokenizer import Tokenizer
from rekon.randomness import generator

FORMAT = "rekon-tokens-1"
_AGAIN = "delete the file and run the rule tokenise again"
_CHECKED = 3  # slices encoded again when a cache is read
# header fields that must be equal, and what they are called
_SOURCES = {
    "tokenizer": "another tokenizer's weights",
    "data": "other images",
    "masks": "other masks",
    "accelerations": "other accelerations",
    "patterns": "other sampling patterns",
    "grids": "another token hierarchy",
    "normalisation": "another normalisation",
}


@dataclass(frozen=True)
class TokenSet:
    """Token ids of a split, with the images they were made from."""

    ids: Tensor  # int16 or int32 (slices, patterns, tokens of all levels)
    hierarchy: Hierarchy
    grids: tuple[int, ...]  # tokens a side, per level

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def patterns(self) -> tuple[Pattern, ...]:
        return self.hierarchy.sampling.patterns

    def of(self, index: int, pattern: Pattern) -> Tensor:
        """Ids of a slice under a pattern, all levels in a row: int64 (tokens,)."""
        return self.ids[index, self.patterns.index(pattern)].long()


def by_level(ids: Tensor, grids: Sequence[int]) -> tuple[Tensor, ...]:
    """Ids (..., tokens of all levels) split into levels, (..., t_k^2) each."""
    return ids.split([side * side for side in grids], dim=-1)


def tokenise(tokenizer: Tokenizer, hierarchy: Hierarchy, weights_sha256: str, out: Path | str) -> None:
    """Write the tokens of all slices under all patterns, atomically. weights_sha256: of the tokenizer's weights file.

    Ids belong to the kind of device they are computed on: rounding may tip the balance between two near codes.
    """
    rows = [_encode(tokenizer, hierarchy, index) for index in range(len(hierarchy))]
    dtype = torch.int16 if tokenizer.model.vocabulary <= 2**15 else torch.int32
    ids = torch.stack(rows).to(dtype)
    header = {"format": FORMAT, **_sources(tokenizer, hierarchy, weights_sha256), "ids": _hash(ids)}
    safetensors.write(out, {"ids": ids}, header)


def read_tokens(
    path: Path | str, tokenizer: Tokenizer, hierarchy: Hierarchy, weights: Path | str, seed: int = 0
) -> TokenSet:
    """The tokens at `path`, if they are what `tokenizer` makes of `hierarchy`.

    weights: the file `tokenizer` was read from. The header must name this file, these images and masks, and the ids;
    besides, some slices, drawn by `seed`, are encoded again and must give the same ids.
    Raises UserError on any difference.
    """
    tensors, header = safetensors.read(path)
    if header.get("format") != FORMAT or "ids" not in tensors:
        raise UserError(f"{path}: not a token cache of this version of rekon; {_AGAIN}.")
    wanted = _sources(tokenizer, hierarchy, sha256(weights))
    for field, what in _SOURCES.items():
        if header.get(field) != wanted[field]:
            raise UserError(f"{path}: header field {field!r}: made from {what} than those given now; {_AGAIN}.")
    ids = tensors["ids"]
    tokens = TokenSet(ids, hierarchy, tuple(tokenizer.model.grids))
    shape = (len(hierarchy), len(tokens.patterns), sum(side * side for side in tokens.grids))
    if tuple(ids.shape) != shape or header.get("ids") != _hash(ids):
        raise UserError(f"{path}: its ids are not those its header names; {_AGAIN}.")
    drawn = generator(seed, "slices to encode again").choice(shape[0], min(_CHECKED, shape[0]), replace=False)
    for index in sorted(drawn.tolist()):
        if not torch.equal(_encode(tokenizer, hierarchy, index), ids[index].long()):
            raise UserError(
                f"{path}: slice {index} encoded now gives other ids (on another kind of device, or with other code, "
                f"than then?); {_AGAIN}."
            )
    return tokens


def labels(patterns: Sequence[str], device: torch.device | None = None) -> Tensor:
    """Pattern labels of the networks: int64 (len(patterns),)."""
    return torch.tensor([PATTERNS.index(pattern) for pattern in patterns], device=device)  # type: ignore[arg-type]


@torch.no_grad()
def _encode(tokenizer: Tokenizer, hierarchy: Hierarchy, index: int) -> Tensor:
    """Ids of a slice, int64 (patterns, tokens), on the CPU. All patterns at once: the same batch gives the same ids."""
    patterns = hierarchy.sampling.patterns
    device = tokenizer.codebook.embedding.device
    images = torch.stack([hierarchy.levels(index, pattern) for pattern in patterns]).to(device)
    return torch.cat(tokenizer.tokenise(images, labels(patterns, device)), dim=1).cpu()


def _sources(tokenizer: Tokenizer, hierarchy: Hierarchy, weights_sha256: str) -> dict[str, str]:
    """What tokens are made from, as header fields."""
    sampling = hierarchy.sampling
    assert hierarchy.normalisation == tokenizer.model.normalisation, "images normalised as the tokenizer knows them"
    masks = hashlib.sha256()
    for settings in sampling.masks:
        masks.update(json.dumps(settings.model_dump(mode="json"), sort_keys=True).encode())
        masks.update(hierarchy.masks[settings.pattern, settings.acceleration].samples.tobytes())
    return {
        "tokenizer": weights_sha256,
        "data": hierarchy.images.hash,
        "masks": masks.hexdigest(),
        "accelerations": json.dumps(sampling.accelerations),
        "patterns": json.dumps(sampling.patterns),
        "grids": json.dumps(tokenizer.model.grids),
        "normalisation": hierarchy.normalisation,
    }


def _hash(ids: Tensor) -> str:
    return hashlib.sha256(ids.contiguous().numpy().tobytes()).hexdigest()
