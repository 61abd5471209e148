"""The vision transformer of UEPS (Sec. 4.2, A.1; spec E.4): an image-to-image network without pooling.

Tensor names end in their shape:  N images, H W pixels, T = h * w tokens (row-major), D width, G heads, E head width.
Parameters at the paper's size (patch 8, width 512, 10 layers, 8 heads, hidden 1280): 30,349,952.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rekon.nn.attention import Grid, Kernel, Plan, attend, attention_scores, plan
from rekon.nn.rope import Rotation, rotate, rotation


class SelfAttention(nn.Module):
    """Multi-head self-attention with rotary positions; four projections with bias; the output's starts at zero."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        for layer in (self.query, self.key, self.value):
            nn.init.normal_(layer.weight, std=width**-0.5)
            nn.init.zeros_(layer.bias)
        _zero(self.out)

    def split(self, x_NTD: Tensor, turn: Rotation) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys (turned) and values, each (N, G, T, E)."""
        q, k, v = (f(x_NTD).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.query, self.key, self.value))
        return rotate(q, turn), rotate(k, turn), v

    def forward(self, x_NTD: Tensor, turn: Rotation, how: Plan) -> Tensor:
        y_NGTE = attend(*self.split(x_NTD, turn), how)
        return self.out(y_NGTE.transpose(1, 2).flatten(2))


class SwiGLU(nn.Module):
    """Gated feed-forward (Shazeer 2020): silu(a) * b, projected back; the output projection starts at zero."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, 2 * hidden)  # a and b
        self.out = nn.Linear(hidden, width)
        nn.init.normal_(self.gate.weight, std=(2 * width) ** -0.5)
        nn.init.zeros_(self.gate.bias)
        _zero(self.out)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.gate(x).chunk(2, dim=-1)
        return self.out(F.silu(a) * b)


class Block(nn.Module):
    """Pre-norm transformer layer."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(width, eps=1e-5)
        self.attention = SelfAttention(width, heads)
        self.norm_feedforward = nn.LayerNorm(width, eps=1e-5)
        self.feedforward = SwiGLU(width, hidden)

    def forward(self, x_NTD: Tensor, turn: Rotation, how: Plan) -> Tensor:
        x_NTD = x_NTD + self.attention(self.norm_attention(x_NTD), turn, how)
        return x_NTD + self.feedforward(self.norm_feedforward(x_NTD))


class ViT(nn.Module):
    """Real (N, 2, H, W) to the same shape; H and W multiples of `patch`. Returns exactly zero before training.

    rows: neighbouring token rows that a sparse layer's queries see on each side; None makes every layer full. The
    first and the last layer are always full. sparse_from: grids with fewer token rows than this are full too.
    kernel: forces an attention kernel; None takes the device's default.
    """

    def __init__(
        self,
        patch: int,
        width: int,
        layers: int,
        heads: int,
        hidden: int,
        rows: int | None = None,
        sparse_from: int = 16,
        channels: int = 2,
        kernel: Kernel | None = None,
    ) -> None:
        super().__init__()
        self.patch, self.rows, self.sparse_from, self.kernel = patch, rows, sparse_from, kernel
        self.head_width, self.channels = width // heads, channels
        self.embed = nn.Conv2d(channels, width, patch, stride=patch)
        self.norm_in = nn.LayerNorm(width, eps=1e-5, elementwise_affine=False)
        self.blocks = nn.ModuleList(Block(width, heads, hidden) for _ in range(layers))
        self.norm_out = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.head = nn.Linear(width, patch * patch * channels)
        nn.init.xavier_uniform_(self.embed.weight.flatten(1))  # as the linear map it is; the view shares the memory
        assert self.embed.bias is not None
        nn.init.zeros_(self.embed.bias)
        _zero(self.head)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x_NTD, grid = self._tokens(x_NCHW)
        turn = rotation(grid, self.head_width, x_NTD.device)
        plans = self.plans(grid, x_NTD.device)
        for block, how in zip(self.blocks, plans, strict=True):
            x_NTD = block(x_NTD, turn, how)
        return self._image(x_NTD, grid)

    def plans(self, grid: Grid, device: torch.device) -> list[Plan]:
        """How each layer attends on a token grid: full, sparse, ..., sparse, full."""
        full = plan(grid, None, device)
        rows = self.rows if grid[0] >= self.sparse_from else None
        inner = plan(grid, rows, device, self.kernel, backward=torch.is_grad_enabled())
        last = len(self.blocks) - 1
        return [full if layer in (0, last) else inner for layer in range(last + 1)]

    @torch.no_grad()
    def attention_maps(self, x_NCHW: Tensor, query: tuple[int, int]) -> Tensor:
        """Where one query token (row, column) looks: float32 (N, layers, heads, h, w), each map summing to one."""
        x_NTD, grid = self._tokens(x_NCHW)
        turn = rotation(grid, self.head_width, x_NTD.device)
        token = query[0] * grid[1] + query[1]
        maps = []
        for block, how in zip(self.blocks, self.plans(grid, x_NTD.device), strict=True):
            assert isinstance(block, Block)
            q, k, _ = block.attention.split(block.norm_attention(x_NTD), turn)
            maps.append(attention_scores(q, k, token, how))
            x_NTD = block(x_NTD, turn, how)
        return torch.stack(maps, dim=1)

    def _tokens(self, x_NCHW: Tensor) -> tuple[Tensor, Grid]:
        x_NDhw = self.embed(x_NCHW)
        return self.norm_in(x_NDhw.flatten(2).transpose(1, 2)), (x_NDhw.shape[-2], x_NDhw.shape[-1])

    def _image(self, x_NTD: Tensor, grid: Grid) -> Tensor:
        (h, w), p = grid, self.patch
        y = self.head(self.norm_out(x_NTD)).reshape(-1, h, w, p, p, self.channels)
        return y.permute(0, 5, 1, 3, 2, 4).reshape(-1, self.channels, h * p, w * p)


def _zero(layer: nn.Linear) -> None:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
