"""Row-sparse self-attention on a token grid (UEPS Sec. 3.4): one exact definition, interchangeable kernels.

Undersampling along W folds the image along W only, so what a pixel needs to be unfolded lies in its own row.
`row_mask` is the definition. The kernels compute softmax(q k^T / sqrt(d) under that mask) v:

    masked  scaled dot-product attention with the boolean mask: computes every score and drops most
    gather  scaled dot-product attention row by row, on the keys of the row and its neighbours: computes what is needed
    flex    FlexAttention with a block mask, the authors' choice: compiled on a GPU; no backward on a CPU

Shapes: B batch, heads, N = h * w tokens in row-major order (rows along H, the readout), d head dimension.
"""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Grid = tuple[int, int]  # token rows h, tokens per row w
Kernel = Literal["dense", "masked", "gather", "flex"]
KERNELS: tuple[Kernel, ...] = ("masked", "gather", "flex")  # those that know rows


def row_mask(grid: Grid, rows: int | None, device: torch.device | None = None) -> Tensor:
    """Who sees whom: bool (N, N), True where query i sees key j.

    A query sees every token of its own row and of `rows` rows on each side; there is no wrap-around, so edge rows see
    fewer. None: everything.
    """
    row = torch.arange(grid[0], device=device).repeat_interleave(grid[1])
    if rows is None:
        return torch.ones(len(row), len(row), dtype=torch.bool, device=device)
    return (row[:, None] - row[None, :]).abs() <= rows


@dataclass(frozen=True)
class Plan:
    """How a ViT's sparse layers attend on one grid: made once per forward pass, shared by the layers."""

    kernel: Kernel
    grid: Grid
    rows: int | None
    mask: Any = None  # masked: bool (N, N); gather: bool (1, h, w, window); flex: BlockMask; dense: None


def plan(
    grid: Grid, rows: int | None, device: torch.device, kernel: Kernel | None = None, backward: bool = True
) -> Plan:
    """The kernel for a grid, with the mask it needs. None: the default of the device, `default_kernel`.

    backward: whether gradients will be asked for. Raises ValueError for a kernel that the device cannot run.
    """
    if rows is None or rows >= grid[0] - 1:
        return Plan("dense", grid, None)  # everything is seen anyway
    kernel = kernel or default_kernel(device.type, grid)
    if kernel == "flex" and backward and device.type == "cpu":
        raise ValueError("kernel 'flex' has no backward on a CPU; use 'gather' or 'masked'")
    return Plan(kernel, grid, rows, _mask(kernel, grid, rows, device))


def attend(q: Tensor, k: Tensor, v: Tensor, how: Plan) -> Tensor:
    """Attention of queries, keys and values (B, heads, N, d) as planned; returns (B, heads, N, d)."""
    if how.kernel == "dense":
        return F.scaled_dot_product_attention(q, k, v)
    if how.kernel == "masked":
        return F.scaled_dot_product_attention(q, k, v, attn_mask=how.mask)
    if how.kernel == "gather":
        assert how.rows is not None
        return _gather(q, k, v, how.mask, how.grid, how.rows)
    assert how.kernel == "flex", how.kernel
    return _flex(q, k, v, how.mask)


def row_attention(
    q: Tensor, k: Tensor, v: Tensor, grid: Grid, rows: int | None, kernel: Kernel | None = None
) -> Tensor:
    """Plan and attend in one call: row-sparse attention of (B, heads, N, d) on `grid`."""
    backward = torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v))
    return attend(q, k, v, plan(grid, rows, q.device, kernel, backward))


def attention_scores(q: Tensor, k: Tensor, query: int, how: Plan) -> Tensor:
    """Softmax weights of one query token over all tokens, float32 (B, heads, h, w): for pictures (UEPS Fig. 4)."""
    scores = torch.einsum("bhd,bhnd->bhn", q[:, :, query].float(), k.float()) * q.shape[-1] ** -0.5
    seen = row_mask(how.grid, how.rows, q.device)[query]
    return scores.masked_fill(~seen, -torch.inf).softmax(-1).unflatten(-1, how.grid)


def _gather(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, grid: Grid, rows: int) -> Tensor:
    """Row-gather: every token row attends to the 2 * rows + 1 rows around it; `mask` blanks rows beyond the edge."""
    h, w = grid
    batch, heads, _, d = q.shape
    q = q.reshape(batch * heads, h, w, d)  # token rows stand where fused kernels expect heads
    # Slices are joined rather than unfolded: the backward pass of Tensor.unfold is several times slower on a CPU.
    k, v = (F.pad(x.reshape(-1, h, w, d), (0, 0, 0, 0, rows, rows)) for x in (k, v))
    k, v = (torch.cat([x[:, start : start + h] for start in range(2 * rows + 1)], dim=2) for x in (k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).reshape(batch, heads, h * w, d)


def _window_mask(grid: Grid, rows: int, device: torch.device) -> Tensor:
    """Keys of each token row's window that lie on the grid: bool (1, h, w, (2 * rows + 1) * w)."""
    h, w = grid
    offsets = torch.arange(-rows, rows + 1, device=device)
    row = torch.arange(h, device=device)[:, None] + offsets
    inside = ((row >= 0) & (row < h)).repeat_interleave(w, dim=1)
    return inside[None, :, None, :].expand(1, h, w, -1).contiguous()


def _flex(q: Tensor, k: Tensor, v: Tensor, mask: Any) -> Tensor:
    from torch.nn.attention.flex_attention import flex_attention

    if q.device.type != "cpu" and not torch.compiler.is_compiling():
        return _compiled_flex()(q, k, v, block_mask=mask)
    # On a CPU the compiled kernel is slower than dense attention (see default_kernel) and takes half a minute to
    # build, so flex is there for checking only, and uncompiled.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="flex_attention called without torch.compile")
        return flex_attention(q, k, v, block_mask=mask)


@functools.cache
def _compiled_flex() -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention)


@functools.lru_cache(maxsize=32)
def _mask(kernel: Kernel, grid: Grid, rows: int, device: torch.device) -> Any:
    if kernel == "masked":
        return row_mask(grid, rows, device)
    if kernel == "gather":
        return _window_mask(grid, rows, device)
    from torch.nn.attention.flex_attention import create_block_mask

    tokens, width = grid[0] * grid[1], grid[1]

    def near(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (query // width - key // width).abs() <= rows

    return create_block_mask(near, None, None, tokens, tokens, device=device.type)


def default_kernel(device: str, grid: Grid) -> Kernel:
    """The fastest kernel as measured by `benchmarks/attention.py` (forward + backward, which training repeats most).

    CPU (one thread of a server Xeon, float32, rows = 1, in ms, masked / gather; dense SDPA for comparison):
        grid 12 x 12, 4 heads of 24:    2.9 /   3.9   (2.7)      grid 24 x 24, 4 heads of 24:   35 /  17   (31)
        grid 16 x 16, 8 heads of 64:     28 /    33   (26)       grid 32 x 32, 8 heads of 64:  199 /  64   (185)
        grid 20 x 20, 8 heads of 64:     65 /    57   (61)       grid 40 x 40, 8 heads of 64:  515 / 152   (456)
    so the mask wins up to 16 x 16, where 3 of 16 rows of scores are too few to pay for copying keys and values.
    FlexAttention's compiled CPU forward took 1.8 to 18 times dense attention's.
    Other devices: not measured yet. gather does the least work and needs no compiler; the benchmark says, for the
    machine it runs on, which kernel belongs here.
    """
    return "masked" if device == "cpu" and grid[0] * grid[1] <= 256 else "gather"
