"""AHEAD raw data: ISMRMRD of a 3D MP2RAGEME, one echo a file, read into axial slices.

An acquisition is a readout (coil, kx) at kspace_encode_step_1 (ky) and kspace_encode_step_2 (kz); they fill the
encoded matrix as they are numbered, and a line that was measured again replaces the first. x runs from side to side, y
from front to back, z along the body. The readout's oversampling is removed, kz transformed, and each z is a slice with
H = ky and W = kx. Noise scans and what else is no image are skipped.

Lines are taken from the file in blocks of ky and turned into slices on the disk.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import scipy.fft

from rekon.config.datasets import Dataset
from rekon.config.stack import Stack
from rekon.data.formats.ismrmrd_file import IsmrmrdFile
from rekon.data.formats.out_of_core import BLOCK, Turned, kept_slices, lines_at_once, mirrored
from rekon.data.formats.raw import AGAIN, RawVolume, canonical, even
from rekon.data.header import Header, full_header
from rekon.errors import UserError
from rekon.physics.fft import crop_fov

_NAME = re.compile(r"(mp2rageme_\d+)_(inv\d_te\d)$")  # of the publisher's files


@contextlib.contextmanager
def read(path: Path, dataset: Dataset, scratch: Path | None = None) -> Iterator[RawVolume]:
    """Open an AHEAD file. scratch: folder for the slices while they are made."""
    if dataset.view != "axial":
        raise UserError(
            f"{path}: AHEAD is read as axial slices, not {dataset.view} ones; change the data set's 'view'."
        )
    with IsmrmrdFile(path) as file, contextlib.ExitStack() as cleanup:
        lines = _lines(file, dataset)
        stack = dataset.stack or Stack()
        kept = kept_slices(path, lines.nz, stack)
        turned: list[Turned] = []

        def read_slice(index: int) -> np.ndarray:
            if not turned:
                shape = (len(kept), lines.ny, (lines.coils, lines.keep))
                turned.append(cleanup.enter_context(Turned(scratch, *shape)))
                _fill(turned[0], file, lines, kept)
            return canonical(mirrored(np.moveaxis(turned[0].read(index), 1, 0), stack))

        height, width = even((lines.ny, lines.keep))
        yield RawVolume(
            (len(kept), lines.coils, height, width),
            read_slice,
            _header(file, lines, dataset, (height, width)),
            dataset.reference,
            _attrs(file),
        )


@dataclass(frozen=True)
class _Lines:
    """Which acquisition holds which line, and the sizes; keep: readout samples without the oversampling."""

    number: np.ndarray  # (ky, kz) of acquisitions, -1 where none is
    coils: int
    nx: int
    keep: int

    @property
    def ny(self) -> int:
        return int(self.number.shape[0])

    @property
    def nz(self) -> int:
        return int(self.number.shape[1])


def _lines(file: IsmrmrdFile, dataset: Dataset) -> _Lines:
    encoding, path = file.header.encoding[0], file.path
    space, recon = encoding.encodedSpace, encoding.reconSpace
    nx, ny, nz = (int(n) for n in (space.matrixSize.x, space.matrixSize.y, space.matrixSize.z))
    image = np.flatnonzero(file.imaging)
    if not len(image):
        raise UserError(f"{path}: none of the acquisitions is image data; {AGAIN}.")
    file.check_readouts(file.imaging)
    heads = file.heads[image]
    for name, expected, what in (
        ("number_of_samples", nx, f"{nx} readout samples"),
        ("active_channels", int(heads["active_channels"][0]), f"{int(heads['active_channels'][0])} coils"),
    ):
        other = np.flatnonzero(heads[name] != expected)
        if len(other):
            raise UserError(
                f"{path}: acquisition {image[other[0]]} has {heads[name][other[0]]} where the file's header and first "
                f"line ask for {what}; {AGAIN}."
            )
    number = np.full((ny, nz), -1)
    ky, kz = (heads["idx"][f"kspace_encode_step_{n}"].astype(int) for n in (1, 2))
    if ky.max() >= ny or kz.max() >= nz:
        raise UserError(
            f"{path}: 'dataset/xml' has {ny} x {nz} phase encodings, acquisitions are numbered up to {ky.max()} and "
            f"{kz.max()} (axes exchanged?); {AGAIN}."
        )
    number[ky, kz] = image
    centre = number[ny // 4 : ny - ny // 4, nz // 4 : nz - nz // 4]
    if dataset.reference and (centre < 0).any():  # corners may be left out
        raise UserError(
            f"{path}: {np.count_nonzero(centre < 0)} phase encodings at the centre of k-space are missing, so there is "
            "no reference; set 'reference: false' for this data set in config/datasets.yaml."
        )
    wide, narrow = space.fieldOfView_mm.x, recon.fieldOfView_mm.x
    keep = round(nx * narrow / wide) if wide > 0 and narrow > 0 else int(recon.matrixSize.x)
    if keep < 1:
        raise UserError(f"{path}: 'dataset/xml' has an empty reconSpace; {AGAIN}.")
    return _Lines(number, int(heads["active_channels"][0]), nx, min(nx, keep))


def _fill(turned: Turned, file: IsmrmrdFile, lines: _Lines, kept: range) -> None:
    """Write (slice, ky, coil, kx): kz is transformed, a block of ky at a time."""
    middle = lines.nz // 2
    size = lines_at_once(8 * lines.nz * lines.coils * lines.keep)
    energy = np.zeros((lines.ny, lines.nz))
    for first in range(0, lines.ny, size):
        number = lines.number[first : first + size]
        block = np.zeros((*number.shape, lines.coils, lines.keep), np.complex64)
        for ky, kz, samples in _acquisitions(file, number):
            kept_samples = crop_fov(samples, lines.keep, -1) if lines.keep < lines.nx else samples
            # as the transform wants kz, its zero frequency first, so that nothing has to be shifted
            block[ky, (kz - middle) % lines.nz] = kept_samples
            parts = samples.view(np.float32).reshape(len(samples), -1)
            energy[first + ky, kz] = np.einsum("nx,nx->n", parts, parts)
        for coil in range(lines.coils):  # one by one: a transform needs a few copies of what it is given
            block[:, :, coil] = scipy.fft.ifft(block[:, :, coil], axis=1, norm="ortho", overwrite_x=True)
        turned.write(first, (block[:, (z - middle) % lines.nz] for z in kept))
    peak = np.unravel_index(np.argmax(energy), energy.shape)
    far = any(abs(at - n // 2) > max(1, n // 8) for at, n in zip(peak, energy.shape, strict=True))
    if far and 0 < energy.max() < np.inf:  # NaN is refused by whoever reads it
        raise UserError(
            f"{file.path}: the strongest phase encoding is {tuple(int(n) for n in peak)}, far from the centre of the "
            f"{energy.shape} that 'dataset/xml' has (axes exchanged?); {AGAIN}."
        )


def _acquisitions(file: IsmrmrdFile, number: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(rows of `number`, columns of `number`, samples (n, coil, kx)) of all acquisitions in `number` that there are."""
    rows, columns = np.nonzero(number >= 0)
    order = np.argsort(number[rows, columns])
    rows, columns = rows[order], columns[order]
    indices = number[rows, columns]
    # neighbours in the file are read together; a list of single ones would be far slower for HDF5
    for run in np.split(np.arange(len(indices)), np.flatnonzero(np.diff(indices) != 1) + 1):
        for chosen, samples in file.blocks(indices[run], BLOCK // 4):
            at = run[chosen - indices[run[0]]]
            yield rows[at], columns[at], samples


def _header(file: IsmrmrdFile, lines: _Lines, dataset: Dataset, matrix: tuple[int, int]) -> Header:
    system, size = file.header.acquisitionSystemInformation, file.header.encoding[0].encodedSpace.fieldOfView_mm
    fov = (size.y, size.x * lines.keep / lines.nx) if size.x > 0 and size.y > 0 else None
    field = system.systemFieldStrength_T if system is not None else None
    made = full_header(matrix, lines.coils, dataset.vendor, field or dataset.field_strength, fov)
    return replace(made, thickness=size.z / lines.nz if size.z > 0 else 1.0)


def _attrs(file: IsmrmrdFile) -> dict[str, str]:
    """Echo and subject, as the publisher's file names say, or else the header."""
    if found := _NAME.search(file.path.stem):
        return {"patient_id": found[1], "acquisition": found[2]}
    header, attrs = file.header, {}
    if header.subjectInformation is not None and header.subjectInformation.patientID:
        attrs["patient_id"] = header.subjectInformation.patientID
    if header.measurementInformation is not None and header.measurementInformation.protocolName:
        attrs["acquisition"] = header.measurementInformation.protocolName
    return attrs
