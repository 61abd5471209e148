"""Calgary-Campinas CC-359 raw data: HDF5 `kspace`, float32 (readout, ky, kz, 2 x coils), a 3D gradient echo.

The last axis holds real and imaginary parts in turn. The readout is already transformed: it is space, head to feet;
ky runs front to back, kz from side to side. The publishers' image is |ifft2(k)| of a readout position, neither shifted
nor scaled, while the zero frequency lies at the array's centre: against the centred transform k-space carries a
checkerboard. Of kz the last 15 % were not acquired and hold next to nothing; they are set to zero. The publishers' test
files look the same but are undersampled in ky and kz, down to 10 or 20 %: no reference can be made of them.

axial       the file's readout positions: H = ky, W = kz, of which 85 % acquired
sagittal    kz is transformed and gives the slices: H = readout, back in k-space, W = ky, fully acquired

A file has neither a header nor a field of view: matrix and voxel size are what `stack` in the catalogue says.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import scipy.fft

from rekon.config.datasets import Dataset
from rekon.config.stack import Stack
from rekon.data.formats.out_of_core import Turned, kept_slices, lines_at_once, mirrored
from rekon.data.formats.raw import AGAIN, RawVolume, canonical, member, open_hdf5
from rekon.data.header import Header, full_header
from rekon.errors import UserError

ACQUIRED = 0.85  # of kz
MISSING = 0.03  # of the acquired samples may be exactly zero; the publishers' undersampled files lack 80 or 90 %
PUBLISHED = ((218, 170), (218, 174), (218, 180))  # ky, kz
CONTRAST = "T1"  # of all files
_NAME = re.compile(r"(e\d+s\d+)_P\d+")  # of the publishers' files: subject, then the scanner's number
_AXES = "float32 (readout, ky, kz, 2 x coils)"


@contextlib.contextmanager
def read(path: Path, dataset: Dataset, scratch: Path | None = None) -> Iterator[RawVolume]:
    """Open a CC-359 file; `dataset.view` says as what. scratch: folder for the sagittal slices while they are made."""
    with open_hdf5(path) as file, contextlib.ExitStack() as cleanup:
        kspace = member(path, file, "kspace")
        _check_shape(path, kspace)
        volume = _File(path, kspace)
        volume.check_content(dataset.reference)
        if dataset.view == "axial":
            yield _axial(volume, dataset)
        elif dataset.view == "sagittal":
            yield _sagittal(volume, dataset, scratch, cleanup)
        else:
            raise UserError(
                f"{path}: CC-359 gives axial and sagittal slices, no {dataset.view} ones; change the data set's 'view'."
            )


class _File:
    """The raw array in blocks of readout positions."""

    def __init__(self, path: Path, kspace: h5py.Dataset) -> None:
        self.path, self.kspace = path, kspace
        self.readout, self.ky, self.kz, parts = (int(n) for n in kspace.shape)
        self.coils = parts // 2
        self.acquired = math.ceil(ACQUIRED * self.kz)

    def positions(self, first: int, last: int) -> np.ndarray:
        """Complex64 (n, ky, kz, coil) as it lies in the file."""
        try:
            values = self.kspace[first:last]
        except OSError:
            raise UserError(
                f"{self.path}: readout positions {first} to {last - 1} of 'kspace' cannot be read; {AGAIN}."
            ) from None
        return np.asarray(values.view(np.complex64))

    def check_content(self, reference: bool) -> None:
        """Refuse k-space whose middle does not look as the format says, or of which a reference lacks samples.

        NaN passes: whoever reads it, refuses it.
        """
        middle = self.readout // 2
        energy = np.square(np.abs(self.positions(middle, middle + 1)[0]), dtype=np.float64)
        plane = energy.sum(axis=-1)
        near = [slice(n // 2 - n // 8 - 1, n // 2 + n // 8 + 2) for n in plane.shape]
        if plane[near[0], near[1]].sum() < 0.6 * plane.sum():
            raise UserError(
                f"{self.path}: 'kspace' of shape {self.kspace.shape} is not centred along its second and third axis; "
                f"they must be ky and kz of {_AXES}: {AGAIN}."
            )
        columns = plane.sum(axis=0)
        beyond, opposite = columns[self.acquired :], columns[1 : self.kz - self.acquired + 1]
        # of the published sizes it is sure which axis is which, and nobody says how little noise is left beyond
        if (self.ky, self.kz) not in PUBLISHED and beyond.sum() > 0.25 * opposite.sum():
            raise UserError(
                f"{self.path}: 'kspace' of shape {self.kspace.shape} has signal in the last 15 % of its third axis; it "
                f"must be kz of {_AXES}: {AGAIN}."
            )
        empty = float(np.mean(plane[:, : self.acquired] == 0))  # noise leaves no measured sample at exactly zero
        if reference and MISSING < empty < 1:
            raise UserError(
                f"{self.path}: {100 * empty:.0f} % of the samples in the acquired part of kz are exactly zero, so this "
                "file is undersampled (one of the publishers' test files?) and no reference; leave it out of the set."
            )


def _check_shape(path: Path, kspace: h5py.Dataset) -> None:
    if kspace.dtype != np.float32 or kspace.ndim != 4 or kspace.shape[-1] % 2:
        raise UserError(
            f"{path}: dataset 'kspace' must be {_AXES}, got {kspace.dtype} of shape {kspace.shape}; {AGAIN}."
        )
    if 0 in kspace.shape:
        raise UserError(f"{path}: dataset 'kspace' of shape {kspace.shape} is empty; {AGAIN}.")
    if kspace.shape[1] % 2 or kspace.shape[2] % 2:
        raise UserError(
            f"{path}: 'kspace' has the odd matrix {kspace.shape[1]} x {kspace.shape[2]}, CC-359's are even; {AGAIN}."
        )


def _axial(file: _File, dataset: Dataset) -> RawVolume:
    stack = _stack(dataset)
    if "columns" in stack.mirror:
        raise UserError(
            f"{file.path}: the columns of axial slices are not acquired to both sides alike and cannot be mirrored; "
            "take 'columns' out of 'mirror' in config/datasets.yaml."
        )
    kept = kept_slices(file.path, file.readout, stack)
    signs = (_alternating(file.ky)[:, None] * _alternating(file.kz))[:, : file.acquired]

    def read_slice(index: int) -> np.ndarray:
        raw = file.positions(kept[index], kept[index] + 1)[0]
        out = np.zeros((file.coils, file.ky, file.kz), np.complex64)
        out[..., : file.acquired] = np.moveaxis(raw[:, : file.acquired], -1, 0) * signs
        return canonical(mirrored(out, stack))

    header = _header(file, dataset, (1, 2), thickness=stack.voxel[0], acquired=(0, file.acquired))
    return RawVolume(
        (len(kept), file.coils, file.ky, file.kz), read_slice, header, dataset.reference, _attrs(file.path)
    )


def _sagittal(file: _File, dataset: Dataset, scratch: Path | None, cleanup: contextlib.ExitStack) -> RawVolume:
    stack = _stack(dataset)
    kept = kept_slices(file.path, file.kz, stack)
    if file.readout % 2:
        raise UserError(f"{file.path}: 'kspace' has {file.readout} readout positions, CC-359 an even number; {AGAIN}.")
    along, across = _alternating(file.readout)[:, None], _alternating(file.ky)
    turned: list[Turned] = []

    def read_slice(index: int) -> np.ndarray:
        if not turned:
            shape = (len(kept), file.readout, (file.coils, file.ky))
            turned.append(cleanup.enter_context(Turned(scratch, *shape)))
            _fill(turned[0], file, kept)
        # signs instead of shifts: what `_fill` leaves of kz's checkerboard, ky's, and the centred transform of the rows
        sign = (-1) ** (kept[index] + file.readout // 2)
        one = np.moveaxis(turned[0].read(index), 1, 0) * (sign * along * across)  # (coil, readout, ky)
        one = scipy.fft.fft(one, axis=-2, norm="ortho", overwrite_x=True)
        one *= along
        return canonical(mirrored(one, stack))

    header = _header(file, dataset, (0, 1), thickness=stack.voxel[2])
    shape = (len(kept), file.coils, file.readout, file.ky)
    return RawVolume(shape, read_slice, header, dataset.reference, _attrs(file.path))


def _fill(turned: Turned, file: _File, kept: range) -> None:
    """Write (slice, readout, coil, ky), a block of readout positions at a time; kz leaves odd slices a minus sign."""
    size = lines_at_once(8 * file.ky * file.kz * file.coils)
    for first in range(0, file.readout, size):
        block = file.positions(first, min(first + size, file.readout))
        block[:, :, file.acquired :] = 0
        image = scipy.fft.ifft(block, axis=2, norm="ortho", overwrite_x=True)
        turned.write(first, np.transpose(image[:, :, kept], (2, 0, 3, 1)))


def _header(
    file: _File, dataset: Dataset, axes: tuple[int, int], thickness: float, acquired: tuple[int, int] | None = None
) -> Header:
    voxel, matrix = _stack(dataset).voxel, (file.readout, file.ky, file.kz)
    height, width = (matrix[axis] for axis in axes)
    fov = (height * voxel[axes[0]], width * voxel[axes[1]])
    made = full_header((height, width), file.coils, dataset.vendor, dataset.field_strength, fov, acquired)
    return replace(made, thickness=thickness)


def _attrs(path: Path) -> dict[str, str]:
    found = _NAME.match(path.name)
    return {"acquisition": CONTRAST, **({"patient_id": found[1]} if found else {})}


def _stack(dataset: Dataset) -> Stack:
    return dataset.stack or Stack()


def _alternating(n: int) -> np.ndarray:
    """+1 at the zero frequency, n // 2, and in turn -1 and +1 away from it: float32 (n,)."""
    return (1 - 2 * (np.abs(np.arange(n) - n // 2) % 2)).astype(np.float32)
