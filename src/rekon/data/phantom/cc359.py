"""Calgary-Campinas CC-359: HDF5 `kspace` alone, float32, the readout already in space.

The publishers reconstruct a readout position with |ifft2(k)|, so the array is the plain transform of coil images whose
first pixel is the origin; but their sampling masks have the zero frequency in the middle, and so has the array. It ends
with the coils, real and imaginary part in turn. The last 15 % of kz were not acquired, hardly anything is left there.

Image rows run against fastMRI's.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from rekon.data.phantom.measurement import Measurement
from rekon.hdf5 import create

NOT_ACQUIRED = 0.15  # of kz
LEFT = 1e-4  # of the amplitude, where nothing was acquired


def write(path: Path | str, measurement: Measurement) -> None:
    """Write a file atomically; equal measurements give equal bytes. Raises UserError when the disk is full."""
    encoded = measurement.scan.kspace  # (partition, coil, H0, W)
    axes = (0, 2, 3)
    image = np.fft.fftshift(np.fft.ifftn(np.fft.ifftshift(encoded, axes), axes=axes, norm="ortho"), axes)
    height = measurement.simulation.matrix[0]
    first = image.shape[2] // 2 - height // 2
    image = image[:, :, first : first + height][:, :, ::-1]
    # to (readout, y, z, coil): the readout lies along the body, y from front to back, z from side to side
    order = (2, 3, 0, 1) if measurement.view == "sagittal" else (0, 2, 3, 1)
    spectrum = np.fft.fftshift(np.fft.fft2(image.transpose(order), axes=(1, 2), norm="ortho"), axes=(1, 2))
    spectrum[:, :, math.ceil((1 - NOT_ACQUIRED) * spectrum.shape[2]) :] *= LEFT
    parts = np.stack([spectrum.real, spectrum.imag], axis=-1)
    values = parts.reshape(*spectrum.shape[:3], -1).astype(np.float32)
    with create(path) as file:
        file.create_dataset("kspace", data=values, track_times=False)
