"""Tiny rungs of Table 2 on two tiny volumes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rekon.config import Compute, Dataset, DataSettings, MaskSettings, Recipe, TrainingSettings
from rekon.data.slices import SliceSet
from rekon.data.summarise import summarise
from rekon.data.volume import write_volume
from rekon.physics.fft import fft2c
from rekon.physics.masks import make_mask
from rekon.training.loop import TrainOutputs, train
from rekon.ueps.objective import UnrolledObjective

SIZE = (32, 32)
VIT = {"patch": 4, "width": 16, "layers": 3, "heads": 2, "hidden": 24, "rows": 1, "sparse_from": 4}
MODELS = {
    "ueps": {"expanded": True, "cascades": 3, "schedule": [8, 16, 32, 32], "vit": VIT},
    "ue-unet": {"expanded": True, "cascades": 2, "schedule": None, "unet": {"channels": 4, "pools": 2}},
    "e2e-varnet": {
        "expanded": False, "cascades": 2, "schedule": None, "unet": {"channels": 4, "pools": 2},
        "sensitivity": {"channels": 2, "pools": 2},
    },
}  # fmt: skip


def recipe(run: str, **training) -> Recipe:
    settings = {"steps": 12, "batch": 2, "learning_rate": 3e-3, "validations": 3, "validation_slices": 2} | training
    return Recipe(
        scale="tiny", study="ueps", run=run, title=run, kind="unrolled", seed=42, model=MODELS[run],
        mask=MaskSettings(center_fraction=0.2), training=TrainingSettings(**settings),
        data=DataSettings(train="sim-tiny", validation="sim-tiny", size=SIZE, max_coils=3),
    )  # fmt: skip


def volumes(folder: Path) -> Path:
    """Two volumes of three slices, with four and two coils, and their manifest; made of numpy's arithmetic alone."""
    manifest = folder / "sim-tiny.json"
    if manifest.exists():
        return manifest
    down, across = np.meshgrid(np.linspace(-1, 1, SIZE[0]), np.linspace(-1, 1, SIZE[1]), indexing="ij")
    paths = []
    for number, coils in enumerate((4, 2)):
        head = [
            ((down / 0.8) ** 2 + (across / (0.5 + 0.1 * s)) ** 2 < 1) * (1 + 0.5 * np.cos(7 * down)) for s in range(3)
        ]
        angles = np.arange(coils) * 2 * np.pi / coils + number
        profiles = [np.exp(-((down - np.cos(a)) ** 2 + (across - np.sin(a)) ** 2) + 1j * a) for a in angles]
        images = np.stack([[image * profile for profile in profiles] for image in head])
        noise = np.random.default_rng(number).normal(size=(2, *images.shape)) * 0.01
        kspace = fft2c((images + noise[0] + 1j * noise[1]).astype(np.complex64))
        paths.append(folder / f"volume_{number}.h5")
        write_volume(paths[-1], kspace, attrs={"acquisition": "AXT1", "patient_id": str(number)})
    entry = Dataset(
        title="tiny", source="manual", access="made by tests", format="fastmri", licence="none", anatomy="brain",
        view="axial", vendor="none", field_strength=3.0, role="test",
    )  # fmt: skip
    summarise("sim-tiny", "train", entry, paths, manifest)
    return manifest


def objective(settings: Recipe, manifest: Path, device) -> UnrolledObjective:
    mask = make_mask(settings.mask, SIZE[1])
    train_set, validation = (SliceSet(manifest, SIZE, mask) for _ in range(2))
    return UnrolledObjective(settings, train_set, validation, mask, device)


def outputs(folder: Path) -> TrainOutputs:
    return TrainOutputs(folder / "weights.safetensors", folder / "metrics.jsonl", folder / "run.json")


def run(folder: Path, manifest: Path, name: str, save: float = 60.0, minutes=None, workers=0, **training) -> None:
    settings = recipe(name, **training)
    train(
        lambda device: objective(settings, manifest, device), settings, outputs(folder), folder / "work",
        Compute(device="cpu", threads=1, workers=workers), minutes, {"train": "1" * 64}, save,
    )  # fmt: skip
