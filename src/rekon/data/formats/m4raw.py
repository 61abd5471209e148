"""M4Raw (github.com/mylyu/M4Raw): fastMRI's layout from a 0.3 T scanner, a file per repetition of a scan.

    name      <subject>_<contrast><two digits>.h5: the digits count the repetitions, contrast is FLAIR, T1, T2 or GRE
    header    not valid ISMRMRD (prefixes, elements of its own) and read leniently; which phase encodings were acquired
              is taken from the data: about three quarters of the columns are not empty
    readout   already without oversampling
    GRE       axes exchanged, k-space 45 samples late along the stored last axis, left and right exchanged: as converted
              by github.com/MLI-lab/mri_data_diversity, but that the mirror keeps the centre sample where it is

The input is one repetition. The data set's `target` says what it is scored with: 'single-rep', its own RSS image, or
'multi-rep', the mean of the RSS images of all repetitions, which must lie in the same folder.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import h5py
import numpy as np

from rekon.config.datasets import Dataset
from rekon.data.formats.raw import AGAIN, RawVolume, acquired_columns, canonical, even, member, open_hdf5
from rekon.data.header import Header, parse_header
from rekon.errors import UserError
from rekon.physics.coils import rss
from rekon.physics.fft import centre_crop, ifft2c

_NAME = re.compile(r"(?P<scan>.*(?P<contrast>FLAIR|T1|T2|GRE))(?P<repetition>\d\d)$")
_LATE = 45  # samples


@contextlib.contextmanager
def read(path: Path, dataset: Dataset) -> Iterator[RawVolume]:
    """Open an M4Raw file, and the other repetitions of its scan if the data set's target asks for them."""
    with contextlib.ExitStack() as stack:
        paths = [path, *(one for one in repetitions(path) if one != path)] if dataset.target == "multi-rep" else [path]
        volumes = [_one(one, stack.enter_context(open_hdf5(one)), dataset) for one in paths]
        for other, one in zip(paths, volumes, strict=True):
            if one.shape != volumes[0].shape:
                raise UserError(
                    f"{path}: k-space is {volumes[0].shape}, that of repetition {other.name} {one.shape}; {AGAIN}."
                )
        yield volumes[0] if len(volumes) == 1 else replace(volumes[0], target=_mean(volumes))


def repetitions(path: Path) -> list[Path]:
    """All repetitions of a file's scan, in order: those of its folder, among which must be all that the header lists.

    Raises UserError when the name has no repetition, when there is no other, or when one is missing.
    """
    name = _NAME.match(path.stem)
    if name is None:
        raise UserError(f"{path}: the name does not end in a contrast and a repetition, such as T201; rename the file.")
    found = sorted(
        other for other in path.parent.glob(f"*{path.suffix}")
        if (match := _NAME.match(other.stem)) and match["scan"] == name["scan"]
    )  # fmt: skip
    with open_hdf5(path) as file:
        listed = _listed(member(path, file, "ismrmrd_header")[()], name["scan"])
    missing = sorted(listed - {other.stem for other in found})
    if missing or len(found) < 2:
        raise UserError(
            f"{path}: repetition {missing[0] if missing else 'files other than this one'} is not in the folder; put it "
            "there or set 'target: single-rep' for the data set."
        )
    return found


def _listed(xml: bytes | str, scan: str) -> set[str]:
    """Stems of the repetitions of a scan that the header names, wherever in `repetitionInformation`."""
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return set()
    elements = [one for one in root.iter() if one.tag.rpartition("}")[2] == "repetitionInformation"]
    words = " ".join(text for one in elements for text in one.itertext())
    return set(re.findall(rf"{re.escape(scan)}\d\d", words))


