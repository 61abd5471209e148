"""Measurements for the writers of raw formats, small and with values that are known exactly."""

from __future__ import annotations

import numpy as np
from samples import head

from rekon.config.datasets import Simulation
from rekon.data.phantom.acquire import Scan
from rekon.data.phantom.measurement import Measurement
from rekon.data.phantom.names import VolumeId
from rekon.physics.fft import centre_pad, fft2c, ifft2c


def measurement(
    slices: int = 2,
    coils: int = 3,
    matrix: tuple[int, int] = (32, 40),
    lines: int = 32,
    oversampling: int = 2,
    contrast: str = "AXT2",
    volume: str = "v",
    seed: int = 0,
) -> Measurement:
    """An ellipse with smooth coils; phase encodings that are not acquired are 0, and no noise."""
    simulation = Simulation.model_validate(
        {
            "phantom": "brain", "field": 3.0, "sequences": {contrast: {"kind": "spin_echo", "tr": 500.0, "te": 9.0}},
            "fov": (200.0, 250.0), "matrix": matrix, "phase_lines": lines, "oversampling": oversampling,
            "slices": slices, "slice_gap": 10.0, "thickness": 5.0, "coils": (coils,), "coil_distance": 160.0,
            "snr": 50.0,
        }
    )  # fmt: skip
    rows, columns = matrix
    images = ifft2c(head(slices, coils, rows, columns, seed))
    clean = fft2c(centre_pad(images, (rows * oversampling, columns)))
    first = columns // 2 - lines // 2
    kspace = clean.copy()
    kspace[..., :first] = 0
    kspace[..., first + lines :] = 0
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    positions = np.stack([np.stack([x, -y, np.full_like(x, 10 * index)], -1) for index in range(slices)])
    none = np.empty(0, np.complex64)
    scan = Scan(kspace, clean, images[:, 0], none, none, none.real, noise=0.01, positions=positions, gain=1.0)
    return Measurement(scan, simulation, VolumeId(volume, "p1", contrast), "tests & co", np.random.default_rng(seed))


def truth(given: Measurement) -> np.ndarray:
    """Complex coil images (slice, coil, H, W) that reading the file must give."""
    images = ifft2c(given.scan.kspace)
    extra = images.shape[-2] - given.simulation.matrix[0]
    return images[..., extra // 2 : images.shape[-2] - extra // 2, :]


def difference(read: np.ndarray, true: np.ndarray) -> float:
    """Relative difference of complex images, phase included."""
    return float(np.linalg.norm(read - true) / np.linalg.norm(true)) if read.shape == true.shape else np.inf
