"""What a reader hands over: k-space in the canonical axes, slice by slice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rekon.data.header import Header
from rekon.errors import UserError
from rekon.physics.fft import centre_pad


@dataclass(frozen=True)
class RawVolume:
    """A raw file in canonical axes: (slice, coil, readout H, phase encoding W), H and W even."""

    shape: tuple[int, int, int, int]
    slice: Callable[[int], np.ndarray]  # index -> k-space complex64 (coil, H, W)
    header: Header
    reference: bool  # fully sampled
    attrs: dict[str, Any] = field(default_factory=dict)  # what the file itself says of acquisition and patient_id

    def check(self, path: Path) -> None:
        """Refuse what no later step can use."""
        for name, size in zip(("slices", "coils", "readout samples", "phase encodings"), self.shape, strict=True):
            if size == 0:
                raise UserError(f"{path}: k-space has zero {name}; leave this file out of the data set.")


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