def _one(path: Path, file: h5py.File, dataset: Dataset) -> RawVolume:
    kspace = member(path, file, "kspace")
    if kspace.ndim != 4 or not np.issubdtype(kspace.dtype, np.complexfloating):
        raise UserError(
            f"{path}: dataset 'kspace' must be complex (slice, coil, readout, phase), got {kspace.dtype} of shape "
            f"{kspace.shape}; {AGAIN}."
        )
    header = parse_header(member(path, file, "ismrmrd_header")[()], str(path))
    if 0 in kspace.shape:
        raise UserError(f"{path}: dataset 'kspace' is empty, {kspace.shape}; {AGAIN}.")
    attrs = {name: str(file.attrs[name]) for name in ("acquisition", "patient_id") if name in file.attrs}
    name = _NAME.match(path.stem)
    orient = _gradient_echo if (name["contrast"] if name else attrs.get("acquisition", "")).endswith("GRE") else _as_is

    def read_slice(index: int) -> np.ndarray:
        try:
            return canonical(orient(kspace[index]))
        except OSError:
            raise UserError(f"{path}: slice {index} of 'kspace' cannot be read; {AGAIN}.") from None

    middle = read_slice(kspace.shape[0] // 2)
    stored = even((header.encoded[0], header.encoded[1]))
    if middle.shape[1:] != stored:
        swapped = " (axes swapped?)" if middle.shape[1:] == stored[::-1] else ""
        raise UserError(
            f"{path}: 'ismrmrd_header' says the matrix is {header.encoded[0]} x {header.encoded[1]}, 'kspace' has "
            f"{middle.shape[1]} x {middle.shape[2]}{swapped}; {AGAIN}."
        )
    shape = (kspace.shape[0], *middle.shape)
    canonical_header = _header(path, header, middle, dataset.vendor, orient is _gradient_echo)
    return RawVolume(shape, read_slice, canonical_header, dataset.reference, attrs)


def _as_is(kspace: np.ndarray) -> np.ndarray:
    return kspace


def _gradient_echo(kspace: np.ndarray) -> np.ndarray:
    """(coil, phase, readout) as stored to (coil, readout, phase)."""
    turned = np.swapaxes(np.roll(kspace, -_LATE, axis=-1), -1, -2)
    mirrored = np.flip(turned, axis=-1)
    return np.roll(mirrored, 1, axis=-1) if turned.shape[-1] % 2 == 0 else mirrored


def _header(path: Path, header: Header, kspace: np.ndarray, vendor: str, turned: bool) -> Header:
    """Header of the canonical volume; kspace: a slice (coil, H, W), in whose middle the echo must lie."""
    coils, height, width = kspace.shape
    power = np.square(np.abs(kspace)).sum(0)
    if np.isfinite(power).all() and power.any():
        for axis, size, name in ((1, height, "readout"), (0, width, "phase encoding")):
            peak = int(power.sum(axis).argmax())
            if abs(peak - size // 2) > size // 8:
                raise UserError(
                    f"{path}: the centre of k-space lies at sample {peak} of {size} along the {name} (axes swapped, or "
                    f"another version of the set?); {AGAIN}."
                )
    first, stop = acquired_columns(kspace)
    rows = acquired_columns(np.swapaxes(kspace, -1, -2))
    if not turned and (first, stop) == (0, width) and rows != (0, height):
        raise UserError(
            f"{path}: the zero padding lies along the readout, rows {rows[0]} to {rows[1] - 1} are filled (axes "
            f"swapped?); {AGAIN}."
        )
    return replace(
        header,
        encoded=(height, width),
        recon=(min(header.recon[0], height), min(header.recon[1], width)),
        center=width // 2 - first,
        maximum=stop - first - 1,
        vendor=vendor,
        coils=coils,
    )


def _mean(volumes: list[RawVolume]) -> Callable[[int], np.ndarray]:
    """The mean over repetitions of the RSS image of a slice, float32 (h, w) of reconSpace."""

    def target(index: int) -> np.ndarray:
        images = [centre_crop(rss(ifft2c(one.slice(index)), 0), volumes[0].header.recon) for one in volumes]
        return np.asarray(np.mean(images, axis=0), np.float32)

    return target
