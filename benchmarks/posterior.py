"""How many network evaluations does a posterior sample need? Faster samplers against the published 300-step loop.

    python benchmarks/posterior.py                    # ellipses of 32 x 32, a prior trained on them for two minutes
    python benchmarks/posterior.py --acceleration 6 --minutes 5 --slices 8
    python benchmarks/posterior.py --weights WEIGHTS --manifest runs/SCALE/data/SET/validation.json

Each sampler gets the weight of the data, zeta, that serves it best on half of the slices, and is scored on the others.
Columns: evaluations of the network per slice (and those that are differentiated, which cost about three), NRMSE, time;
the last three are the reference's evaluations, time and NRMSE over this sampler's: above 1 it is better.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rekon.config import MaskSettings
from rekon.config.dpm import DiffusionModel, SamplerSettings
from rekon.data.slices import SliceSet
from rekon.dpm import edm
from rekon.dpm.prior import build, read_prior
from rekon.dpm.reconstructor import PosteriorSampler
from rekon.dpm.tuning import measured_scale, scan_of, sweep
from rekon.physics.coils import coil_combine, expand, rss
from rekon.physics.fft import fft2c, ifft2c
from rekon.physics.masks import make_mask
from rekon.randomness import generator

GRADIENT, PROXIMAL = (0.25, 0.5, 1.0, 2.0, 4.0), (1.0, 10.0, 100.0, 1000.0)  # zeta: of dps at its size, of dds
REFERENCE = SamplerSettings()
SAMPLERS = {
    "dps, 300 (reference)": REFERENCE,
    "dps, 100": SamplerSettings(steps=100),
    "dps, 50": SamplerSettings(steps=50),
    "dps-heun, 50": SamplerSettings(method="dps-heun", steps=50),
    "dps, 50, from SENSE": SamplerSettings(steps=50, start="sense", sigma_max=0.5),
    "dds, 50": SamplerSettings(method="dds", steps=50),
    "dds, 20": SamplerSettings(method="dds", steps=20),
    "dds, 10": SamplerSettings(method="dds", steps=10),
    "dds, 10, from SENSE": SamplerSettings(method="dds", steps=10, start="sense", sigma_max=0.5),
    "dds, 5, from SENSE": SamplerSettings(method="dds", steps=5, start="sense", sigma_max=0.2),
}


class Ellipses:
    """Heads of ellipses with smooth phase, seen by coils around them; what `sweep` needs of a data set."""

    dataset, path = "ellipses", Path("ellipses")

    def __init__(self, count: int, size: int, coils: int = 6, noise: float = 0.003) -> None:
        self.down, self.across = np.meshgrid(*[np.linspace(-1, 1, size)] * 2, indexing="ij")
        angles = np.arange(coils) * 2 * np.pi / coils
        profiles = [np.exp(-((self.down - np.cos(a)) ** 2 + (self.across - np.sin(a)) ** 2) + 1j * a) for a in angles]
        self.profiles = torch.from_numpy((np.stack(profiles) / rss(np.stack(profiles))).astype(np.complex64))
        self.count, self.noise = count, noise

    def image(self, number: int, purpose: str = "test") -> Tensor:
        """complex64 (H, W), largest magnitude 1."""
        rng = generator(0, f"ellipses/{purpose}", index=number)
        image = np.zeros_like(self.down)
        for extent, value in [
            (0.9, 0.6),
            (0.8, -0.3),
            *((rng.uniform(0.1, 0.35), rng.uniform(-0.3, 0.6)) for _ in "12345"),
        ]:
            y, x = rng.uniform(-0.4, 0.4, 2) * (extent < 0.5)
            turn, ratio = rng.uniform(0, np.pi), rng.uniform(0.6, 0.9)
            u = np.cos(turn) * (self.down - y) + np.sin(turn) * (self.across - x)
            v = np.cos(turn) * (self.across - x) - np.sin(turn) * (self.down - y)
            image += value * ((u / extent) ** 2 + (v / extent / ratio) ** 2 < 1)
        phase = sum(rng.normal(0, 0.5) * part for part in (self.down, self.across, self.down * self.across))
        image = np.abs(image) * np.exp(1j * phase)
        return torch.from_numpy((image / np.abs(image).max()).astype(np.complex64))

    def item(self, number: int) -> Any:
        rng = torch.Generator().manual_seed(number)
        noise = self.noise * edm.complex_noise(tuple(self.profiles.shape), rng)
        kspace = fft2c(expand(self.image(number), self.profiles)) + noise
        target = coil_combine(ifft2c(kspace), self.profiles).abs()
        names = {"dataset": self.dataset, "volume": str(number), "subject": str(number), "contrast": "ellipses"}
        return SimpleNamespace(kspace=kspace, target=target, slice=0, **names)

    def maps(self, example: Any) -> Tensor:
        return self.profiles


def taught(model: DiffusionModel, ellipses: Ellipses, minutes: float) -> edm.Denoiser:
    """A prior trained on fresh ellipses for some minutes; the learning rate falls to zero over them."""
    torch.manual_seed(0)
    prior = build(model)
    optimiser = torch.optim.Adam(prior.parameters(), lr=2e-3)
    label, step, begun = torch.ones(8, 1), 0, time.monotonic()
    while (passed := (time.monotonic() - begun) / 60 / minutes) < 1:
        clean = torch.stack([ellipses.image(8 * step + i, "train") for i in range(8)])
        sigma = edm.noise_level(torch.randn(8), model.log_sigma_mean, model.log_sigma_std)
        loss = prior.losses(clean, edm.complex_noise(tuple(clean.shape)), sigma, label, None).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.param_groups[0]["lr"] = 2e-3 * (1 - passed)
        optimiser.step()
        step += 1
    print(f"prior: {sum(p.numel() for p in prior.parameters()):,} parameters, {step} steps of 8 images")
    return prior


def scored(sampler: PosteriorSampler, slices: Any, columns: Tensor, numbers: list[int], r: int) -> tuple[float, ...]:
    """Evaluations and seconds per slice, mean NRMSE."""
    errors, evaluations, begun = [], 0, time.perf_counter()
    for number in numbers:
        example, calls = slices.item(number), []
        kspace, maps = example.kspace * columns, slices.maps(example)
        image = sampler.draw(kspace[None], columns, maps[None], [scan_of(example, r)], calls.append)[0].abs().mean(0)
        errors.append(float((image - example.target).norm() / example.target.norm()))
        evaluations += len(calls)
    return evaluations / len(numbers), (time.perf_counter() - begun) / len(numbers), float(np.mean(errors))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="a trained prior; default: one trained here on ellipses")
    parser.add_argument("--manifest", type=Path, help="slices to reconstruct with it")
    parser.add_argument("--acceleration", type=int, default=4)
    parser.add_argument("--slices", type=int, default=6, help="half to find zeta on, half to score")
    parser.add_argument("--minutes", type=float, default=2.0, help="of training, without --weights")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    slices: Any
    if options.weights:
        prior, model, recipe = read_prior(options.weights)
        size = tuple(recipe["data"]["size"])
        folder = Path("data/maps") / options.manifest.parent.name / options.manifest.stem
        slices = SliceSet(options.manifest, size, maps=folder)
    else:
        slices, size = Ellipses(options.slices, 32), (32, 32)
        narrow = {"channels": 16, "multipliers": (1, 2, 4), "blocks": 1, "label_dropout": 0.0}
        model = DiffusionModel(contrasts={"ellipses": ("ellipses",)}, **narrow)
        prior = taught(model, slices, options.minutes)
    mask = make_mask(MaskSettings(pattern="equispaced_fraction", acceleration=options.acceleration), size[1])
    columns, r = torch.from_numpy(mask.columns), options.acceleration
    tuned, kept = list(range(0, options.slices, 2)), list(range(1, options.slices, 2))
    scale = measured_scale(slices, [lambda example: mask.columns], tuned)
    print(f"{size[0]} x {size[1]}, R = {r}, {mask.lines} lines, k-space scaled by {scale:.2f}\n")
    heads = f"{'zeta':>7} {'eval.':>6} {'diff.':>6} {'NRMSE':>7} {'s/slice':>8} {'eval. x':>8} {'time x':>7} NRMSE x"
    print(f"{'sampler':22} {heads}")
    reference: tuple[float, ...] = ()
    for name, settings in SAMPLERS.items():
        chosen = settings.model_copy(update={"scale": scale})
        size_of_image = size[0] * size[1] / 320**2  # the published zeta belongs to 320 x 320 and 300 steps
        unit = size_of_image**0.5 * 300 / settings.steps
        grid = PROXIMAL if settings.method == "dds" else [zeta * unit for zeta in GRADIENT]
        sampler = PosteriorSampler(name, prior, model, torch.device("cpu"), chosen)
        best = sweep(sampler, slices, {r: lambda example: mask.columns}, grid, tuned).best
        sampler.settings = chosen.model_copy(update={"zeta": best})
        found = scored(sampler, slices, columns, kept, r)
        reference = reference or found
        differentiated = 0 if settings.method == "dds" else settings.steps
        ratios = [was / now for was, now in zip((reference[0], reference[1], reference[2]), found, strict=True)]
        print(
            f"{name:22} {best[r]:7.3g} {found[0]:6.0f} {differentiated:6d} {found[2]:7.4f} {found[1]:8.2f} "
            f"{ratios[0]:8.1f} {ratios[1]:7.1f} {ratios[2]:7.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
