"""One reader per raw format; all give the same `RawVolume`.

    fastmri         HDF5 as fastMRI publishes it
    m4raw           fastMRI's layout, a file per repetition, as M4Raw is published
    matlab-kspace   .mat with `kspace` (readout, phase[, slice[, coil]])
    npz-image       .npz with complex coil images (H, W, coil)
    npy-kspace      .npy with k-space ([slice,] coil, H, W)
    stanford-fse    ISMRMRD of 2D fast spin echo, as Stanford 2D FSE on mridata.org
    cc359           HDF5 of a 3D gradient echo, as Calgary-Campinas CC-359 is published
    ahead           ISMRMRD of a 3D MP2RAGEME, as AHEAD is published

A new format is one module with a `read(path, dataset)` context manager and one line in `READERS`. Readers of 3D files,
in `READERS_3D`, also take a folder in which they may turn a volume that does not fit into memory.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from rekon.config.datasets import Dataset
from rekon.data.formats import ahead, cc359, fastmri, m4raw, matlab, npy, npz, stanford
from rekon.data.formats.raw import RawVolume
from rekon.errors import UserError

__all__ = ["READERS", "READERS_3D", "RawVolume", "read_raw", "sources"]

READERS = {
    "fastmri": fastmri.read,
    "m4raw": m4raw.read,
    "matlab-kspace": matlab.read,
    "npz-image": npz.read,
    "npy-kspace": npy.read,
    "stanford-fse": stanford.read,
}
READERS_3D = {"cc359": cc359.read, "ahead": ahead.read}


def sources(path: Path | str, dataset: Dataset) -> list[Path]:
    """Every file that `read_raw` takes values from: `path` itself, and other repetitions that its target needs."""
    first = Path(path)
    if dataset.target == "single-rep":
        return [first]
    return [first, *(other for other in m4raw.repetitions(first) if other != first)]


@contextlib.contextmanager
def read_raw(path: Path | str, dataset: Dataset, scratch: Path | None = None) -> Iterator[RawVolume]:
    """Open a raw file as `dataset` says; UserError names the file, the field and what to do.

    scratch: folder for what a 3D volume needs on the disk while it is read; default, where temporary files go.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such raw file; run the rule download, simulate, or see the data set's 'access'.")
    if dataset.format in READERS_3D:
        opened = READERS_3D[dataset.format](path, dataset, scratch)
    else:
        opened = READERS[dataset.format](path, dataset)
    with opened as raw:
        raw.check(path)
        yield raw
