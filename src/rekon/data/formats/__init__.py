"""One reader per raw format; all give the same `RawVolume`.

    fastmri         HDF5 as fastMRI publishes it (also M4Raw and the simulated cohort)
    matlab-kspace   .mat with `kspace` (readout, phase[, slice[, coil]])
    npz-image       .npz with complex coil images (H, W, coil)
    npy-kspace      .npy with k-space ([slice,] coil, H, W)
    stanford-fse    ISMRMRD of 2D fast spin echo, as Stanford 2D FSE on mridata.org

A new format is one module with a `read(path, dataset)` context manager and one line in `READERS`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from rekon.config.datasets import Dataset
from rekon.data.formats import fastmri, matlab, npy, npz, stanford
from rekon.data.formats.raw import RawVolume
from rekon.errors import UserError

__all__ = ["READERS", "RawVolume", "read_raw"]

READERS = {
    "fastmri": fastmri.read,
    "matlab-kspace": matlab.read,
    "npz-image": npz.read,
    "npy-kspace": npy.read,
    "stanford-fse": stanford.read,
}


@contextlib.contextmanager
def read_raw(path: Path | str, dataset: Dataset) -> Iterator[RawVolume]:
    """Open a raw file as `dataset` says; UserError names the file, the field and what to do."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such raw file; run the rule download, simulate, or see the data set's 'access'.")
    with READERS[dataset.format](path, dataset) as raw:
        raw.check(path)
        yield raw
