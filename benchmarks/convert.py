"""Conversion against plain h5py read + FFT + write of the same bytes, in one run.

    python benchmarks/convert.py [--format fastmri] [--slices 8] [--coils 16] [--rows 640] [--columns 320] [--rounds 5]

Makes a fastMRI file, or one of CC-359 (then: readout positions, coils, ky, kz) that is converted to axial or sagittal
slices, alternates the two and prints both medians and their ratio; the target is at least 50 %.
Plain: read each slice, one centred 2-D inverse FFT of what was read, write as many bytes per slice as the conversion
writes, sync to disk. The conversion also removes the readout oversampling, makes the RSS reference, checks every value
and hashes the raw file; for sagittal slices it turns the volume on the disk.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import scipy.fft

from rekon.config.datasets import Dataset
from rekon.data.convert import convert
from rekon.data.header import Header


def make_raw(path: Path, shape: tuple[int, int, int, int]) -> None:
    slices, coils, rows, columns = shape
    rng = np.random.default_rng(0)
    header = Header((rows, columns), (rows // 2, columns), columns // 2, columns - 1, coils=coils)
    with h5py.File(path, "w") as file:
        file["ismrmrd_header"] = header.xml()
        kspace = file.create_dataset("kspace", shape, np.complex64, chunks=(1, coils, rows, columns))
        for index in range(slices):
            parts = rng.standard_normal((coils, rows, columns, 2), dtype=np.float32)
            kspace[index] = parts.view(np.complex64)[..., 0]
        file.attrs["acquisition"] = "AXT2"
        file.attrs["patient_id"] = "bench"


def make_cc359(path: Path, shape: tuple[int, int, int, int]) -> None:
    positions, coils, ky, kz = shape
    rng = np.random.default_rng(0)
    centre = np.exp(-(np.linspace(-4, 4, ky)[:, None] ** 2) - np.linspace(-4, 4, kz) ** 2)[..., None]
    with h5py.File(path, "w") as file:
        kspace = file.create_dataset("kspace", (positions, ky, kz, 2 * coils), np.float32)
        for index in range(positions):
            kspace[index] = rng.standard_normal((ky, kz, 2 * coils), dtype=np.float32) * centre


def plain_cc359(raw: Path, out: Path) -> None:
    with h5py.File(raw, "r") as source, h5py.File(out, "w") as sink:
        positions, ky, kz, parts = source["kspace"].shape
        shape = (parts // 2, ky, kz)
        kspace = sink.create_dataset("kspace", (positions, *shape), np.complex64, chunks=(1, *shape))
        for index in range(positions):
            one = np.moveaxis(source["kspace"][index].view(np.complex64), -1, 0)
            one = np.fft.ifftshift(one, axes=(-2, -1))
            kspace[index] = np.fft.fftshift(scipy.fft.ifft2(one, norm="ortho"), axes=(-2, -1))
    with out.open("rb") as handle:
        os.fsync(handle.fileno())


def plain(raw: Path, out: Path) -> None:
    with h5py.File(raw, "r") as source, h5py.File(out, "w") as sink:
        slices, coils, rows, columns = source["kspace"].shape
        kspace = sink.create_dataset(
            "kspace", (slices, coils, rows // 2, columns), np.complex64, chunks=(1, coils, rows // 2, columns)
        )
        for index in range(slices):
            one = np.fft.ifftshift(source["kspace"][index], axes=(-2, -1))
            image = np.fft.fftshift(scipy.fft.ifft2(one, norm="ortho"), axes=(-2, -1))
            kspace[index] = image[:, : rows // 2]
    with out.open("rb") as handle:
        os.fsync(handle.fileno())


def timed(function, *arguments) -> float:
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("slices", 8), ("coils", 16), ("rows", 640), ("columns", 320), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--format", choices=("fastmri", "cc359-axial", "cc359-sagittal"), default="fastmri")
    options = parser.parse_args()
    raw_format, _, view = options.format.partition("-")
    shape = (options.slices, options.coils, options.rows, options.columns)
    dataset = Dataset(
        title="benchmark", source="manual", access="made here", format=raw_format, licence="none", anatomy="brain",
        view=view or "axial", vendor="none", field_strength=3.0, role="benchmark",
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        raw, ours, theirs = Path(folder, "raw.h5"), Path(folder, "ours.h5"), Path(folder, "plain.h5")
        make, compared = (make_cc359, plain_cc359) if raw_format == "cc359" else (make_raw, plain)
        make(raw, shape)
        seconds: dict[str, list[float]] = {"conversion": [], "plain": []}
        for _ in range(options.rounds + 1):
            seconds["plain"].append(timed(compared, raw, theirs))
            seconds["conversion"].append(timed(convert, raw, ours, "bench", dataset, "bench"))
        megabytes = raw.stat().st_size / 2**20
    median = {name: statistics.median(values[1:]) for name, values in seconds.items()}  # the first round warms up
    print(f"raw file {shape}, {megabytes:.0f} MiB, median of {options.rounds}")
    for name, value in median.items():
        print(f"  {name:<10} {value:7.3f} s  {megabytes / value:7.0f} MiB/s")
    print(f"  conversion runs at {100 * median['plain'] / median['conversion']:.0f} % of plain (target: at least 50 %)")


if __name__ == "__main__":
    main()
