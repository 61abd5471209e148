"""The denoiser of one cascade: a shared encoder, a router, and expert decoders of which only those chosen work."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rekon.config.more import ExpertsModel
from rekon.more.router import Route, Router
from rekon.more.unet import Decoder, Encoder, Neck


class ExpertUnet(nn.Module):
    """Real (M, inputs, H, W) to (M, outputs, H, W); H and W multiples of 2^(levels - 1).

    routes: whether this cascade has a router of its own; if not, and there are experts, it is told the route.
    """

    def __init__(self, model: ExpertsModel, inputs: int, outputs: int, routes: bool) -> None:
        super().__init__()

        def neck() -> Neck:
            return Neck(model.widths, model.skip, model.bottleneck)

        self.encoder = Encoder(inputs, model.widths, model.encoder)
        self.router = Router(sum(model.widths), model.experts, model.router) if model.router and routes else None
        self.neck = None if model.whole_experts else neck()
        self.decoders = nn.ModuleList(
            Decoder(model, outputs, neck() if model.whole_experts else None) for _ in range(model.experts)
        )

    def forward(
        self, x: Tensor, noise_MN: Tensor | None = None, route: Route | None = None
    ) -> tuple[Tensor, Route | None]:
        """The output, and how the samples went: by this cascade's router, or as `route` says; None without experts."""
        features = self.encoder(x)
        if self.router is not None:
            route = self.router(
                features, noise_MN
            )  # from the encoder's features as they are, E_4 before the bottleneck
        if self.neck is not None:
            features = self.neck(features)
        if len(self.decoders) == 1:
            return self.decoders[0](features), None
        assert route is not None, "experts need a route"
        return mixture(self.decoders, features, route), route


def mixture(decoders: nn.ModuleList, features: list[Tensor], route: Route) -> Tensor:
    """Sum of g_i Dec_i over each sample's chosen experts (Eq. 6); an expert sees the samples that chose it, no others.

    An expert that no sample of the batch chose is not computed: it costs nothing, and its parameters get no gradient.
    """
    total: Tensor | None = None
    # one look at the device per cascade; where all of a batch goes the same way nothing is copied either
    for expert, takers in enumerate(route.chosen_MN.T.tolist()):
        if not any(takers):
            continue
        everyone = all(takers)
        rows = torch.tensor([row for row, taken in enumerate(takers) if taken], device=route.chosen_MN.device)
        part = decoders[expert](features if everyone else [x[rows] for x in features])
        weight = route.weights_MN[:, expert] if everyone else route.weights_MN[rows, expert]
        part = part * weight[:, None, None, None]
        if everyone:
            total = part if total is None else total + part
        else:
            start = part.new_zeros(len(takers), *part.shape[1:]) if total is None else total
            total = start.index_add(0, rows, part)
    assert total is not None, "every sample chooses an expert"
    return total
