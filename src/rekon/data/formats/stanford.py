"""Stanford 2D FSE (mridata.org): ISMRMRD of GE fast spin echo scans, one acquisition per phase encoding and slice.

What has to be undone, as the scans' own publishers do it (github.com/MRSRL/mridata-recon):

    chop          GE alternates the sign of the excitation; ChopY = 0 in the header says that it was left in the data.
                  Line ky is multiplied by (-1)^ky, which moves the image by half its field of view.
    rec_std       noise of each receiver: channels are divided by it, weights normalised to sum |w|² = 1.
    segments      echoes of a train differ by a constant and a linear phase along the readout. Lines after the last
                  phase encoding are the train once more without phase encoding: from them the phases are estimated
                  (Ahn and Cho, IEEE TMI 6:32, 1987), per coil, relative to the first of them.

The phase encodings are zero-padded to the encoded matrix as the encoding limits say. Echoes (contrasts) and phases
after the first are left out, of a line that came twice the last counts.

A line that never came is zero in the published processing. Here it is so at the ends of k-space, up to one in twenty,
as more zero padding; a slice with a hole between its lines is no reference, and its file is refused.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.fft

from rekon.config.datasets import Dataset
from rekon.data.formats.ismrmrd_file import NOISE, IsmrmrdFile
from rekon.data.formats.raw import AGAIN, RawVolume, canonical, even
from rekon.data.header import Header
from rekon.errors import UserError
from rekon.physics.fft import crop_fov, ifftc

_EDGE_LINES = 0.05  # of the phase encodings may be missing at the ends of k-space
_EDGE = 5  # image samples at either end of the readout that wrap around and say nothing about the phase


@contextlib.contextmanager
def read(path: Path, dataset: Dataset) -> Iterator[RawVolume]:
    """Open a Stanford 2D FSE file; slices are read one at a time."""
    with IsmrmrdFile(path) as file:
        yield _volume(file, dataset)


@dataclass(frozen=True)
class _Layout:
    """What the header says: sizes of k-space and of the image, and which lines were acquired."""

    samples: int  # per line
    columns: int  # phase encodings with zero padding
    lines: int  # acquired phase encodings; line numbers from here on are calibration
    first: int  # column of line 0
    segments: int
    coils: int
    keep: int  # readout samples without oversampling
    recon: tuple[int, int]


def _volume(file: IsmrmrdFile, dataset: Dataset) -> RawVolume:
    layout = _layout(file)
    head = file.heads["idx"]
    chosen = (head["contrast"] == 0) & (head["phase"] == 0) & (head["kspace_encode_step_2"] == 0)
    lines, calibrates = head["kspace_encode_step_1"], layout.segments > 1
    image = chosen & file.imaging & (lines < layout.lines)
    # told by their numbers: writers flag them as phase correction, as calibration, or not at all
    calibration = chosen & ~file.flagged(NOISE) & (lines >= layout.lines) & calibrates
    file.check_readouts(image | calibration)
    slices = _check_lines(file, layout, image, calibration, dataset.reference)
    weights, chop = _weights(file, layout.coils), 1 - int(file.user_parameters.get("ChopY", 1))

    def read_slice(index: int) -> np.ndarray:
        of_slice = head["slice"] == index
        columns = np.zeros((layout.columns, layout.coils, layout.keep), np.complex64)
        phases = _echo_phases(file, np.flatnonzero(calibration & of_slice), weights, chop)
        for indices, block in file.blocks(np.flatnonzero(image & of_slice)):
            lines = head["kspace_encode_step_1"][indices]
            block *= _signs(lines, chop)[:, None, None] * weights[:, None]
            if phases:
                block = _turned(block, head["segment"][indices], phases, file, index)
            columns[layout.first + lines] = crop_fov(block, layout.keep, -1) if layout.keep < layout.samples else block
        return canonical(np.moveaxis(columns, 0, -1))

    shape = (slices, layout.coils, *even((layout.keep, layout.columns)))
    header = _canonical_header(file, layout, shape, dataset.vendor)
    return RawVolume(shape, read_slice, header, dataset.reference, _names(file))


def _layout(file: IsmrmrdFile) -> _Layout:
    encoding, path = file.header.encoding[0], file.path
    limits, encoded, recon = encoding.encodingLimits, encoding.encodedSpace, encoding.reconSpace
    phase, depth, segment = limits.kspace_encoding_step_1, limits.kspace_encoding_step_2, limits.segment
    if phase is None:
        raise UserError(f"{path}: 'dataset/xml' has no encodingLimits/kspace_encoding_step_1; {AGAIN}.")
    if encoded.matrixSize.z > 1 or (depth is not None and depth.maximum > 0):
        raise UserError(f"{path}: a 3D scan, not a 2D FSE one; leave it out of the data set.")
    samples, columns = encoded.matrixSize.x, encoded.matrixSize.y
    lines, first = phase.maximum + 1, columns // 2 - phase.center
    if min(samples, columns, recon.matrixSize.x, recon.matrixSize.y) < 1 or first < 0 or first + lines > columns:
        raise UserError(
            f"{path}: 'dataset/xml' places {lines} phase encodings at columns {first} to {first + lines - 1} of "
            f"{columns}; {AGAIN}."
        )
    wider = encoded.fieldOfView_mm.x / recon.fieldOfView_mm.x if recon.fieldOfView_mm.x > 0 else 1.0
    keep = min(samples, 2 * round(samples / wider / 2)) if wider > 1 else samples
    system = file.header.acquisitionSystemInformation
    coils = system.receiverChannels if system is not None and system.receiverChannels else 0
    return _Layout(
        samples, columns, lines, first, segment.maximum + 1 if segment is not None else 1,
        coils or int(file.heads["active_channels"][0]), keep, (recon.matrixSize.x, recon.matrixSize.y),
    )  # fmt: skip


def _check_lines(file: IsmrmrdFile, layout: _Layout, image: np.ndarray, calibration: np.ndarray, whole: bool) -> int:
    """Compare header and data; returns the number of slices, which may be less than the header says."""
    heads, head = file.heads, file.heads["idx"]
    if not image.any():
        raise UserError(f"{file.path}: no acquisition is image data; {AGAIN}.")
    for name, expected, what in (
        ("number_of_samples", layout.samples, "encodedSpace has x"),
        ("active_channels", layout.coils, "receiverChannels"),
    ):
        odd = np.flatnonzero((image | calibration) & (heads[name] != expected))
        if len(odd):
            raise UserError(
                f"{file.path}: acquisition {odd[0]} has {name} {heads[name][odd[0]]}, {what} = {expected} in "
                f"'dataset/xml' (axes swapped?); {AGAIN}."
            )
    slices = int(head["slice"][image].max()) + 1
    for index in range(slices):
        here = np.unique(head["kspace_encode_step_1"][image & (head["slice"] == index)])
        missing = layout.lines - len(here)
        hole = missing > 0 and (len(here) == 0 or here[-1] - here[0] + 1 > len(here))
        if missing == layout.lines or (whole and (hole or missing > _EDGE_LINES * layout.lines)):
            raise UserError(
                f"{file.path}: slice {index} lacks {missing} of the {layout.lines} phase encodings that 'dataset/xml' "
                f"announces; {AGAIN}."
            )
    return slices


def _weights(file: IsmrmrdFile, coils: int) -> np.ndarray:
    """Weight of every coil, float32 (coil,): 1 / noise, normalised; ones without noise measurements."""
    noise = file.array("rec_std")
    if noise is None:
        return np.ones(coils, np.float32)
    noise = np.ravel(noise).astype(np.float64)
    if len(noise) != coils or not np.isfinite(noise).all() or (noise <= 0).any():
        raise UserError(
            f"{file.path}: array 'dataset/rec_std' must hold a positive number for each of {coils} coils; {AGAIN}."
        )
    return np.asarray(1 / noise / np.linalg.norm(1 / noise), np.float32)


def _signs(lines: np.ndarray, chop: int) -> np.ndarray:
    return (1 - 2 * ((lines.astype(np.int64) * chop) % 2)).astype(np.float32)


def _echo_phases(file: IsmrmrdFile, indices: np.ndarray, weights: np.ndarray, chop: int) -> dict[int, np.ndarray]:
    """Phase in radians that each segment lacks to the first calibration echo: segment -> float64 (coil, readout)."""
    head = file.heads["idx"][indices]
    order = np.argsort(head["kspace_encode_step_1"], kind="stable")
    echoes: dict[int, np.ndarray] = {}
    for chosen, block in file.blocks(indices):
        lines = file.heads["idx"]["kspace_encode_step_1"][chosen]
        block = block.astype(np.complex128) * (_signs(lines, chop)[:, None, None] * weights[:, None])
        echoes |= dict(zip(chosen.tolist(), ifftc(block, -1), strict=True))
    phases = {}
    for number in order:
        echo, reference = echoes[int(indices[number])], echoes[int(indices[order[0]])]
        phases[int(head["segment"][number])] = _linear_phase(np.conj(echo) * reference)
    return phases


def _linear_phase(product: np.ndarray) -> np.ndarray:
    """The phase a + b x that fits complex (coil, readout) best, weighted by its magnitude: b from neighbours' phase
    differences, then a (Ahn and Cho)."""
    inner = slice(_EDGE, -_EDGE)
    x = np.arange(product.shape[-1])
    slope = np.angle(np.sum(product[:, 1:][:, inner] * np.conj(product[:, :-1][:, inner]), axis=-1))[:, None]
    constant = np.angle(np.sum(product * np.exp(-1j * slope * x), axis=-1))[:, None]
    return np.asarray(constant + slope * x)


def _turned(
    block: np.ndarray, segments: np.ndarray, phases: dict[int, np.ndarray], file: IsmrmrdFile, index: int
) -> np.ndarray:
    """Lines (n, coil, sample) with the phase of their segment added along the readout's image."""
    if lacking := set(segments.tolist()) - set(phases):
        raise UserError(
            f"{file.path}: slice {index} has lines of segment {min(lacking)} but no calibration echo of it; {AGAIN}."
        )
    numbers = np.array(sorted(phases))
    # neither line nor image is shifted: the ramp that leaves on the image is taken off again by the way back
    turns = np.fft.ifftshift(np.exp(1j * np.stack([phases[number] for number in numbers])), axes=-1)
    image = scipy.fft.ifft(block, axis=-1, overwrite_x=True)
    image *= turns.astype(np.complex64)[np.searchsorted(numbers, segments)]
    return np.asarray(scipy.fft.fft(image, axis=-1, overwrite_x=True))


