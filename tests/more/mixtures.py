"""Tiny mixtures of experts and their baselines on three tiny volumes.

Also a program: `python mixtures.py FOLDER MANIFEST NAME [MINUTES]`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch

from rekon.config import Compute, Dataset, DataSettings, MaskSettings, Recipe, TrainingSettings
from rekon.config.base import check
from rekon.config.more import ExpertsModel
from rekon.data.slices import SliceSet
from rekon.data.summarise import summarise
from rekon.data.volume import write_volume
from rekon.more.network import UnrolledExperts, build
from rekon.more.objective import ExpertsObjective
from rekon.physics.fft import centre_pad, fft2c
from rekon.physics.masks import make_mask
from rekon.recipe import merge
from rekon.training import distributed
from rekon.training.loop import BudgetReached, TrainOutputs, train

SIZE = (32, 32)
CONTRASTS = ("AXT1", "AXT2", "CORPD_FBK")  # of the volumes
MASK = MaskSettings(center_fraction=0.2)
MODEL = {
    "modalities": {"T1": ["AXT1"], "T2": ["AXT2"], "knee": ["CORPD_FBK"]}, "cascades": 2, "widths": [4, 6, 8],
    "encoder": [1, 1], "decoder": [1, 2], "skip": [1, 1], "bottleneck": 1, "experts": 3,
    "router": {"top_k": 2, "hidden": 8, "embedding": 6, "cache": 3},
    "sensitivity": {"channels": 2, "pools": 2, "start": "acs"}, "loss": {"l1": 0.5},
}  # fmt: skip
DELTAS = {
    "more": {},
    "one": {"router": {"top_k": 1}},
    "network": {"router": {"scope": "network"}},
    "dense": {"experts": 1, "router": None},
    "prompted": {
        "experts": 1, "router": None, "adaptive": True,
        "prompts": {"tokens": 3, "channels": [2, 3], "sizes": [8, 4]},
    },
}  # fmt: skip


def model(name: str = "more", **changes) -> ExpertsModel:
    return check(ExpertsModel, merge(merge(MODEL, DELTAS[name]), changes), "test")


def network(name: str = "more", seed: int = 0, **changes) -> UnrolledExperts:
    torch.manual_seed(seed)
    return build(model(name, **changes), SIZE)


def scan(batch: int = 3, coils: int = 3, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Undersampled k-space of smooth coil images, and the mask (1, W)."""
    generator = torch.Generator().manual_seed(seed)
    spectrum = torch.randn(batch, coils, 8, 8, dtype=torch.complex64, generator=generator)
    noise = torch.randn(batch, coils, *SIZE, dtype=torch.complex64, generator=generator)
    mask = torch.from_numpy(make_mask(MASK, SIZE[1]).columns)[None]
    return (centre_pad(spectrum, SIZE) + 0.05 * noise) * mask, mask


def recipe(name: str = "more", changes=None, select=None, **training) -> Recipe:
    settings = {
        "steps": 12, "batch": 2, "optimiser": "adamw", "weight_decay": 0.01, "learning_rate": 3e-3, "clip": None,
        "warmup": 0.0, "decay_from": 1.0, "decay_until": 1.0, "validations": 3,
    } | training  # fmt: skip
    return Recipe(
        scale="tiny", study="more", run=name, title=name, kind="experts", seed=42, mask=MASK,
        model=model(name, **(changes or {})).model_dump(mode="json"), training=TrainingSettings(**settings),
        data=DataSettings(train="sim-tiny", validation="sim-tiny", size=SIZE, max_coils=3, select=select),
    )  # fmt: skip


def volumes(folder: Path) -> Path:
    """Three volumes of two slices, of three contrasts and four or two coils, and their manifest."""
    manifest = folder / "sim-tiny.json"
    if manifest.exists():
        return manifest
    down, across = np.meshgrid(np.linspace(-1, 1, SIZE[0]), np.linspace(-1, 1, SIZE[1]), indexing="ij")
    paths = []
    for number, contrast in enumerate(CONTRASTS):
        coils = 2 if number == 2 else 4
        head = [
            ((down / 0.8) ** 2 + (across / (0.5 + 0.1 * s)) ** 2 < 1) * (1 + 0.5 * np.cos((5 + 3 * number) * down))
            for s in range(2)
        ]
        angles = np.arange(coils) * 2 * np.pi / coils + number
        profiles = [np.exp(-((down - np.cos(a)) ** 2 + (across - np.sin(a)) ** 2) + 1j * a) for a in angles]
        images = np.stack([[image * profile for profile in profiles] for image in head])
        noise = np.random.default_rng(number).normal(size=(2, *images.shape)) * 0.01
        paths.append(folder / f"volume_{number}.h5")
        write_volume(
            paths[-1],
            fft2c((images + noise[0] + 1j * noise[1]).astype(np.complex64)),
            attrs={"acquisition": contrast, "patient_id": str(number)},
        )
    entry = Dataset(
        title="tiny", source="manual", access="made by tests", format="fastmri", licence="none", anatomy="brain",
        view="axial", vendor="none", field_strength=3.0, role="test",
    )  # fmt: skip
    summarise("sim-tiny", "train", entry, paths, manifest)
    return manifest


def objective(settings: Recipe, manifest: Path, device="cpu") -> ExpertsObjective:
    mask = make_mask(settings.mask, SIZE[1])
    train_set, validation = (SliceSet(manifest, SIZE, mask) for _ in range(2))
    return ExpertsObjective(settings, train_set, validation, mask, torch.device(device))


def outputs(folder: Path) -> TrainOutputs:
    return TrainOutputs(folder / "weights.safetensors", folder / "metrics.jsonl", folder / "run.json")


def watch(watched: ExpertsObjective, path: Path) -> None:
    """Note how many samples chose each expert of each router, a line per training step."""
    path.parent.mkdir(parents=True, exist_ok=True)

    def note(network, inputs, output):
        if network.training and output.routes:
            counts = distributed.total(torch.stack([route.chosen_MN.sum(dim=0) for route in output.routes]))
            if distributed.share([0]) == [0]:  # the first process
                with path.open("a") as file:
                    file.write(json.dumps(counts.tolist()) + "\n")

    watched.network.register_forward_hook(note)


def run(
    folder: Path, manifest: Path, name: str = "more", save: float = 60.0, minutes=None, workers=0, changes=None,
    **training,
) -> ExpertsObjective:  # fmt: skip
    settings, made = recipe(name, changes, **training), []

    def make(device):
        made.append(objective(settings, manifest, device))
        watch(made[0], folder / "chosen.jsonl")
        return made[0]

    train(
        make, settings, outputs(folder), folder / "work", Compute(device="cpu", threads=1, workers=workers), minutes,
        {"train": "1" * 64}, save,
    )  # fmt: skip
    return made[0]


if __name__ == "__main__":
    try:
        run(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], minutes=float(sys.argv[4]) if sys.argv[4:] else None)
    except BudgetReached:
        sys.exit(75)
