"""The codebook all acceleration levels share: lookup, rotation trick, moving averages (Sec. 4.1, Supp. 9).

Shapes: N vectors (of any number of images, levels and places), d channels of a vector, V codes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from rekon.training import distributed

_DEGENERATE = 1e-6  # norm below which a direction means nothing


class Codebook(nn.Module):
    """V vectors of d channels that follow the means of the vectors assigned to them. No gradient reaches them.

    Everything it remembers is a buffer, so a resumed run goes on exactly. Before `initialise` it holds noise.
    decay: of the moving averages, per update; epsilon: keeps unused codes finite (Laplace smoothing).
    """

    embedding: Tensor  # (V, d)
    embedding_sum: Tensor  # (V, d), moving average of the sum of a code's vectors
    cluster_size: Tensor  # (V,), moving average of their number
    updates: Tensor  # int64 scalar; -1 before `initialise`

    def __init__(self, vocabulary: int, channels: int, decay: float, epsilon: float) -> None:
        super().__init__()
        self.decay, self.epsilon = decay, epsilon
        embedding = torch.randn(vocabulary, channels)
        self.register_buffer("embedding", embedding)
        self.register_buffer("embedding_sum", embedding.clone())
        self.register_buffer("cluster_size", torch.ones(vocabulary))
        self.register_buffer("updates", torch.tensor(-1))

    @property
    def initialised(self) -> bool:
        """Whether the codes come from data."""
        return int(self.updates) >= 0

    @torch.no_grad()
    def nearest(self, z_Nd: Tensor) -> Tensor:
        """Codes at the least Euclidean distance, int64 (N,); the first of equals."""
        # |z - e|^2 without |z|^2, which is the same for all codes, halved
        return torch.addmm(self.embedding.square().sum(1) / 2, z_Nd, self.embedding.T, alpha=-1).argmin(1)

    @torch.no_grad()
    def initialise(self, z_Nd: Tensor) -> None:
        """Take a random subset of vectors as codes; each process gives its share. With repetition if N is too small.

        Draws from torch's global generator, which the training loop seeds anew at every step.
        """
        rows = torch.arange(len(self.embedding))
        mine = distributed.share(rows)  # type: ignore[arg-type]
        order = torch.randperm(max(len(z_Nd), len(mine)))[: len(mine)] % len(z_Nd)
        codes = torch.zeros_like(self.embedding)
        codes[mine.to(z_Nd.device)] = z_Nd[order.to(z_Nd.device)].to(codes)  # type: ignore[attr-defined]
        self.embedding.copy_(distributed.total(codes))
        self.embedding_sum.copy_(self.embedding)
        self.cluster_size.fill_(1)
        self.updates.fill_(0)

    @torch.no_grad()
    def update(self, z_Nd: Tensor, ids_N: Tensor) -> Tensor:
        """One step of the moving averages with the vectors of all levels and processes; returns the codes' counts (V,).

        size <- decay size + (1 - decay) n, sum <- decay sum + (1 - decay) sum of vectors; code = sum / smoothed size
        (van den Oord 2017, App. A.1; Razavi 2019).
        """
        z_Nd = z_Nd.to(self.embedding)
        counted = torch.zeros(len(self.embedding), z_Nd.shape[1] + 1, device=z_Nd.device)
        counted.index_add_(0, ids_N, torch.cat([z_Nd, torch.ones_like(z_Nd[:, :1])], dim=1))
        counted = distributed.total(counted)
        sums_Vd, counts_V = counted[:, :-1], counted[:, -1]
        self.cluster_size.lerp_(counts_V, 1 - self.decay)
        self.embedding_sum.lerp_(sums_Vd, 1 - self.decay)
        whole = self.cluster_size.sum()
        smoothed = (self.cluster_size + self.epsilon) / (whole + len(counts_V) * self.epsilon) * whole
        self.embedding.copy_(self.embedding_sum / smoothed[:, None])
        self.updates += 1
        return counts_V


def rotate_to(z_Nd: Tensor, code_Nd: Tensor) -> Tensor:
    """The codes (N, d), with the gradient that vectors z get by the rotation trick (Fifty 2025).

    Backwards, code = |code| / |z| R z counts with R, the rotation from z to the code in their plane, and the ratio
    held fixed. Where z or the code is zero, or they point in opposite directions, there is no such rotation: the
    gradient is then copied (straight-through).
    """
    return _RotationTrick.apply(z_Nd, code_Nd)


class _RotationTrick(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, z_Nd: Tensor, code_Nd: Tensor) -> Tensor:
        ctx.save_for_backward(z_Nd, code_Nd)
        return code_Nd.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_Nd: Tensor) -> tuple[Tensor, None]:
        z, q = ctx.saved_tensors
        z_norm, q_norm = (x.norm(dim=1, keepdim=True) for x in (z, q))
        z_hat, q_hat = z / z_norm.clamp_min(_DEGENERATE), q / q_norm.clamp_min(_DEGENERATE)
        between = z_hat + q_hat
        length = between.norm(dim=1, keepdim=True)
        w = between / length.clamp_min(_DEGENERATE)
        # R = I - 2 w w^T + 2 q_hat z_hat^T, transposed
        turned = gradient_Nd - 2 * w * (w * gradient_Nd).sum(1, True) + 2 * z_hat * (q_hat * gradient_Nd).sum(1, True)
        turned = turned * q_norm / z_norm.clamp_min(_DEGENERATE)
        degenerate = (z_norm < _DEGENERATE) | (q_norm < _DEGENERATE) | (length < _DEGENERATE)
        return torch.where(degenerate, gradient_Nd, turned), None


def usage(ids: Tensor, vocabulary: int) -> Tensor:
    """How often each code occurs in `ids` (any shape): float32 (V,)."""
    counts = torch.zeros(vocabulary, device=ids.device)
    return counts.index_add_(0, ids.flatten(), torch.ones_like(ids.flatten(), dtype=torch.float32))


def perplexity(counts_V: Tensor) -> Tensor:
    """exp of the entropy of the codes' shares: V if all are used alike, 1 if only one is. Scalar; NaN without any."""
    share = counts_V.double() / counts_V.sum()
    return torch.special.entr(share).sum().exp()
