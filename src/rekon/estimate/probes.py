"""A run's network with what one slice does to it: a training step, a reconstruction, a validation item.

Each mirrors the `step`, `validate` and reconstruction of its study; a test compares the counts with those of the real
steps. Everything is built and run inside `torch.device("meta")`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from rekon.config import Recipe, UnrolledModel
from rekon.config.base import check
from rekon.config.dpm import DiffusionModel
from rekon.config.more import ExpertsModel
from rekon.config.nas import DecodingSettings, DistilledModel, TokenizerModel, TransformerModel
from rekon.errors import UserError
from rekon.estimate.cost import Recipes

if TYPE_CHECKING:
    from rekon.more.network import Output
    from rekon.more.router import Route
    from rekon.nas.tokenizer import Tokenizer
    from rekon.nas.transformer import ScaleTransformer

_DRAWN = 4  # noise levels per validation slice of a prior


@dataclass
class Probe:
    """Networks, and what they do with one slice. Functions take the number of coils where `by_coil` is set."""

    trained: list[nn.Module]
    published: list[nn.Module]
    step: Callable[[int], None]  # forwards and back
    use: Callable[[int], object]
    validate: Callable[[int], object]
    held: list[nn.Module] = field(default_factory=list)
    by_coil: bool = False
    guided: Callable[[], None] | None = None
    encode: Callable[[], object] | None = None


def probe(recipe: Recipe, recipes: Recipes) -> Probe:
    """The networks of a run. Raises UserError for a kind of run without any."""
    known = {
        "unrolled": _unrolled, "image_unet": _image_unet, "diffusion": _diffusion, "tokenizer": _tokenizer,
        "transformer": _transformer, "distilled": _distilled, "experts": _experts,
    }  # fmt: skip
    if recipe.kind not in known:
        raise UserError(f"{recipe.study}/{recipe.run}: a run of kind {recipe.kind!r} has no network to estimate.")
    return known[recipe.kind](recipe, recipes)


def _unrolled(recipe: Recipe, recipes: Recipes) -> Probe:
    from rekon.ueps.unrolled import build

    network = build(check(UnrolledModel, recipe.model, _source(recipe)), recipe.data.size)
    height, width = recipe.data.size
    mask = torch.empty((1, height, width) if recipe.sampling else (1, width), dtype=torch.bool)

    def use(coils: int) -> Tensor:
        return network(torch.empty(1, coils, height, width, dtype=torch.complex64), mask)

    return Probe([network], [network], lambda coils: _back(use(coils).mean()), use, use, by_coil=True)


def _experts(recipe: Recipe, recipes: Recipes) -> Probe:
    """A slice goes to as many experts as it always does, here to the first: which ones it gets costs the same."""
    from rekon.more import experts
    from rekon.more.network import build
    from rekon.nn.ssim import ssim

    model = check(ExpertsModel, recipe.model, _source(recipe))
    network = build(model, recipe.data.size)
    height, width = recipe.data.size
    mask = torch.empty((1, width), dtype=torch.bool)

    def mixture(decoders: nn.ModuleList, features: list[Tensor], route: Route) -> Tensor:
        assert model.router is not None, "without experts nothing is mixed"
        chosen = range(model.router.top_k)
        return sum((decoders[i](features) * route.weights_MN[:, i, None, None, None] for i in chosen), torch.zeros(()))

    def output(coils: int) -> Output:
        with patch.object(experts, "mixture", mixture):
            return network(torch.empty(1, coils, height, width, dtype=torch.complex64), mask)

    def step(coils: int) -> None:
        made = output(coils)
        full_scale = torch.empty(1)
        loss = 1 - ssim(made.image, torch.empty_like(made.image), "uniform", full_scale).mean()
        for router, route in zip(network.routers, made.routes, strict=True):
            assert model.router is not None
            loss = loss + route.logits_MN.mean()
            if model.router.cache:
                kept = route.inputs.expand(model.router.cache, -1, -1, -1)
                loss = loss + router.logits(router.embed(kept)).mean()
        _back(loss)

    def use(coils: int) -> Tensor:
        return output(coils).image

    return Probe([network], [network], step, use, use, by_coil=True)


def _image_unet(recipe: Recipe, recipes: Recipes) -> Probe:
    from rekon.nas.baseline import build

    network, image = build(recipe), _image(recipe)

    def use(coils: int) -> Tensor:
        return network(image)

    return Probe([network], [network], lambda coils: _back(use(coils).mean()), use, use)


def _diffusion(recipe: Recipe, recipes: Recipes) -> Probe:
    from rekon.dpm.augment import NUMBERS
    from rekon.dpm.prior import build

    model = check(DiffusionModel, recipe.model, _source(recipe))
    network = build(model)
    average = copy.deepcopy(network).requires_grad_(False)
    image, sigma = _image(recipe), torch.empty(1)
    label, augment = torch.empty(1, len(model.labels)), torch.empty(1, NUMBERS)

    def step(coils: int) -> None:
        _back(network.losses(image, image, sigma, label, augment).mean())

    def use(coils: int) -> Tensor:
        return average(image, sigma, label)

    def validate(coils: int) -> None:
        for _ in range(_DRAWN):
            use(coils)

    def guided() -> None:
        noisy = image.clone().requires_grad_()
        _back(average(noisy, sigma, label).abs().sum())  # its weights want no gradients

    return Probe([network], [average], step, use, validate, held=[average], guided=guided)


def _tokenizer(recipe: Recipe, recipes: Recipes) -> Probe:
    from rekon.nas.discriminator import Discriminator
    from rekon.nas.losses import adversarial_loss, discriminator_loss, ssim

    tokenizer = _built_tokenizer(recipe).train()
    model, sampling = tokenizer.model, recipe.sampling
    assert sampling is not None, "runs of this study have a hierarchy of patterns"
    images = _image(recipe)[:, None].expand(-1, tokenizer.levels, -1, -1)
    pattern = torch.zeros(1, dtype=torch.long)
    held: list[nn.Module] = []
    trained: list[nn.Module] = [tokenizer]
    critic, perceptual = None, None
    if model.discriminator is not None:
        critic = Discriminator(model.discriminator)
        trained.append(critic.heads)
        held.append(critic.backbone)
    if model.losses.perceptual > 0 and model.perceptual == "lpips-vgg":
        perceptual = _vgg16().requires_grad_(False)
        held.append(perceptual)

    def step(coils: int) -> None:
        out = tokenizer(images, pattern)
        image, reference = out.image.abs(), images[:, -1].abs()
        loss = out.commitment + (1 - ssim(image, reference, model.ssim_window)).mean()
        if perceptual is not None:
            one, other = (perceptual(x[:, None].expand(-1, 3, -1, -1)) for x in (image, reference))
            loss = loss + (one - other).square().mean()
        if critic is None:
            _back(loss)
            return
        features = critic.features(image)
        critic.heads.requires_grad_(False)
        loss = loss + adversarial_loss(critic.judge(features))
        critic.heads.requires_grad_(True)
        _back(loss)
        fake = critic.judge([level.detach() for level in features])
        with torch.no_grad():
            real = critic.features(reference)
        _back(discriminator_loss(critic.judge(real), fake))

    def encode() -> list[Tensor]:
        with torch.no_grad():
            return tokenizer.tokenise(images, pattern)

    def validate(coils: int) -> None:
        for _ in sampling.patterns:
            tokenizer.reconstruct(encode())

    return Probe(
        trained, [tokenizer], step, lambda coils: tokenizer.reconstruct(encode()), validate, held=held, encode=encode
    )


def _transformer(recipe: Recipe, recipes: Recipes) -> Probe:
    nas = _Nas(recipe, recipes, TransformerModel)

    def forced() -> Tensor:
        target = torch.zeros(1, nas.transformer.ends[-1], dtype=torch.long)
        logits = nas.judged(nas.transformer, nas.context(nas.transformer))
        return cross_entropy(logits.flatten(0, 1), target.flatten())

    return Probe(
        [nas.transformer], [nas.transformer], lambda coils: _back(forced()), lambda coils: nas.reconstruct(),
        lambda coils: forced(), held=[nas.tokenizer],
    )  # fmt: skip


def _distilled(recipe: Recipe, recipes: Recipes) -> Probe:
    nas = _Nas(recipe, recipes, DistilledModel)
    teacher = nas.other(recipes[recipe.parent("teacher")])

    def divergence() -> Tensor:
        context = nas.context(nas.transformer)
        nas.rollout(context)
        with torch.no_grad():
            wanted = nas.judged(teacher, nas.context(teacher))
        p, q = nas.judged(nas.transformer, context).log_softmax(-1), wanted.log_softmax(-1)
        return (p.exp() * (p - q)).sum(-1).mean()

    def validate(coils: int) -> None:
        divergence()
        nas.judged(nas.transformer, nas.context(nas.transformer))

    return Probe(
        [nas.transformer], [nas.transformer], lambda coils: _back(divergence()), lambda coils: nas.reconstruct(),
        validate, held=[nas.tokenizer, teacher],
    )  # fmt: skip


class _Nas:
    """A transformer with its fixed tokenizer, on one slice."""

    def __init__(self, recipe: Recipe, recipes: Recipes, model: type[TransformerModel]) -> None:
        from rekon.nas.transformer import ScaleTransformer

        self.tokenizer = _built_tokenizer(recipes[recipe.parent("tokenizer")]).eval().requires_grad_(False)
        self.transformer = ScaleTransformer(check(model, recipe.model, _source(recipe)), self.tokenizer)
        self.image, self.pattern = _image(recipe), torch.zeros(1, dtype=torch.long)
        self.ids = [torch.zeros(1, side**2, dtype=torch.long) for side in self.tokenizer.model.grids]

    def other(self, recipe: Recipe) -> ScaleTransformer:
        """Another transformer on the same tokens, which does not change."""
        from rekon.nas.transformer import ScaleTransformer

        model = check(TransformerModel, recipe.model, _source(recipe))
        return ScaleTransformer(model, self.tokenizer).requires_grad_(False)

    def context(self, transformer: ScaleTransformer) -> list[Tensor] | None:
        look = transformer.context
        return None if look is None else look(dict.fromkeys(look.images, self.image), self.pattern)

    def judged(self, transformer: ScaleTransformer, context: list[Tensor] | None) -> Tensor:
        """Logits of all tokens, after given ones."""
        from rekon.nas.transformer import histories

        with torch.no_grad():
            history = histories(self.tokenizer, self.ids[:-1])
        return transformer(history, self.pattern, context)

    @torch.no_grad()
    def rollout(self, context: list[Tensor] | None) -> list[Tensor]:
        """Tokens of all levels, likeliest codes; how a code is chosen costs next to nothing."""
        from rekon.nas.generate import rollout

        return rollout(self.transformer, self.tokenizer, self.ids[0], self.pattern, context, DecodingSettings())

    def reconstruct(self) -> Tensor:
        self.tokenizer.tokenise_level(self.image, 0, self.pattern)
        return self.tokenizer.reconstruct(self.rollout(self.context(self.transformer)))


def _built_tokenizer(recipe: Recipe) -> Tokenizer:
    from rekon.nas.tokenizer import Tokenizer

    tokenizer = Tokenizer(check(TokenizerModel, recipe.model, _source(recipe)), recipe.data.size)
    tokenizer.codebook.updates = torch.zeros((), dtype=torch.long, device="cpu")  # its codes come from data
    return tokenizer


def _vgg16() -> nn.Module:
    """The convolutions of VGG16, whose features the perceptual loss compares."""
    layers: list[nn.Module] = []
    before = 3
    for stage, (channels, convolutions) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))):
        layers += [nn.MaxPool2d(2)] if stage else []
        for _ in range(convolutions):
            layers += [nn.Conv2d(before, channels, 3, padding=1), nn.ReLU()]
            before = channels
    return nn.Sequential(*layers)


def _image(recipe: Recipe) -> Tensor:
    return torch.empty(1, *recipe.data.size, dtype=torch.complex64)


def _back(loss: Tensor) -> None:
    loss.backward()


def _source(recipe: Recipe) -> str:
    return f"recipe of {recipe.study}/{recipe.run}, section 'model'"
