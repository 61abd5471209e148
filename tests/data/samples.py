"""Small k-space, data sets and raw files that the data tests share."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from rekon.config import Dataset
from rekon.data.header import Header
from rekon.physics.coils import rss
from rekon.physics.fft import fft2c, ifft2c


def head(slices: int = 2, coils: int = 3, rows: int = 32, columns: int = 40, seed: int = 0) -> np.ndarray:
    """k-space of an off-centre ellipse with smooth coils and some noise: (slice, coil, rows, columns)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :columns].astype(float)
    y, x = y / rows - 0.45, x / columns - 0.55
    image = 1.0 * (y**2 / 0.08 + x**2 / 0.06 < 1) + 0.5 * (y**2 + x**2 < 0.01)
    angles = 2 * np.pi * np.arange(coils) / coils
    maps = np.stack([np.exp(-1.5 * ((y - np.sin(a)) ** 2 + (x - np.cos(a)) ** 2) + 1j * a) for a in angles])
    noise = 0.01 * (rng.standard_normal((slices, *maps.shape)) + 1j * rng.standard_normal((slices, *maps.shape)))
    weights = np.linspace(1, 0.5, slices)[:, None, None, None]
    return fft2c((weights * image * maps + noise).astype(np.complex64))


def make_dataset(**changes: object) -> Dataset:
    values: dict[str, object] = {
        "title": "t", "source": "manual", "access": "made by tests", "format": "fastmri", "licence": "none",
        "anatomy": "brain", "view": "axial", "vendor": "tests & co", "field_strength": 3.0, "role": "tests",
    }  # fmt: skip
    return Dataset.model_validate(values | changes)


def write_fastmri(
    path: Path, kspace: np.ndarray, recon: tuple[int, int], acquired: tuple[int, int] | None = None
) -> None:
    """A fastMRI file; acquired: first and one past the last acquired column."""
    rows, columns = kspace.shape[-2:]
    start, stop = acquired or (0, columns)
    header = Header((rows, columns), recon, columns // 2 - start, stop - start - 1, (440.0, 220.0), (220.0, 220.0))
    with h5py.File(path, "w") as file:
        file["kspace"] = kspace
        file["ismrmrd_header"] = header.xml()
        file.attrs["acquisition"] = "AXT2"
        file.attrs["patient_id"] = "p1"


def image_of(kspace: np.ndarray) -> np.ndarray:
    """RSS image of (..., coil, H, W)."""
    return rss(ifft2c(kspace), -3)


def undersampled(kspace: np.ndarray) -> np.ndarray:
    """Every second phase encoding removed."""
    out = kspace.copy()
    out[..., 1::2] = 0
    return out
