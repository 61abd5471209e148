"""What a reader hands over: k-space in the canonical axes, slice by slice."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rekon.data.header import Header
from rekon.errors import UserError
from rekon.physics.fft import centre_pad

AGAIN = "get the file again or leave it out of the data set"


@dataclass(frozen=True)
class RawVolume:
    """A raw file in canonical axes: (slice, coil, readout H, phase encoding W), H and W even."""

    shape: tuple[int, int, int, int]
    slice: Callable[[int], np.ndarray]  # index -> k-space complex64 (coil, H, W)
    header: Header
    reference: bool  # fully sampled
    attrs: dict[str, Any] = field(default_factory=dict)  # what the file itself says of acquisition and patient_id
    # index -> image to score with, float32, the header's reconSpace; None: the RSS image of `slice`
    target: Callable[[int], np.ndarray] | None = None

    def check(self, path: Path) -> None:
        """Refuse what no later step can use."""
        for name, size in zip(("slices", "coils", "readout samples", "phase encodings"), self.shape, strict=True):
            if size == 0:
                raise UserError(f"{path}: k-space has zero {name}; leave this file out of the data set.")


@contextlib.contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """An HDF5 file for reading; UserError when it is none."""
    try:
        file = h5py.File(path, "r")
    except OSError:
        raise UserError(f"{path}: not a readable HDF5 file (truncated?); {AGAIN}.") from None
    with file:
        yield file


def member(path: Path, file: h5py.File, name: str) -> h5py.Dataset:
    """A dataset of an HDF5 file; UserError when it is missing."""
    item = file.get(name)
    if not isinstance(item, h5py.Dataset):
        raise UserError(f"{path}: dataset {name!r} is missing; {AGAIN}.")
    return item


def even(size: tuple[int, int]) -> tuple[int, int]:
    """The smallest even matrix that holds `size`."""
    return size[0] + size[0] % 2, size[1] + size[1] % 2


def canonical(kspace: np.ndarray) -> np.ndarray:
    """Complex64, contiguous, and with one line of zeros where a size is odd: (..., H, W)."""
    size = even(kspace.shape[-2:])
    padded = kspace if kspace.shape[-2:] == size else centre_pad(kspace, size)
    return np.ascontiguousarray(padded, dtype=np.complex64)


def acquired_columns(kspace: np.ndarray) -> tuple[int, int]:
    """First and one past the last phase encoding with any signal; k-space (..., H, W).

    Zero padding that went through a transform is not exactly zero: below 1e-9 of the peak counts as empty.
    """
    peaks = np.abs(kspace).max(axis=tuple(range(kspace.ndim - 1)))
    used = np.flatnonzero(peaks > 1e-9 * peaks.max())
    return (int(used[0]), int(used[-1]) + 1) if len(used) else (0, kspace.shape[-1])


def complex_array(value: Any, ranks: tuple[int, ...], path: Path, name: str, axes: str) -> np.ndarray:
    """`value` if it is a numeric array with one of `ranks`; UserError otherwise."""
    if (
        not isinstance(value, np.ndarray)
        or not np.issubdtype(value.dtype, np.complexfloating)
        or value.ndim not in ranks
    ):
        got = f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
        raise UserError(f"{path}: {name} must be a complex array {axes}, got {got}; check the data set's 'format'.")
    return value
