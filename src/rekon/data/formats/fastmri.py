"""fastMRI HDF5: `kspace` (slice, coil, readout, phase), `ismrmrd_header`, and `mask` where it was undersampled.

The readout is oversampled, usually twice; here it is cropped in image space to the header's reconSpace, so that the
canonical matrix shows the nominal field of view. The phase encodings stay as encoded, zero padding included.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np

from rekon.config.datasets import Dataset
from rekon.data.formats.raw import AGAIN, RawVolume, canonical, even, member, open_hdf5
from rekon.data.header import parse_header
from rekon.errors import UserError
from rekon.physics.fft import crop_fov


@contextlib.contextmanager
def read(path: Path, dataset: Dataset) -> Iterator[RawVolume]:
    """Open a fastMRI file; slices are read one at a time."""
    with open_hdf5(path) as file:
        yield _volume(path, file, dataset)


def _volume(path: Path, file: h5py.File, dataset: Dataset) -> RawVolume:
    kspace = member(path, file, "kspace")
    if kspace.ndim not in (3, 4) or not np.issubdtype(kspace.dtype, np.complexfloating):
        raise UserError(
            f"{path}: dataset 'kspace' must be complex (slice, coil, readout, phase), got {kspace.dtype} of shape "
            f"{kspace.shape}; {AGAIN}."
        )
    raw = parse_header(member(path, file, "ismrmrd_header")[()], str(path))
    slices, rows, columns = kspace.shape[0], kspace.shape[-2], kspace.shape[-1]
    coils = kspace.shape[1] if kspace.ndim == 4 else 1
    if min(raw.recon) < 1 or raw.maximum < 0:
        raise UserError(f"{path}: 'ismrmrd_header' has an empty reconSpace or no phase encodings; {AGAIN}.")

    if rows != raw.encoded[0]:
        swapped = " (axes swapped?)" if columns == raw.encoded[0] else ""
        raise UserError(
            f"{path}: 'ismrmrd_header' says {raw.encoded[0]} readout samples, 'kspace' has {rows}{swapped}; {AGAIN}."
        )
    keep = min(rows, raw.recon[0] + raw.recon[0] % 2)  # rows without the oversampling
    height, width = even((keep, columns))
    start = raw.encoded[1] // 2 - raw.center  # of the acquired columns, as fastMRI's loaders count them
    stop = start + raw.maximum + 1
    if start < 0 or stop > columns:
        raise UserError(
            f"{path}: 'ismrmrd_header' places the acquired phase encodings at columns {start} to {stop - 1}, "
            f"'kspace' has {columns}; {AGAIN}."
        )
    acquired = slice(start, stop)
    if "mask" in file and (shape := member(path, file, "mask").shape) != (columns,):
        raise UserError(
            f"{path}: dataset 'mask' must have a value for each of {columns} columns, got {shape}; {AGAIN}."
        )
    start += width // 2 - columns // 2  # of the line that `canonical` may add in front
    fov = raw.encoded_fov and (raw.encoded_fov[0] * keep / rows, raw.encoded_fov[1])
    header = replace(
        raw,
        encoded=(height, width),
        recon=(min(raw.recon[0], height), min(raw.recon[1], width)),
        center=width // 2 - start,
        encoded_fov=fov,
        vendor=dataset.vendor,
        coils=coils,
    )

    def read_slice(index: int) -> np.ndarray:
        try:
            one = kspace[index]
        except OSError:
            raise UserError(f"{path}: slice {index} of 'kspace' cannot be read; {AGAIN}.") from None
        one = one.reshape(coils, rows, columns)
        if one[..., : acquired.start].any() or one[..., acquired.stop :].any():
            raise UserError(
                f"{path}: 'ismrmrd_header' says that columns {acquired.start} to {acquired.stop - 1} were acquired, "
                f"slice {index} of 'kspace' has others; {AGAIN}."
            )
        if keep < rows:
            one = crop_fov(one, keep, -2)
        return canonical(one)

    attrs = {name: str(file.attrs[name]) for name in ("acquisition", "patient_id") if name in file.attrs}
    # a published `mask` means that lines are missing and no reference can be made
    reference = dataset.reference and "mask" not in file
    return RawVolume((slices, coils, height, width), read_slice, header, reference, attrs)
