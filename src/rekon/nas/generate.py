"""Decoding: the tokens of all levels from those of the measured one, a level at a time (Eq. 2).

Suffixes: B images, n tokens of the measured level, t of the level at hand, L of all predicted ones, V codes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from rekon.config.nas import DecodingSettings
from rekon.nas.tokenizer import Tokenizer
from rekon.nas.transformer import ScaleTransformer, histories, history

_MASS = 2**40  # probabilities as whole numbers: their sums are exact in any order, so a GPU may add them as it likes


@torch.no_grad()
def rollout(
    transformer: ScaleTransformer,
    tokenizer: Tokenizer,
    first_Bn: Tensor,
    pattern_B: Tensor,
    context: Sequence[Tensor] | None,
    settings: DecodingSettings,
    uniform_BL: Tensor | None = None,
    temperature: float = 1.0,
) -> list[Tensor]:
    """Ids int64 (B, t_k^2) of every level, the measured one first.

    first: its ids; pattern: int64 (B,); context: of `transformer.context`; uniform: of `uniforms`, where the rule
    draws. Keys and values of the context and of earlier levels are computed once and kept.
    """
    memory = transformer.start(pattern_B, context)
    ids, contributions = [first_Bn], [tokenizer.contribution(first_Bn, 0)]
    for level, end in enumerate(transformer.ends):
        logits = transformer.next(history(tokenizer, contributions), level, memory)
        uniform = None if uniform_BL is None else uniform_BL[:, end - logits.shape[1] : end]
        ids.append(choose(logits, settings, uniform, temperature))
        if end != transformer.ends[-1]:
            contributions.append(tokenizer.contribution(ids[-1], level + 1))
    return ids


@torch.no_grad()
def rollout_by_recomputing(
    transformer: ScaleTransformer,
    tokenizer: Tokenizer,
    first_Bn: Tensor,
    pattern_B: Tensor,
    context: Callable[[], Sequence[Tensor] | None],
    settings: DecodingSettings,
    uniform_BL: Tensor | None = None,
    temperature: float = 1.0,
) -> list[Tensor]:
    """The same as `rollout` with nothing kept from one level to the next: the reference for its result and its time.

    context: makes the context, and is called for every level.
    """
    ids = [first_Bn]
    for end in transformer.ends:
        logits = transformer(histories(tokenizer, ids), pattern_B, context())
        count = tokenizer.model.grids[len(ids)] ** 2
        uniform = None if uniform_BL is None else uniform_BL[:, end - count : end]
        ids.append(choose(logits[:, -count:], settings, uniform, temperature))
    return ids


def uniforms(generator: torch.Generator, count: int) -> Tensor:
    """Numbers that decide the draws of one image's tokens, float64 (count,) in [0, 1)."""
    return torch.rand(count, generator=generator, dtype=torch.float64, device=generator.device)


def choose(
    logits_BtV: Tensor, settings: DecodingSettings, uniform_Bt: Tensor | None = None, temperature: float = 1.0
) -> Tensor:
    """A code for every token by a decoding rule: int64 (B, t).

    argmax: the likeliest. multinomial: code i where the cumulative probability first exceeds the token's uniform
    number, so a draw depends on nothing but that number and the token's own logits. top: the same among the `top_k`
    likeliest codes, and of these the fewest that reach `top_p` of their mass, from the likeliest on.
    """
    if settings.rule == "argmax":
        return logits_BtV.argmax(-1)
    assert uniform_Bt is not None, "this rule draws"
    logits_BtV, codes_BtV = logits_BtV / temperature, None
    if settings.rule == "top":
        logits_BtV, codes_BtV = logits_BtV.sort(dim=-1, descending=True, stable=True)
        logits_BtV = logits_BtV[..., : settings.top_k]
    mass_BtV = (logits_BtV.softmax(-1, dtype=torch.float64) * _MASS).long()
    if settings.top_p is not None:
        before_BtV = mass_BtV.cumsum(-1) - mass_BtV
        mass_BtV = mass_BtV * (before_BtV < settings.top_p * mass_BtV.sum(-1, keepdim=True))
    up_to_BtV = mass_BtV.cumsum(-1)
    whole_Bt1 = up_to_BtV[..., -1:]
    at_Bt1 = (uniform_Bt[..., None] * whole_Bt1).long().clamp(max=whole_Bt1 - 1)
    index_Bt1 = torch.searchsorted(up_to_BtV, at_Bt1, right=True)
    return (index_Bt1 if codes_BtV is None else codes_BtV.gather(-1, index_Bt1))[..., 0]
