"""NumPy array of centred k-space, ([slice,] coil, H, W). Zeros are what was not sampled."""

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
    """Open an .npy file."""
    try:
        content = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(
            f"{path}: not a readable .npy file ({type(error).__name__}); get it again or leave it out."
        ) from None
    values = complex_array(content, (3, 4), path, "the array", "([slice,] coil, H, W)")
    kspace = canonical(values if values.ndim == 4 else values[None])
    slices, coils, height, width = kspace.shape
    header = full_header(
        (height, width), coils, dataset.vendor, dataset.field_strength,
        acquired=acquired_columns(kspace) if kspace.size else None,
    )  # fmt: skip
    yield RawVolume((slices, coils, height, width), lambda index: kspace[index], header, dataset.reference)
