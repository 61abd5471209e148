"""The next-acceleration-scale transformer (Sec. 4.2, 4.4): a distribution over the codes of every token of R = 16, 8,
4, 2 and the fully sampled level, given the tokens of all levels before.

What it is fed is the history: before each level, the tokenizer's fusion of the levels so far, brought to the level's
grid. So the input of a level never depends on its own tokens, and a level's tokens are predicted all at once.

Suffixes: B images, L tokens of all predicted levels, d channels of the latent, h its side, C width, V codes.
Parameters at the paper's size: 358,907,392, of which a block has 18,888,720 and its cross-attention 3,410,960 or
2,755,600, and the copy of the tokenizer's encoder beside them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm, silu

from rekon.config.nas import TransformerModel
from rekon.config.sampling import PATTERNS
from rekon.nas.attention import Cache, CrossAttention, KeysValues, SelfAttention
from rekon.nas.context import Context
from rekon.nas.resize import area
from rekon.nas.tokenizer import Tokenizer

EPS = 1e-6  # of the layer norms, which have no weights of their own
SHARP = 40.0  # cross-attention that starts local: few neighbours within reach


@dataclass
class Decoding:
    """What a transformer knows of the images it is decoding: per block, and of the head."""

    cross: list[KeysValues | None]  # keys and values of the context
    modulations: list[tuple[Tensor, ...]]  # gates, scales and shifts
    head: tuple[Tensor, ...]  # scale and shift
    caches: list[Cache] | None = None  # keys and values of the levels so far


class DropPath(nn.Module):
    """Leaves a branch out, per image, with probability `rate` in training; otherwise makes up for it."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x_BLC: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x_BLC
        kept = torch.rand(len(x_BLC), 1, 1, device=x_BLC.device) >= self.rate
        return x_BLC * kept / (1 - self.rate)


class Block(nn.Module):
    """Cross-attention, where there is a context; self-attention and MLP, both scaled, shifted and gated by a condition.

    context: channels of the context's tokens, None for none.
    """

    def __init__(self, width: int, heads: int, mlp: float, drop_path: float, context: int | None) -> None:
        super().__init__()
        hidden = round(width * mlp)
        self.width = width
        self.cross = None if context is None else CrossAttention(width, heads, context)
        self.attention = SelfAttention(width, heads)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.modulation = nn.Linear(width, 6 * width)
        self.drop_path = DropPath(drop_path)

    def modulate(self, condition_BC: Tensor) -> tuple[Tensor, ...]:
        """Gates, scales and shifts of attention and MLP, (B, 1, C) each."""
        return self.modulation(silu(condition_BC))[:, None].chunk(6, dim=-1)

    def forward(
        self,
        x_BLC: Tensor,
        modulation: tuple[Tensor, ...],
        ends: Sequence[int],
        context: KeysValues | None,
        cache: Cache | None = None,
    ) -> Tensor:
        gate_1, gate_2, scale_1, scale_2, shift_1, shift_2 = modulation
        if self.cross is not None:
            assert context is not None, "a block with cross-attention needs a context"
            x_BLC = x_BLC + self.drop_path(self.cross(self._norm(x_BLC), context))
        y_BLC = self._norm(x_BLC) * (1 + scale_1) + shift_1
        x_BLC = x_BLC + self.drop_path(gate_1 * self.attention(y_BLC, ends, cache))
        y_BLC = self._norm(x_BLC) * (1 + scale_2) + shift_2
        return x_BLC + self.drop_path(gate_2 * self.down(gelu(self.up(y_BLC), approximate="tanh")))

    def _norm(self, x_BLC: Tensor) -> Tensor:
        return layer_norm(x_BLC, (self.width,), eps=EPS)


