"""What keeps a router from sending everything to one expert: three losses, and a few recent inputs (Sec. III-B).

Suffixes: M rows of the router's batch (samples and kept inputs), N experts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.functional import log_softmax

from rekon.more.router import Route, Router, choose
from rekon.training import distributed


def losses(logits_MN: Tensor, share_N: Tensor) -> dict[str, Tensor]:
    """The terms of Eq. 7 without their weights, each (M,), to be averaged over the batch.

    balance: sum p_i g_i; sparsity: the entropy -sum g_i ln g_i; z: (ln sum e^z_i)^2. share: p, the experts' shares of
    all choices made in the batch, which sum to 1; no gradient goes through it.
    """
    logs = log_softmax(logits_MN, dim=1)
    gates = logs.exp()
    return {
        "balance": (share_N.detach() * gates).sum(dim=1),
        "sparsity": -(gates * logs).sum(dim=1),
        "z": logits_MN.logsumexp(dim=1).square(),
    }


def batch_losses(
    routers: Sequence[Router], routes: Sequence[Route], cache: Cache, noise_KRN: Tensor | None
) -> tuple[dict[str, Tensor], Tensor]:
    """The terms of Eq. 7 as means over routers and the router's batch: the samples of this step and the kept inputs.

    noise: of the kept inputs, for as many as the cache can hold. Also returns p of each router, float32 (R, N).
    Several processes share the batch: each takes its own samples and its part of the cache, and the mean of their
    values is that of one process with all samples.
    """
    mine = list(distributed.share(range(len(cache))))
    logits, chosen = [], []
    for number, (router, route) in enumerate(zip(routers, routes, strict=True)):
        z, chose = route.logits_MN, route.chosen_MN
        if mine:
            assert cache.items is not None
            kept = router.logits(router.embed(cache.items[mine, number]))
            noise_KN = None if noise_KRN is None else noise_KRN[mine, number]
            z = torch.cat([z, kept])
            chose = torch.cat([chose, choose(kept.softmax(dim=1), router.top_k, noise_KN)])
        logits.append(z)
        chosen.append(chose)
    counts_RN = distributed.total(torch.stack([chose.sum(dim=0) for chose in chosen]).float())
    choices = counts_RN.sum(dim=1, keepdim=True)
    share_RN = counts_RN / choices
    scale = processes() * routers[0].top_k / choices[0, 0]  # processes over rows: the loop averages over processes
    terms = [losses(z, share_N) for z, share_N in zip(logits, share_RN, strict=True)]
    means = {name: scale * torch.stack([term[name].sum() for term in terms]).mean() for name in terms[0]}
    return means, share_RN


class Cache:
    """The last inputs of every router, first in, first out: what makes a batch of a batch of one.

    The same on all processes, whichever of them saw an input.
    """

    def __init__(self, length: int) -> None:
        self.length = length
        self.items: Tensor | None = None  # float32 (kept, routers, C, h, w), the oldest first

    def __len__(self) -> int:
        return 0 if self.items is None else len(self.items)

    def push(self, routes: list[Route]) -> None:
        """Keep what the routers saw in this step, on all processes, in the order of the batch."""
        if not self.length:
            return
        new = gathered(torch.stack([route.inputs for route in routes], dim=1))
        kept = new if self.items is None else torch.cat([self.items, new])
        self.items = kept[-self.length :].clone()

    def state(self) -> dict[str, Tensor]:
        """Part of a run's resumable state; nothing before the first step."""
        return {} if self.items is None else {"cache": self.items}

    def restore(self, state: Mapping[str, Tensor], device: torch.device) -> None:
        """Take back what `state` gave."""
        assert set(state) <= {"cache"}, f"unexpected extra state: {', '.join(state)}"
        self.items = state["cache"].clone().to(device) if "cache" in state else None


def processes() -> int:
    """How many train side by side."""
    return dist.get_world_size() if dist.is_initialized() else 1


def gathered(x: Tensor) -> Tensor:
    """Rows of all processes, equally many of each, one after the other: the order of the batch they share."""
    if processes() == 1:
        return x
    parts = [torch.empty_like(x) for _ in range(processes())]
    dist.all_gather(parts, x.contiguous())
    return torch.cat(parts)
