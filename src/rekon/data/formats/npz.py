"""NumPy archive of one slice in image space: complex coil images (H, W, coil); k-space is their centred FFT."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rekon.config.datasets import Dataset
from rekon.data.formats.raw import RawVolume, canonical, complex_array
from rekon.data.header import full_header
from rekon.errors import UserError
from rekon.physics.fft import fft2c


@contextlib.contextmanager
def read(path: Path, dataset: Dataset) -> Iterator[RawVolume]:
    """Open an .npz file with a single array."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = archive.files
            if len(names) != 1:
                raise UserError(
                    f"{path}: expected one array, found {len(names)}; keep only the coil images (H, W, coil)."
                )
            content = archive[names[0]]
    except (OSError, ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path}: not a readable .npz file ({type(error).__name__}); get it again or leave it out."
        ) from None
    images = complex_array(content, (3,), path, f"array {names[0]!r}", "(H, W, coil)")
    images = np.ascontiguousarray(np.moveaxis(images, -1, 0), dtype=np.complex64)
    kspace = canonical(fft2c(images)) if images.size else images
    coils, height, width = kspace.shape
    header = full_header((height, width), coils, dataset.vendor, dataset.field_strength)
    yield RawVolume((1, coils, height, width), lambda _: kspace, header, dataset.reference)
