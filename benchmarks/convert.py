"""Conversion against plain h5py read + FFT + write of the same bytes, in one run.

    python benchmarks/convert.py [--format fastmri] [--format ahead] [--rounds 5]     # default: every format

Makes a raw file of each format, alternates the two and prints both medians and their ratio; ends with 1 where that is
below 50 %. Plain: read the file piece by piece, one centred 2-D inverse FFT of what was read, write as many bytes as
the conversion writes, sync to disk. The conversion also removes the readout oversampling, makes the RSS reference,
checks every value and header and hashes the raw file; 3D volumes it turns on the disk.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import scipy.fft

from rekon.config.datasets import Dataset
from rekon.data.convert import convert
from rekon.data.header import Header

TARGET = 0.5  # of plain's speed


@dataclass(frozen=True)
class Case:
    """A raw file, and how plain code reads it: pieces (n, H, W) that are transformed along H and W."""

    format: str
    view: str
    make: Callable[[Path], None]
    pieces: Callable[[h5py.File], Iterator[np.ndarray]]
    keep: float = 1.0  # of what is read is written: the rest is oversampling


def noise(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal((*shape, 2), dtype=np.float32).view(np.complex64)[..., 0]


def make_fastmri(path: Path, slices: int = 8, coils: int = 16, rows: int = 640, columns: int = 320) -> None:
    rng = np.random.default_rng(0)
    header = Header((rows, columns), (rows // 2, columns), columns // 2, columns - 1, coils=coils)
    with h5py.File(path, "w") as file:
        file["ismrmrd_header"] = header.xml()
        shape = (slices, coils, rows, columns)
        kspace = file.create_dataset("kspace", shape, np.complex64, chunks=(1, coils, rows, columns))
        for index in range(slices):
            kspace[index] = noise(rng, coils, rows, columns)
        file.attrs["acquisition"] = "AXT2"
        file.attrs["patient_id"] = "bench"


def pieces_fastmri(file: h5py.File) -> Iterator[np.ndarray]:
    yield from file["kspace"]


def make_cc359(path: Path, positions: int = 64, coils: int = 12, ky: int = 218, kz: int = 170) -> None:
    rng = np.random.default_rng(0)
    centre = np.exp(-(np.linspace(-4, 4, ky)[:, None] ** 2) - np.linspace(-4, 4, kz) ** 2)[..., None]
    with h5py.File(path, "w") as file:
        kspace = file.create_dataset("kspace", (positions, ky, kz, 2 * coils), np.float32)
        for index in range(positions):
            kspace[index] = rng.standard_normal((ky, kz, 2 * coils), dtype=np.float32) * centre


def pieces_cc359(file: h5py.File) -> Iterator[np.ndarray]:
    for one in file["kspace"]:
        yield np.moveaxis(one.view(np.complex64), -1, 0)


def make_ismrmrd(
    path: Path, coils: int, samples: int, lines: int, depth: int, *, slices: bool, oversampling: int
) -> None:
    """`depth` slices of `lines` lines each, or a volume of so many partitions."""
    import ismrmrd
    from ismrmrd import xsd

    def space(x: int, width: float) -> xsd.encodingSpaceType:
        size = xsd.matrixSizeType(x=x, y=lines, z=1 if slices else depth)
        return xsd.encodingSpaceType(matrixSize=size, fieldOfView_mm=xsd.fieldOfViewMm(x=width, y=200.0, z=200.0))

    limits = {"kspace_encoding_step_1": xsd.limitType(minimum=0, maximum=lines - 1, center=lines // 2)}
    encoding = xsd.encodingType(
        encodedSpace=space(samples, 200.0 * oversampling), reconSpace=space(samples // oversampling, 200.0),
        encodingLimits=xsd.encodingLimitsType(**limits), trajectory=xsd.trajectoryType.CARTESIAN,
    )  # fmt: skip
    header = xsd.ismrmrdHeader(
        acquisitionSystemInformation=xsd.acquisitionSystemInformationType(receiverChannels=coils),
        experimentalConditions=xsd.experimentalConditionsType(H1resonanceFrequency_Hz=127_732_434),
        encoding=[encoding],
    )
    rng, form = np.random.default_rng(0), ismrmrd.hdf5.acquisition_dtype
    centre = [np.exp(-(np.linspace(-3, 3, n) ** 2)) for n in (depth, lines)]
    with h5py.File(path, "w") as file:
        file["dataset/xml"] = np.array([xsd.ToXML(header)], h5py.string_dtype())
        data = file.create_dataset("dataset/data", (depth * lines,), form, maxshape=(None,), chunks=(1,))
        for index in range(depth):
            rows = np.zeros(lines, form)
            head = rows["head"]
            head["version"], head["number_of_samples"], head["active_channels"] = 1, samples, coils
            head["idx"]["slice" if slices else "kspace_encode_step_2"] = index
            head["idx"]["kspace_encode_step_1"] = np.arange(lines)
            values = noise(rng, lines, coils * samples) * np.float32(centre[0][index]) * centre[1][:, None]
            for row, line in enumerate(values.astype(np.complex64).view(np.float32)):
                rows["data"][row], rows["traj"][row] = line, np.zeros(0, np.float32)
            data[index * lines : (index + 1) * lines] = rows


STANFORD = {"coils": 16, "samples": 376, "lines": 376, "depth": 14}  # GE's scanner keeps no oversampling
AHEAD = {"coils": 32, "samples": 500, "lines": 48, "depth": 40}


def pieces_ismrmrd(sizes: dict[str, int]) -> Callable[[h5py.File], Iterator[np.ndarray]]:
    def pieces(file: h5py.File) -> Iterator[np.ndarray]:
        lines, shape = sizes["lines"], (sizes["coils"], sizes["samples"])
        for first in range(0, sizes["depth"] * lines, lines):
            vectors = file["dataset/data"].fields("data")[first : first + lines]
            yield np.stack([one.view(np.complex64).reshape(shape) for one in vectors]).transpose(1, 2, 0)

    return pieces


CASES = {
    "fastmri": Case("fastmri", "axial", make_fastmri, pieces_fastmri, keep=0.5),
    "cc359-axial": Case("cc359", "axial", make_cc359, pieces_cc359),
    "cc359-sagittal": Case("cc359", "sagittal", make_cc359, pieces_cc359),
    "stanford": Case(
        "stanford-fse",
        "axial",
        partial(make_ismrmrd, **STANFORD, slices=True, oversampling=1),
        pieces_ismrmrd(STANFORD),
    ),
    "ahead": Case(
        "ahead", "axial", partial(make_ismrmrd, **AHEAD, slices=False, oversampling=2), pieces_ismrmrd(AHEAD), keep=0.5
    ),
}


def plain(case: Case, raw: Path, out: Path) -> None:
    with h5py.File(raw, "r") as source, h5py.File(out, "w") as sink:
        for index, one in enumerate(case.pieces(source)):
            image = np.fft.fftshift(scipy.fft.ifft2(np.fft.ifftshift(one, axes=(-2, -1)), norm="ortho"), axes=(-2, -1))
            rows = image[:, : round(case.keep * image.shape[1])]
            sink.create_dataset(f"{index}", data=rows, chunks=rows.shape)
    with out.open("rb") as handle:
        os.fsync(handle.fileno())


def timed(function: Callable[..., None], *arguments: object) -> float:
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def compare(case: Case, rounds: int) -> tuple[float, dict[str, float]]:
    """Bytes of the raw file, median seconds of both."""
    dataset = Dataset(
        title="benchmark", source="manual", access="made here", format=case.format, licence="none", anatomy="brain",
        view=case.view, vendor="none", field_strength=3.0, role="benchmark",
    )  # fmt: skip
    seconds: dict[str, list[float]] = {"conversion": [], "plain": []}
    with tempfile.TemporaryDirectory() as folder:
        raw, ours, theirs = Path(folder, "raw.h5"), Path(folder, "ours.h5"), Path(folder, "plain.h5")
        case.make(raw)
        for _ in range(rounds + 1):
            seconds["plain"].append(timed(plain, case, raw, theirs))
            seconds["conversion"].append(timed(convert, raw, ours, "bench", dataset, "bench"))
        size = raw.stat().st_size
    return size, {name: statistics.median(values[1:]) for name, values in seconds.items()}  # the first warms up


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--format", action="append", choices=CASES, help="May be repeated; default: all.")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    slow = []
    for name in options.format or CASES:
        size, median = compare(CASES[name], options.rounds)
        share = median["plain"] / median["conversion"]
        print(f"{name}: raw file of {size / 2**20:.0f} MiB, median of {options.rounds}")
        for what, value in median.items():
            print(f"  {what:<10} {value:7.3f} s  {size / 2**20 / value:7.0f} MiB/s")
        print(f"  conversion runs at {share:.0%} of plain (target: at least {TARGET:.0%})", flush=True)
        slow += [name] if share < TARGET else []
    if slow:
        print(f"too slow: {', '.join(slow)}", file=sys.stderr)
    return bool(slow)


if __name__ == "__main__":
    sys.exit(main())
