"""What is wrong with a raw file, told without converting it: damage, missing keys, wrong types and shapes."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from rekon.config import Dataset
from rekon.data.formats import READERS, read_raw
from rekon.data.volume import Volume, finite
from rekon.errors import UserError

ISMRMRD = ("stanford-fse", "ahead")  # a group 'dataset' with the header's XML and a table of readouts


def problem(path: Path, dataset: Dataset, quick: bool) -> str:
    """Why a raw file cannot be used; "" when nothing is found.

    quick: only what the file says of itself, no array is read. Otherwise it is opened by its reader too, and one slice
    is read. Of files of 3D acquisitions, which readers turn on the disk, at most a plane is.
    """
    try:
        if not path.is_file():
            return "no such file (a link that leads nowhere?)"
        if path.stat().st_size == 0:
            return "empty"
        if path.suffix.lower() in (".h5", ".hdf5") and (found := _structure(path, dataset.format)):
            return found
        if not quick and dataset.format in READERS:
            return _read(path, dataset)
        if not quick and dataset.format == "cc359":
            with read_raw(path, dataset):  # looks at a plane in the middle
                return ""
    except (UserError, OSError) as error:
        return str(error).removeprefix(f"{path}: ")
    return ""


def volume_problem(path: Path) -> str:
    """Why a canonical volume cannot be used; "" when nothing is found. Reads no array."""
    try:
        with Volume(path):
            return ""
    except UserError as error:
        return str(error).removeprefix(f"{path}: ")


def largest(path: Path) -> float:
    """max(RSS) of a canonical volume, from its reference images; what it says itself where it has none."""
    with Volume(path) as volume:
        return max(float(volume.target(i).max()) for i in range(volume.slices)) if volume.reference else volume.max


def _structure(path: Path, form: str) -> str:
    try:
        file = h5py.File(path, "r")
    except OSError:
        return "not a readable HDF5 file (truncated?)"
    with file:
        if form in ISMRMRD:
            missing = next((name for name in ("dataset", "dataset/xml", "dataset/data") if name not in file), None)
            return f"{missing!r} is missing, which every ISMRMRD file has" if missing else ""
        names = ("kspace",) if form == "cc359" else ("kspace", "ismrmrd_header")
        for name in names:
            if not isinstance(file.get(name), h5py.Dataset):
                return f"dataset {name!r} is missing"
        return _kspace(file["kspace"], form)


def _kspace(kspace: h5py.Dataset, form: str) -> str:
    """A 3D file holds (x, ky, kz, coil) with real and imaginary parts in turn; others (slice[, coil], H, W)."""
    real = form == "cc359"
    kind = np.floating if real else np.complexfloating
    ranks = (4,) if real else (3, 4)
    if not np.issubdtype(kspace.dtype, kind) or kspace.ndim not in ranks or 0 in kspace.shape:
        return f"dataset 'kspace' is {kspace.dtype} of shape {kspace.shape}"
    if real and kspace.shape[-1] % 2:
        return f"dataset 'kspace' has {kspace.shape[-1]} numbers a sample, which are no real and imaginary parts"
    return ""


def _read(path: Path, dataset: Dataset) -> str:
    with read_raw(path, dataset) as raw:
        kspace = raw.slice(raw.shape[0] // 2)
        if not finite(kspace):
            return f"slice {raw.shape[0] // 2} holds NaN or Inf"
        return "" if kspace.any() else f"slice {raw.shape[0] // 2} is zero throughout"
