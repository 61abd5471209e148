"""How MoRE and its dense baselines are trained: the image's loss for everything, the router's losses for routers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from rekon.config import Recipe
from rekon.config.base import check
from rekon.config.more import ExpertsModel, refuse_clipping
from rekon.data.selection import Selection
from rekon.data.slices import Example, SliceSet
from rekon.data.undersampled import UndersampledKspace, spread
from rekon.more.balance import Cache, batch_losses
from rekon.more.network import build
from rekon.more.router import Route
from rekon.more.specialisation import entropy, routing_metrics, sets
from rekon.more.unet import Decoder, Encoder, Neck
from rekon.nn.ssim import ssim
from rekon.physics.masks import Mask
from rekon.randomness import torch_generator
from rekon.training import distributed, schedule
from rekon.training.objective import Objective, Update, move, optimiser


class ExpertsObjective(Objective):
    """One network, one optimiser, and the routers' recent inputs, which are part of the resumable state.

    Router and backbone share no gradient but the gate's, and AdamW rescales every parameter on its own, so one
    optimiser serves both. Only clipping by a common norm would let the router's losses touch the backbone, so it is
    refused.
    """

    def __init__(self, recipe: Recipe, train: SliceSet, validation: SliceSet, mask: Mask, device: torch.device) -> None:
        """Network and optimiser of `recipe` on `device`.

        Raises UserError where the sets do not serve, and for clipping where there are routers.
        """
        assert recipe.training is not None, "the registry asks for objectives of trained runs only"
        source = f"recipe of {recipe.study}/{recipe.run}, section 'model'"
        self.model = check(ExpertsModel, recipe.model, source)
        refuse_clipping(self.model, recipe.training, f"recipe of {recipe.study}/{recipe.run}")
        self.device, self.seed, self.max_coils = device, recipe.seed, recipe.data.max_coils
        self.train, self.validation = UndersampledKspace(train, mask), UndersampledKspace(validation, mask)
        self.chosen = Selection(train, self.model.modalities, recipe.data.select)
        self.train_length = len(self.chosen)
        self.steps = schedule.total_steps(recipe.training, self.train_length)
        # every validation subject of the modalities that are trained on
        seen = {group: None for group, subjects in self.chosen.subjects.items() if subjects}
        watched = Selection(validation, self.model.modalities, seen)
        places = spread(len(watched), recipe.training.validation_slices)
        self.validated = [(watched.indices[i], self.model.names.index(watched.groups[i])) for i in places]
        self.network = build(self.model, recipe.data.size).to(device)
        self.networks = nn.ModuleDict({"network": self.network})
        self.optimisers = {"network": optimiser(self.network.parameters(), recipe.training)}
        self.optimisers["network"].register_step_pre_hook(self._withhold)
        self.cache = Cache(self.model.router.cache if self.model.router else 0)
        self.used_RN: Tensor | None = None  # experts that anyone chose in this step, bool

    def batch(self, indices: Sequence[int], step: int) -> dict[str, Tensor]:
        """kspace complex64 (M, C, H, W), undersampled; mask bool (1, W); target float32 (M, H, W); full_scale (M,).

        With experts also standard normal noise: of the samples (M, R, N), and of kept inputs (cache, R, N). It
        follows from (seed, step, item), so processes and workers that share a batch draw what one would.
        """
        numbers = [self.chosen.indices[index] for index in indices]
        batch = _stack(
            [self.train.slices.training(i, self.seed, step, i, self.max_coils) for i in numbers], self.train.columns
        )
        if self.model.router and self.model.router.noise:
            batch["noise"] = self._noise("gate noise", step, numbers)
            batch["cached_noise"] = self._noise("gate noise of kept inputs", step, range(self.cache.length))
        return batch

    def step(self, batch: Any, step: int, update: Update) -> Mapping[str, float | Tensor]:
        """Losses as they are weighted: loss is their sum, reconstruction and router_* its parts.

        router_entropy (of a sample's gates, nats) and load_entropy (of the experts' loads, over ln N) have no weight.
        """
        settings, share = self.model.router, step / max(self.steps - 1, 1)
        tau = settings.noise.at(share) if settings and settings.noise else 0.0
        output = self.network(batch["kspace"], batch["mask"], tau * batch["noise"] if tau else None)
        loss = self._losses(output.image, batch)["loss"].mean()
        values: dict[str, float | Tensor] = {}
        if settings and output.routes:
            noise = tau * batch["cached_noise"] if tau else None
            terms, share_RN = batch_losses(self.network.routers, output.routes, self.cache, noise)
            values = {"reconstruction": loss, "router_entropy": terms["sparsity"], "temperature": tau}
            values["load_entropy"] = float(entropy(share_RN.cpu().numpy()).mean() / np.log(self.model.experts))
            weights = {"balance": settings.balance.at(share) if settings.balance else 0.0}
            weights |= {"sparsity": settings.sparsity, "z": settings.z}
            for name, weight in weights.items():
                if weight:
                    values[f"router_{name}"] = weight * terms[name]
                    loss = loss + weight * terms[name]
            self.used_RN = _chosen(output.routes)
        update("network", loss)
        self.cache.push(output.routes)
        return {"loss": loss, **values}

    def validate(self) -> dict[str, float]:
        """val_loss: the image's loss; val_psnr in dB of the volume's maximum; both means over slices.

        With experts also `rekon.more.specialisation.routing_metrics`, of routing without noise.
        """
        routers, router = len(self.network.routers), self.model.router
        members_CN = torch.from_numpy(sets(self.model.experts, router.top_k if router else 1))
        volume_of = {index: self.validation.slices.items[index].volume for index, _ in self.validated}
        volumes = {name: number for number, name in enumerate(dict.fromkeys(volume_of.values()))}
        errors = torch.zeros(2, dtype=torch.float64)
        table_VRC = torch.zeros(len(volumes), routers, len(members_CN), dtype=torch.float64)
        entropies = torch.zeros(routers, dtype=torch.float64)
        for index, _ in distributed.share(self.validated):
            batch = move(_stack([self.validation.slices.item(index)], self.validation.columns), self.device)
            output = self.network(batch["kspace"], batch["mask"])
            found = self._losses(output.image, batch)
            errors += torch.stack([found["loss"][0], found["psnr"][0]]).double().cpu()
            for number, route in enumerate(output.routes):
                gates = route.logits_MN.double().softmax(dim=1)[0].cpu()
                chosen = (members_CN == route.chosen_MN[0].cpu()).all(dim=1)
                table_VRC[volumes[volume_of[index]], number] += chosen
                entropies[number] += torch.special.entr(gates).sum()
        flat = torch.cat([part.flatten() for part in (errors, table_VRC, entropies)])
        whole = distributed.total(flat.to(self.device)).cpu()
        errors, table, entropies = whole.split([2, table_VRC.numel(), routers])
        count = len(self.validated)
        metrics = {"val_loss": float(errors[0]) / count, "val_psnr": float(errors[1]) / count}
        if not routers:
            return metrics
        modality = {volumes[volume_of[index]]: group for index, group in self.validated}
        modality_V = np.array([modality[number] for number in range(len(volumes))])
        table_VRC = table.view(table_VRC.shape)
        return metrics | routing_metrics(
            self.model.names, modality_V, table_VRC.numpy(), entropies.numpy(), members_CN.numpy()
        )

    def compile(self) -> None:
        """Encoder, skip connections and decoders of every U-Net. Routing, and what is complex, stays outside.

        Routers would be compiled again and again while their cache fills, and see little more than a thumbnail.
        """
        for module in self.network.modules():
            if isinstance(module, Encoder | Neck | Decoder):
                module.compile()

    def extra_state(self) -> dict[str, Tensor]:
        return self.cache.state()

    def load_extra_state(self, state: Mapping[str, Tensor]) -> None:
        self.cache.restore(state, self.device)

    def _losses(self, image: Tensor, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of each image, (M,): the weighted loss, and PSNR in dB."""
        target, scale, weights = batch["target"], batch["full_scale"], self.model.loss
        loss = torch.zeros_like(scale)
        if weights.ssim:
            loss = loss + weights.ssim * (1 - ssim(image, target, "uniform", scale))
        if weights.l1:
            loss = loss + weights.l1 * (image - target).abs().mean(dim=(1, 2)) / scale
        with torch.no_grad():
            psnr = 10 * torch.log10(scale.square() / (image - target).square().mean(dim=(1, 2)))
        return {"loss": loss, "psnr": psnr}

    def _noise(self, purpose: str, step: int, numbers: Sequence[int]) -> Tensor:
        shape = (len(self.network.routers), self.model.experts)
        drawn = [torch.randn(shape, generator=torch_generator(self.seed, purpose, step, i)) for i in numbers]
        return torch.stack(drawn) if drawn else torch.empty(0, *shape)

    def _withhold(self, *_: Any) -> None:
        """Before the optimiser's step: no gradient for experts that nobody chose.

        Averaging over processes has made it zero, and with that AdamW would still decay their weights and move them
        on by their momentum.
        """
        if self.used_RN is None:
            return
        used = self.used_RN.expand(self.model.cascades, -1).tolist()  # one router may decide for all cascades
        for unet, row in zip(self.network.unets, used, strict=True):
            for decoder, taken in zip(unet.decoders, row, strict=True):
                if not taken:
                    for parameter in decoder.parameters():
                        parameter.grad = None


def _chosen(routes: Sequence[Route]) -> Tensor:
    """Experts that a sample of any process chose, bool (R, N)."""
    return distributed.total(torch.stack([route.chosen_MN.sum(dim=0) for route in routes]).float()) > 0


def _stack(examples: Sequence[Example], columns: Tensor) -> dict[str, Tensor]:
    """A batch of slices; coils of zeros fill up smaller arrays, and the network gives them no output."""
    coils = max(len(example.kspace) for example in examples)
    targets = [example.target for example in examples if example.target is not None]
    assert len(targets) == len(examples), "sets without a reference are refused at the start"
    kspace = [pad(e.kspace * columns, (0, 0, 0, 0, 0, coils - len(e.kspace))) for e in examples]
    return {
        "kspace": torch.stack(kspace),
        "mask": columns[None],
        "target": torch.stack(targets),
        "full_scale": torch.tensor([example.data_range for example in examples]),
    }
