"""Sampling patterns over the phase encodings, with fastMRI's exact arithmetic (fastmri >= 0.2, data/subsample.py).

    equispaced           every R-th line from `offset`, plus the ACS: more than W / R lines
    equispaced_fraction  spacing widened so that the total is W / R on average, plus the ACS: irregular by a line
    random               each line outside the ACS with equal probability, W / R lines on average

UEPS uses equispaced, R = 4, 8 % ACS, offset 1: 100 of 320 lines, 3.2-fold. Nominal and effective acceleration are
both kept, since they differ.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rekon.config.base import check
from rekon.config.recipe import MaskSettings
from rekon.errors import UserError

if TYPE_CHECKING:
    import h5py


@dataclass(frozen=True)
class Mask:
    """Which phase encodings are measured."""

    columns: np.ndarray  # bool (W,)
    acs: tuple[int, int]  # first and one past the last line of the fully sampled centre
    settings: MaskSettings

    @property
    def width(self) -> int:
        return len(self.columns)

    @property
    def lines(self) -> int:
        return int(self.columns.sum())

    @property
    def acceleration(self) -> int:
        """Nominal R, the one that titles use."""
        return self.settings.acceleration

    @property
    def effective_acceleration(self) -> float:
        """W / measured lines, the one that scan time follows."""
        return self.width / self.lines

    def cropped(self, width: int) -> Mask:
        """The pattern on the central `width` lines of k-space: denser, because the ACS stays whole (UEPS 3.3)."""
        start = self.width // 2 - width // 2
        assert start >= 0 and width <= self.width, f"cannot crop {self.width} lines to {width}"
        acs = (min(max(self.acs[0] - start, 0), width), min(max(self.acs[1] - start, 0), width))
        return Mask(self.columns[start : start + width].copy(), acs, self.settings)


def make_mask(settings: MaskSettings, width: int) -> Mask:
    """The pattern of `settings` for `width` phase encodings.

    Raises UserError when acceleration, center_fraction and width leave nothing to undersample.
    """
    # the draw order of fastMRI: first the choice among (one) accelerations, then offset or lines
    rng = np.random.RandomState(settings.seed)
    rng.randint(1)
    low = round(width * settings.center_fraction)
    start = (width - low + 1) // 2
    columns = np.zeros(width, dtype=bool)
    columns[start : start + low] = True

    r = settings.acceleration
    if settings.pattern == "equispaced":
        offset = int(rng.randint(0, high=round(r))) if settings.offset is None else settings.offset
        columns[offset::r] = True
    elif low * r >= width and r > 1:
        raise UserError(
            f"mask {settings.pattern!r}: 'center_fraction' {settings.center_fraction:g} alone takes {low} of {width} "
            f"lines, as many as 'acceleration' {r} allows; lower one of the two."
        )
    elif settings.pattern == "equispaced_fraction":
        spacing = r * (low - width) / (low * r - width)
        offset = int(rng.randint(0, high=round(spacing))) if settings.offset is None else settings.offset
        columns[np.around(np.arange(offset, width - 1, spacing)).astype(int)] = True
    else:
        probability = (width / r - low) / (width - low) if low < width else 1.0
        columns |= rng.uniform(size=width) < probability
    if not columns.any():
        raise UserError(
            f"mask {settings.pattern!r}: no line of {width} is sampled with 'acceleration' {r} and 'center_fraction' "
            f"{settings.center_fraction:g}; raise 'center_fraction'."
        )
    return Mask(columns, (start, start + low), settings)


def write_mask(path: Path | str, mask: Mask, size: tuple[int, int]) -> None:
    """Write a mask artefact for a matrix `size` (H, W): the lines, the ACS, both accelerations, what made it."""
    from rekon.hdf5 import create

    assert size[1] == mask.width, f"mask of {mask.width} lines for a matrix {size}"
    with create(path) as file:
        file.create_dataset("mask", data=mask.columns, track_times=False)
        file.attrs["acs"] = mask.acs
        file.attrs["size"] = size
        file.attrs["nominal_acceleration"] = mask.acceleration
        file.attrs["effective_acceleration"] = mask.effective_acceleration
        file.attrs["settings"] = json.dumps(mask.settings.model_dump(), sort_keys=True)


def read_mask(path: Path | str) -> Mask:
    """Read a mask artefact; UserError names the file and the field when something is missing or does not fit."""
    import h5py

    if not Path(path).is_file():
        raise UserError(f"{path}: no such mask file; make it with the rule make_mask.")
    try:
        with h5py.File(path, "r") as file:
            columns, acs, size = _field(file, "mask", path), file.attrs.get("acs"), file.attrs.get("size")
            settings = file.attrs.get("settings")
    except OSError:
        raise UserError(f"{path}: not a readable HDF5 file (truncated?); delete it and make it again.") from None
    for name, value in (("acs", acs), ("size", size), ("settings", settings)):
        if value is None:
            raise UserError(f"{path}: attribute {name!r} is missing; delete the file and make it again.")
    if columns.ndim != 1 or columns.dtype != bool or not columns.any():
        raise UserError(
            f"{path}: dataset 'mask' must be a bool vector with at least one line, got {columns.dtype} of shape "
            f"{columns.shape}; delete the file and make it again."
        )
    if len(columns) != int(size[1]):
        raise UserError(
            f"{path}: dataset 'mask' has {len(columns)} lines, attribute 'size' says {int(size[1])}; "
            "delete the file and make it again."
        )
    try:
        parsed = json.loads(settings)
    except json.JSONDecodeError:
        raise UserError(f"{path}: attribute 'settings' is not JSON; delete the file and make it again.") from None
    return Mask(columns, (int(acs[0]), int(acs[1])), check(MaskSettings, parsed, f"{path}, attribute 'settings'"))


def _field(file: h5py.File, name: str, path: Path | str) -> np.ndarray:
    if name not in file:
        raise UserError(f"{path}: dataset {name!r} is missing; delete the file and make it again.")
    return np.asarray(file[name])
