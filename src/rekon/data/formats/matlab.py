"""MATLAB (up to v7) k-space `kspace` (readout, phase[, slice[, coil]]), centred.

As the 0.055 T brains of bispmri are published. They come without a field of view; the head's proportions agree between
their sequences only if it is one square, so a square is written. Which axis is the readout is not stated either: the
second one carries zero padding in some sequences and is taken as the phase encoding. Anterior is up as it is.
The k-space peak may lie a few samples off centre, which is a phase ramp over the image and is left alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rekon.config.datasets import Dataset
from rekon.data.formats.raw import RawVolume, acquired_columns, canonical, complex_array
from rekon.data.header import full_header
from rekon.errors import UserError


@contextlib.contextmanager
def read(path: Path, dataset: Dataset) -> Iterator[RawVolume]:
    """Open a MATLAB file."""
    import scipy.io

    try:
        content = scipy.io.loadmat(path, variable_names=["kspace"])
    except NotImplementedError:
        raise UserError(f"{path}: a MATLAB v7.3 file; save it with '-v7' and run again.") from None
    except Exception as error:  # scipy raises many kinds on damaged files
        raise UserError(
            f"{path}: not a readable MATLAB file ({type(error).__name__}); get it again or leave it out."
        ) from None
    if "kspace" not in content:
        raise UserError(f"{path}: variable 'kspace' is missing; check the data set's 'format'.")
    values = complex_array(content["kspace"], (2, 3, 4), path, "'kspace'", "(readout, phase[, slice[, coil]])")
    values = values.reshape(*values.shape, *[1] * (4 - values.ndim))
    kspace = canonical(np.transpose(values, (2, 3, 0, 1)))
    slices, coils, height, width = kspace.shape
    side = float(max(height, width))
    header = full_header(
        (height, width), coils, dataset.vendor, dataset.field_strength, (side, side),
        acquired_columns(kspace) if kspace.size else None,
    )  # fmt: skip
    yield RawVolume((slices, coils, height, width), lambda index: kspace[index], header, dataset.reference)
