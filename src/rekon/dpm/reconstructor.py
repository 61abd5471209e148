"""A trained prior as a reconstruction: posterior sampling of multi-coil k-space with coil sensitivity maps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from rekon.config import Recipe
from rekon.config.base import check
from rekon.config.dpm import DiffusionModel, SamplerSettings
from rekon.dpm import faster, posterior, sampling
from rekon.dpm.edm import Denoiser
from rekon.dpm.prior import one_hot, read_prior
from rekon.errors import UserError
from rekon.evaluation.reconstructor import Reconstructor, Scan
from rekon.physics.operator import SenseOperator
from rekon.randomness import torch_generator
from rekon.training.weights import check_recipe


class PosteriorSampler(Reconstructor):
    """Draws of the image given its k-space. The measured samples go in as they are: none is replaced or made up.

    A slice's noise follows from (seed, volume, slice) alone, so the same slice gets the same draws in any batch.
    """

    needs_maps = True
    batch = 16
    warms_up = False

    def __init__(
        self,
        name: str,
        denoiser: Denoiser,
        model: DiffusionModel,
        device: torch.device,
        settings: SamplerSettings | None = None,
    ) -> None:
        """settings: other than the model's own, for sweeps and comparisons."""
        self.name, self.model, self.device = name, model, device
        self.settings = settings or model.sampler
        self.denoiser = denoiser.to(device).eval().requires_grad_(False)
        self.scan: Scan | None = None

    def prepare(self, scan: Scan) -> None:
        self.scan = scan

    def __call__(self, kspace: Tensor, mask: Tensor, maps: Tensor | None = None) -> Tensor:
        """kspace, maps: complex64 (coil, H, W); mask: bool (W,) or (H, W). Returns float32 (H, W).

        The mean magnitude over the samples that the settings ask for, in the k-space's unit.
        """
        assert maps is not None, "posterior sampling needs coil maps"
        assert self.scan is not None, "`prepare` comes before every call"
        return self.draw(kspace[None], mask, maps[None], [self.scan]).abs().mean(dim=1)[0]

    def many(self, kspace: Tensor, mask: Tensor, maps: Tensor | None, scans: Sequence[Scan]) -> Tensor:
        """All slices walk down the noise levels together: one evaluation of the network serves them all."""
        assert maps is not None, "posterior sampling needs coil maps"
        return self.draw(kspace, mask, maps, scans).abs().mean(dim=1)

    def draw(
        self,
        kspace: Tensor,
        mask: Tensor,
        maps: Tensor,
        scans: Sequence[Scan],
        watch: Callable[[int], None] | None = None,
        zetas: Sequence[float] | None = None,
    ) -> Tensor:
        """`samples` draws of each of B slices: complex64 (B, samples, H, W), in the k-space's unit.

        Weighted with the coils' sensitivity, as the combined reference and SENSE's image are: what no coil sees follows
        from the prior alone, and no measurement could tell whether it is there.

        kspace, maps: complex64 (B, coil, H, W); mask: bool (W,) or (H, W), the same for all;
        scans: what is known of each slice. watch: called with the batch at every evaluation of the network. zetas: one
        for each slice in place of the settings'.
        """
        assert len(scans) == len(kspace) == len(maps) and len(zetas or scans) == len(scans)
        # evaluation runs in inference mode, whose tensors cannot take part in a differentiation; copies can
        with torch.inference_mode(False), torch.no_grad():
            kspace, mask, maps = (value.clone() for value in (kspace, mask, maps))
            scale = self._scale(SenseOperator(maps, mask), kspace)
            count, size = self.settings.samples, tuple(kspace.shape[-2:])
            seen = maps.abs().square().sum(1, keepdim=True).sqrt()
            kspace, maps = (value.repeat_interleave(count, 0) for value in (kspace / _safe(scale), maps))
            label = torch.stack([one_hot(self.model, scan.contrast) for scan in scans]).to(self.device)
            label = label.repeat_interleave(count, 0)

            def denoise(x: Tensor, sigma: float) -> Tensor:
                if watch:
                    watch(len(x))
                return self.denoiser(x, torch.full((len(x),), sigma, device=x.device), label)

            generators = [
                torch_generator(self.settings.seed, f"posterior/{scan.volume}", index=scan.slice) for scan in scans
            ]

            def noise() -> Tensor:
                return sampling.noise(generators, count, (size[0], size[1]), self.device).flatten(0, 1)

            chosen = zetas or [self.settings.weight(scan.acceleration) for scan in scans]
            zeta = torch.tensor(chosen, dtype=torch.float64, device=self.device).repeat_interleave(count)[:, None, None]
            images = self._solve(denoise, SenseOperator(maps, mask), kspace, zeta, noise)
            return images.to(torch.complex64).unflatten(0, (len(scans), count)) * scale * seen

    def _solve(
        self,
        denoise: sampling.Denoise,
        operator: SenseOperator,
        kspace: Tensor,
        zeta: Tensor,
        noise: Callable[[], Tensor],
    ) -> Tensor:
        """Draws for scaled k-space, complex128 (B, H, W); zeta: float64 (B, 1, 1)."""
        chosen = self.settings
        sigmas = sampling.schedule(chosen.steps, chosen.sigma_min, chosen.sigma_max, chosen.rho)
        x = sigmas[0] * noise()
        if chosen.start != "noise":
            x = x + faster.warm_start(operator, kspace, chosen.start)
        match chosen.method:
            case "dps":
                return posterior.dps(denoise, operator, kspace, x, sigmas, zeta)
            case "dps-heun":
                return faster.dps_heun(denoise, operator, kspace, x, sigmas, zeta)
            case "dds":
                return faster.dds(
                    denoise, operator, kspace, x, sigmas, zeta, chosen.iterations, chosen.stochastic, noise
                )

    def _scale(self, operator: SenseOperator, kspace: Tensor) -> Tensor:
        """What brings each slice to a maximum of about 1, (B, 1, 1, 1); 0 for a slice without signal."""
        if self.settings.scaling == "oracle":  # `ImageSet` has divided by the fully sampled image's maximum
            return torch.ones(len(kspace), 1, 1, 1, device=kspace.device)
        return (self.settings.scale or 1.0) * operator.adjoint(kspace).abs().amax(dim=(-2, -1))[:, None, None, None]


