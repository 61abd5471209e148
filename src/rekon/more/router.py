"""Which experts a sample gets, and with what weights (Sec. III-A; Eqs. 3-6, 8).

Suffixes: M samples, N experts, E embedding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rekon.config.more import RouterSettings
from rekon.nn.cab import cabs
from rekon.physics.fft import centre_crop


@dataclass(frozen=True)
class Route:
    """What a router made of some samples. Nothing here has a gradient towards the backbone."""

    inputs: Tensor  # (M, C, h, w): what it saw
    embedding_ME: Tensor  # F_r
    logits_MN: Tensor  # z, float32
    chosen_MN: Tensor  # bool, top_k per sample
    weights_MN: Tensor  # g of the chosen experts, 0 elsewhere: what their outputs are multiplied by


class Router(nn.Module):
    """Features of all levels to weights of a few experts."""

    def __init__(self, channels: int, experts: int, settings: RouterSettings) -> None:
        """channels: of the features of all levels together."""
        super().__init__()
        self.top_k, self.renormalise = settings.top_k, settings.renormalise
        self.blocks = cabs(channels, settings.blocks, settings.reduction)
        self.mlp = nn.Sequential(
            nn.Linear(channels, settings.hidden), nn.PReLU(), nn.Linear(settings.hidden, settings.embedding)
        )
        self.gate = nn.Linear(settings.embedding, experts, bias=False)

    def forward(self, features: list[Tensor], noise_MN: Tensor | None = None) -> Route:
        """noise: tau times epsilon of Eq. 8; None in use, where samples go to the experts that suit them best."""
        inputs = gather_features(features)
        embedding_ME = self.embed(inputs)
        logits_MN = self.logits(embedding_ME)
        gates_MN = logits_MN.softmax(dim=1)  # Eq. 5
        chosen_MN = choose(gates_MN, self.top_k, noise_MN)
        weights_MN = gates_MN * chosen_MN  # Eq. 6
        if self.renormalise:
            weights_MN = weights_MN / weights_MN.sum(dim=1, keepdim=True).detach()
        return Route(inputs, embedding_ME, logits_MN, chosen_MN, weights_MN)

    def embed(self, inputs: Tensor) -> Tensor:
        """F_r = MLP(GAP(CAB^n(inputs))) (Eqs. 3, 4): (M, C, h, w) to (M, E)."""
        return self.mlp(self.blocks(inputs).mean(dim=(-2, -1)))

    def logits(self, embedding_ME: Tensor) -> Tensor:
        """z = W F_r, float32 (M, N), under autocast too: in bf16 gates that differ would be equal."""
        with torch.autocast(embedding_ME.device.type, enabled=False):
            return self.gate(embedding_ME.float())


def gather_features(features: list[Tensor]) -> Tensor:
    """All levels side by side, cropped to the centre that the lowest one's size covers, detached (Eq. 3).

    The finest level so shows one eighth of each side where there are four levels. float32 (M, C, h, w).
    """
    size = (features[-1].shape[-2], features[-1].shape[-1])
    return torch.cat([centre_crop(x.detach(), size) for x in features], dim=1).float()


def choose(gates_MN: Tensor, top_k: int, noise_MN: Tensor | None = None) -> Tensor:
    """The `top_k` experts with the largest gate plus noise (Eq. 8), bool (M, N); never more, even where two are equal.

    Noise decides who is chosen, not with what weight.
    """
    scores = gates_MN.detach() if noise_MN is None else gates_MN.detach() + noise_MN
    best = scores.topk(top_k, dim=1).indices
    return torch.zeros_like(scores, dtype=torch.bool).scatter_(1, best, True)
