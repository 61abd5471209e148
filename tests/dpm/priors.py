"""A tiny cohort with exact coil maps, tiny priors on it, and a prior whose posterior is known."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import torch

from rekon.config import Compute, Dataset, DataSettings, MaskSettings, Recipe, TrainingSettings
from rekon.config.dpm import DiffusionModel
from rekon.data.images import ImageSet
from rekon.data.slices import SliceSet
from rekon.data.summarise import summarise
from rekon.data.volume import write_volume
from rekon.dpm.objective import DiffusionObjective
from rekon.physics.coils import coil_combine, rss
from rekon.physics.fft import fft2c, ifft2c
from rekon.physics.operator import SenseOperator
from rekon.training.loop import TrainOutputs, train

SIZE = (32, 32)
CONTRASTS = ("AXT1", "AXT2", "AXFLAIR", "AXT1")  # of the volumes, a subject each
GROUPS = {"T1": ("AXT1", "AXT1PRE"), "T2": ("AXT2",), "FLAIR": ("AXFLAIR",)}
SLICES, COILS = 2, 4
MODEL = {"contrasts": GROUPS, "channels": 8, "multipliers": (1, 2), "blocks": 1, "ema_images": 20.0}


def model(**changes) -> DiffusionModel:
    return DiffusionModel(**(MODEL | changes))


def volumes(folder: Path) -> Path:
    """Four volumes of two slices with four coils, maps beside them in `maps/`, and their manifest."""
    manifest = folder / "sim-tiny.json"
    if manifest.exists():
        return manifest
    down, across = np.meshgrid(*(np.linspace(-1, 1, n) for n in SIZE), indexing="ij")
    paths = []
    for number, contrast in enumerate(CONTRASTS):
        rng = np.random.default_rng(number)
        head = np.stack([_head(down, across, 0.6 + 0.1 * s, rng) for s in range(SLICES)])
        angles = np.arange(COILS) * 2 * np.pi / COILS + number
        profiles = np.stack([np.exp(-((down - np.cos(a)) ** 2 + (across - np.sin(a)) ** 2) + 1j * a) for a in angles])
        noise = rng.normal(size=(2, SLICES, COILS, *SIZE)) * 0.005
        kspace = fft2c((head[:, None] * profiles + noise[0] + 1j * noise[1]).astype(np.complex64))
        paths.append(folder / f"volume_{number}.h5")
        write_volume(paths[-1], kspace, attrs={"acquisition": contrast, "patient_id": f"person {number}"})
        inside = (down / 0.9) ** 2 + (across / 0.9) ** 2 < 1
        maps = np.broadcast_to(profiles / rss(profiles) * inside, kspace.shape).astype(np.complex64)
        (folder / "maps").mkdir(exist_ok=True)
        with h5py.File(folder / "maps" / paths[-1].name, "w") as file:
            file["maps"] = maps
            file["mvue"] = coil_combine(ifft2c(kspace), maps).astype(np.complex64)
    entry = Dataset(
        title="tiny", source="manual", access="made by tests", format="fastmri", licence="none", anatomy="brain",
        view="axial", vendor="none", field_strength=3.0, role="test",
    )  # fmt: skip
    summarise("sim-tiny", "train", entry, paths, manifest)
    return manifest


def _head(down: np.ndarray, across: np.ndarray, width: float, rng: np.random.Generator) -> np.ndarray:
    """An ellipse with a smooth phase, ripples and three spots."""
    image = ((down / 0.85) ** 2 + (across / width) ** 2 < 1) * (1 + 0.3 * np.cos(7 * down + rng.uniform(0, 6)))
    for y, x in rng.uniform(-0.4, 0.4, size=(3, 2)):
        image += rng.uniform(0.3, 1) * ((down - y) ** 2 + (across - x) ** 2 < 0.02)
    return image * np.exp(1j * (down + 0.5 * across))


def images(manifest: Path) -> ImageSet:
    return ImageSet(manifest, SIZE, manifest.parent / "maps")


def slices(manifest: Path) -> SliceSet:
    return SliceSet(manifest, SIZE, maps=manifest.parent / "maps")


def recipe(run: str = "prior", select=None, changes=None, **training) -> Recipe:
    settings = {"steps": 12, "batch": 2, "learning_rate": 3e-3, "clip": None, "validations": 3} | training
    return Recipe(
        scale="tiny", study="dpm", run=run, title=run, kind="diffusion", seed=42,
        model=model(**(changes or {})).model_dump(mode="json"), mask=MaskSettings(center_fraction=0.2),
        training=TrainingSettings(**settings),
        data=DataSettings(train="sim-tiny", validation="sim-tiny", size=SIZE, select=select),
    )  # fmt: skip


def objective(settings: Recipe, manifest: Path, device="cpu", base=None) -> DiffusionObjective:
    return DiffusionObjective(settings, images(manifest), images(manifest), torch.device(device), base)


def outputs(folder: Path) -> TrainOutputs:
    return TrainOutputs(folder / "weights.safetensors", folder / "metrics.jsonl", folder / "run.json")


def run(
    folder: Path, manifest: Path, save: float = 60.0, minutes=None, workers=0, base=None, select=None, changes=None,
    **training,
) -> None:  # fmt: skip
    settings = recipe(select=select, changes=changes, **training)
    train(
        lambda device: objective(settings, manifest, device, base), settings, outputs(folder), folder / "work",
        Compute(device="cpu", threads=1, workers=workers), minutes, {"train": "1" * 64}, save,
    )  # fmt: skip


class Gaussian:
    """Denoiser of the prior N(mean, deviation^2) of every pixel, real and imaginary part each: exact."""

    def __init__(self, mean: torch.Tensor, deviation: float) -> None:
        self.mean, self.deviation, self.calls = mean, deviation, 0

    def __call__(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        self.calls += 1
        signal, noise = self.deviation**2, sigma**2
        return (signal * x + noise * self.mean) / (signal + noise)


def acquisition(coils=4, size=(12, 10), seed=0) -> tuple[torch.Tensor, torch.Tensor]:
    """An image of maximum about 1, complex128 (1, H, W), and normalised smooth maps, complex128 (1, coil, H, W)."""
    rng = np.random.default_rng(seed)
    down, across = np.meshgrid(*(np.linspace(-1, 1, n) for n in size), indexing="ij")
    angles = np.arange(coils) * 2 * np.pi / coils
    profiles = np.stack([np.exp(-((down - np.cos(a)) ** 2 + (across - np.sin(a)) ** 2) + 1j * a) for a in angles])
    maps = profiles / rss(profiles)
    image = (rng.normal(size=size) + 1j * rng.normal(size=size)) * 0.3
    return torch.from_numpy(image)[None], torch.from_numpy(maps)[None]


def measured(image: torch.Tensor, maps: torch.Tensor, mask: torch.Tensor) -> tuple[SenseOperator, torch.Tensor]:
    operator = SenseOperator(maps, mask)
    return operator, operator(image)