def load(
    recipe: Recipe,
    weights: Path,
    device: torch.device,
    zeta: Mapping[int, float] | None = None,
    scale: float | None = None,
) -> PosteriorSampler:
    """The prior in `weights`, sampled as `recipe` says: its own, or, where nothing is trained, another run's.

    zeta, scale: found on validation data (`tuning`); they replace the recipe's. A prior knows neither masks nor
    samplers, so that other ones need no other training. Raises UserError when the file is damaged, holds no prior or
    another one than the recipe's, or the scaling does not go with the data.
    """
    source = f"recipe of {recipe.study}/{recipe.run}, section 'model'"
    settings = check(DiffusionModel, recipe.model, source).sampler
    settings = settings if zeta is None else settings.model_copy(update={"zeta": dict(zeta)})
    settings = settings if scale is None else settings.model_copy(update={"scale": scale})
    if settings.scaling == "oracle" and recipe.sampling is None:
        raise UserError(
            f"{source}: 'sampler.scaling: oracle' needs k-space made from images that were divided by their maximum; "
            "give the run 'sampling' instead of 'mask', or use 'measured'."
        )
    denoiser, model, trained = read_prior(weights)
    if recipe.training is not None:
        made = check(Recipe, trained, f"{weights}, recipe")
        check_recipe(weights, made.trained_by(), recipe.trained_by())
    return PosteriorSampler(recipe.run, denoiser, model, device, settings)


def _safe(scale: Tensor) -> Tensor:
    """Zero replaced by one: an empty slice is reconstructed as nothing, not as NaN."""
    return torch.where(scale > 0, scale, torch.ones_like(scale))
