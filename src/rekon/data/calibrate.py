"""ESPIRiT maps and the coil-combined complex image (MVUE) of a canonical volume."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np

from rekon.data.volume import Volume
from rekon.errors import UserError
from rekon.hdf5 import create
from rekon.physics.coils import coil_combine
from rekon.physics.espirit import espirit_maps
from rekon.physics.fft import ifft2c


def calibrate(
    volume_path: Path | str,
    out_path: Path | str,
    *,
    width: int = 24,
    kernel: int = 6,
    threshold: float = 0.02,
    crop: float = 0.95,
    iterations: int = 30,
    virtual_coils: int = 12,
) -> None:
    """Write `maps` complex64 (slice, coil, H, W) and `mvue` complex64 (slice, H, W); parameters as `espirit_maps`.

    The maps come from the fully sampled centre, width x width; so the MVUE of a volume without a reference is that of
    its zero-filled images.
    """
    parameters = {"width": width, "kernel": kernel, "threshold": threshold, "crop": crop, "iterations": iterations}
    parameters["virtual_coils"] = virtual_coils
    with Volume(volume_path) as volume, create(out_path) as file:
        slices, coils, rows, columns = volume.shape
        maps = file.create_dataset(
            "maps", volume.shape, np.complex64, chunks=(1, coils, rows, columns), track_times=False
        )
        mvue = file.create_dataset(
            "mvue", (slices, rows, columns), np.complex64, chunks=(1, rows, columns), track_times=False
        )
        for index in range(slices):
            kspace = volume.kspace(index)
            maps[index] = espirit_maps(kspace, width, kernel, threshold, crop, iterations, virtual_coils)
            mvue[index] = coil_combine(ifft2c(kspace), maps[index])
        file.attrs["parameters"] = json.dumps(parameters, sort_keys=True)
        file.attrs["volume"] = volume.path.stem


def read_maps(path: Path | str, index: int | slice = slice(None)) -> tuple[np.ndarray, np.ndarray]:
    """Maps and MVUE of one slice, (coil, H, W) and (H, W), or of all, with a leading slice axis.

    Raises UserError that names the file and the dataset when one is missing or cannot be read.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: no such coil maps; make them with the rule calibrate.")
    try:
        with h5py.File(path, "r") as file:
            for name, rank in (("maps", 4), ("mvue", 3)):
                if name not in file or file[name].ndim != rank or file[name].dtype != np.complex64:
                    raise UserError(
                        f"{path}: dataset {name!r} is missing or not complex64 with {rank} axes; "
                        "delete the file and calibrate again."
                    )
            return file["maps"][index], file["mvue"][index]
    except OSError:
        raise UserError(f"{path}: not a readable HDF5 file (truncated?); delete it and calibrate again.") from None
