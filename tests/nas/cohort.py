"""A cohort of three tiny volumes with exact coil maps, made of numpy's arithmetic alone."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from rekon.config import Dataset
from rekon.config.sampling import PATTERNS, SamplingSettings
from rekon.data.images import ImageSet
from rekon.data.summarise import summarise
from rekon.data.volume import write_volume
from rekon.nas.inputs import Hierarchy
from rekon.physics.coils import coil_combine, rss
from rekon.physics.fft import fft2c, ifft2c
from rekon.physics.patterns import make_exact_mask

SIZE = (32, 32)
CONTRASTS = ("AXT1", "AXT2", "AXFLAIR")
SLICES, COILS = 3, 4


def volumes(folder: Path, size: tuple[int, int] = SIZE) -> Path:
    """Three volumes of three slices with four coils, maps beside them in `maps/`, and their manifest."""
    manifest = folder / "sim-tiny.json"
    if manifest.exists():
        return manifest
    down, across = np.meshgrid(*(np.linspace(-1, 1, n) for n in size), indexing="ij")
    paths = []
    for number, contrast in enumerate(CONTRASTS):
        rng = np.random.default_rng(number)
        head = np.stack([_head(down, across, 0.6 + 0.1 * s, rng) for s in range(SLICES)])
        angles = np.arange(COILS) * 2 * np.pi / COILS + number
        profiles = np.stack([np.exp(-((down - np.cos(a)) ** 2 + (across - np.sin(a)) ** 2) + 1j * a) for a in angles])
        noise = rng.normal(size=(2, SLICES, COILS, *size)) * 0.005
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


def images(manifest: Path, size: tuple[int, int] = SIZE, **options) -> ImageSet:
    return ImageSet(manifest, size, manifest.parent / "maps", **options)


def sampling(**changes) -> SamplingSettings:
    """Six levels of the four patterns; at 32 x 32 and R = 32 a single line, so there is no ACS by default."""
    return SamplingSettings(**({"patterns": PATTERNS, "variants": 2} | changes))


def masks(settings: SamplingSettings, size: tuple[int, int] = SIZE) -> dict:
    return {(one.pattern, one.acceleration): make_exact_mask(one, size) for one in settings.masks}


def hierarchy(
    manifest: Path, normalisation: str = "reference_max", size: tuple[int, int] = SIZE, **changes
) -> Hierarchy:
    """The images of a manifest with masks made in memory; changes: of `sampling`."""
    settings = sampling(**changes)
    return Hierarchy(images(manifest, size), settings, masks(settings, size), normalisation)