def _canonical_header(file: IsmrmrdFile, layout: _Layout, shape: tuple[int, int, int, int], vendor: str) -> Header:
    encoding = file.header.encoding[0]
    encoded, recon, system = encoding.encodedSpace, encoding.reconSpace, file.header.acquisitionSystemInformation
    height, width = shape[2:]
    first = layout.first + width // 2 - layout.columns // 2  # of the line that `canonical` may add in front
    return Header(
        encoded=(height, width),
        recon=(min(layout.recon[0], height), min(layout.recon[1], width)),
        center=width // 2 - first,
        maximum=layout.lines - 1,
        encoded_fov=(encoded.fieldOfView_mm.x * layout.keep / layout.samples, encoded.fieldOfView_mm.y),
        recon_fov=(recon.fieldOfView_mm.x, recon.fieldOfView_mm.y),
        thickness=recon.fieldOfView_mm.z,
        vendor=vendor,
        field_strength=system.systemFieldStrength_T if system is not None else None,
        coils=layout.coils,
    )


def _names(file: IsmrmrdFile) -> dict[str, Any]:
    """Contrast and patient, where the header tells them."""
    measured, subject = file.header.measurementInformation, file.header.subjectInformation
    return {
        "acquisition": (measured.protocolName if measured is not None else None) or "unknown",
        "patient_id": (subject.patientID if subject is not None else None) or file.path.stem,
    }