class ScaleTransformer(nn.Module):
    """Vocabulary, latent channels and grids are those of `tokenizer`, and so is the start of the context's encoder."""

    def __init__(self, model: TransformerModel, tokenizer: Tokenizer) -> None:
        super().__init__()
        width, depth, tokens = model.width, model.depth, tokenizer.model
        self.model = model
        self.sides = tokens.grids[1:]  # of the predicted levels; the first level is measured
        self.ends = tuple(accumulate(side**2 for side in self.sides))
        self.context = None if model.context is None else Context(model.context, tokenizer, width)
        self.word = nn.Linear(tokens.latent, width)
        level_L = torch.cat([torch.full((side**2,), level) for level, side in enumerate(self.sides)])
        self.register_buffer("level_of", level_L, persistent=False)
        self.pattern = nn.Embedding(len(PATTERNS) + 1, width)  # the last one for an unknown pattern
        self.level = nn.Embedding(len(self.sides), width)
        self.position = nn.Embedding(self.ends[-1], width)
        rates = [model.drop_path * n / max(depth - 1, 1) for n in range(depth)]
        widths = [None] * depth if self.context is None else [self.context.widths[self._group(n)] for n in range(depth)]
        self.blocks = nn.ModuleList(
            Block(width, model.heads, model.mlp, rate, context) for rate, context in zip(rates, widths, strict=True)
        )
        self.modulation = nn.Linear(width, 2 * width)
        self.head = nn.Linear(width, tokens.vocabulary)
        self._initialise()

    def forward(self, history_BLd: Tensor, pattern_B: Tensor, context: Sequence[Tensor] | None) -> Tensor:
        """Logits of all predicted tokens at once, float32 (B, L, V).

        history: of `histories`, of all levels or the first few; pattern: int64 (B,); context: of `self.context`, None
        without one.
        """
        ends = self.ends[: self.ends.index(history_BLd.shape[1]) + 1]
        return self._run(history_BLd, 0, ends, self.start(pattern_B, context))

    def start(self, pattern_B: Tensor, context: Sequence[Tensor] | None) -> Decoding:
        """Begin to decode: what is the same for every level is computed here, once."""
        assert (context is None) == (self.context is None), "a context belongs to a model with cross-attention"
        condition_BC, blocks = self.pattern(pattern_B), cast("list[Block]", list(self.blocks))
        cross: list[KeysValues | None] = [None] * len(blocks)
        if context is not None:
            layers = [block.cross for block in blocks]
            cross = [layer.keys_values(context[self._group(n)]) for n, layer in enumerate(layers) if layer]
        head = self.modulation(silu(condition_BC))[:, None].chunk(2, dim=-1)
        return Decoding(cross, [block.modulate(condition_BC) for block in blocks], head)

    def next(self, history_Btd: Tensor, level: int, decoding: Decoding) -> Tensor:
        """Logits of the tokens of predicted level `level`, float32 (B, t, V); `decoding` then knows this level.

        history: of this level alone, (B, t, d). Levels come in order, each of them once.
        """
        if level == 0:
            decoding.caches = [Cache() for _ in self.blocks]
        count = history_Btd.shape[1]
        return self._run(history_Btd, self.ends[level] - count, (count,), decoding)

    def _run(self, history_BLd: Tensor, first: int, ends: Sequence[int], known: Decoding) -> Tensor:
        places = slice(first, first + history_BLd.shape[1])
        place_LC = self.level(self.get_buffer("level_of")[places]) + self.position.weight[places]
        x_BLC = self.word(history_BLd) + place_LC
        for n, block in enumerate(self.blocks):
            cache = None if known.caches is None else known.caches[n]
            x_BLC = block(x_BLC, known.modulations[n], ends, known.cross[n], cache)
        scale, shift = known.head
        y_BLC = layer_norm(x_BLC, (self.model.width,), eps=EPS) * (1 + scale) + shift
        return self.head(y_BLC).float()

    def _group(self, block: int) -> int:
        """The entry of the context's features that a block attends to: equal groups, in order."""
        assert self.context is not None
        return block * len(self.context.widths) // self.model.depth

    @torch.no_grad()
    def _initialise(self) -> None:
        """VAR's initial weights: branches start small, the head next to uniform; the context's encoder stays a copy."""
        deviation = math.sqrt(1 / (3 * self.model.width))
        copied = set() if self.context is None else set(self.context.modules())
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding) and module not in copied:
                nn.init.trunc_normal_(module.weight, std=deviation)
                if isinstance(module, nn.Linear) and module.bias is not None:
                    nn.init.zeros_(module.bias)
        self.head.weight.mul_(0.02)
        self.modulation.weight.mul_(0.5)
        for block in self.blocks:
            assert isinstance(block, Block)
            block.modulation.weight[: 2 * block.width].mul_(1e-3)  # the gates: published recipe of VAR's smallest model
            block.modulation.weight[2 * block.width :].mul_(0.5)
            outputs = [block.attention.proj, block.down, *([] if block.cross is None else [block.cross.proj])]
            for layer in outputs:
                layer.weight.div_(math.sqrt(2 * len(self.blocks)))
        if self.context is not None and self.context.settings.start == "local":
            self._look_at_own_place(self.context)

    def _look_at_own_place(self, context: Context) -> None:
        """Tokens start with the code of their place on the image, cross-attention by comparing with the context's."""
        width = context.code_width
        self.position.weight[:, :width] = torch.cat([context.code(side) for side in self.sides]) / 2
        for block in cast("list[Block]", list(self.blocks)):
            if block.cross is not None:
                shared = torch.randn(self.model.width, width) / math.sqrt(width)
                block.cross.q.weight[:, :width] += shared
                block.cross.kv.weight[: self.model.width, :width] += shared
                block.cross.sharpness.fill_(math.log(SHARP))


def histories(tokenizer: Tokenizer, ids: Sequence[Tensor]) -> Tensor:
    """The transformer's input: float32 (B, tokens of levels 1 to n, d).

    ids: int64 (B, t_k^2) of the first n levels, from the measured one. Before level k the input is the mean of the
    contributions of levels 0 to k - 1, area-resized to the grid of level k: what the decoder would be given, as far as
    it is known.
    """
    contributions = [tokenizer.contribution(level_ids, level) for level, level_ids in enumerate(ids)]
    return torch.cat([history(tokenizer, contributions[: level + 1]) for level in range(len(ids))], dim=1)


def history(tokenizer: Tokenizer, contributions: Sequence[Tensor]) -> Tensor:
    """The input (B, t^2, d) of the level after those that contributed; float32 whatever the autocast says."""
    side = tokenizer.model.grids[len(contributions)]
    with torch.autocast(contributions[0].device.type, enabled=False):
        return area(tokenizer.fuse(contributions), (side, side)).flatten(2).transpose(1, 2)
