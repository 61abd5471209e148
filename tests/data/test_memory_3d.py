"""Readers of 3D files need little memory, however large the file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import ismrmrd
import numpy as np
import pytest
import test_ahead
import test_cc359

from rekon.data.formats.out_of_core import BLOCK

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")

CODE = """
import json, sys
import rekon.data.formats.out_of_core as out_of_core
out_of_core.BLOCK = int(sys.argv[4])
from rekon.config import Dataset
from rekon.config.base import check
from rekon.data.convert import convert
entry = check(Dataset, json.loads(sys.argv[3]), "the test")
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
before = peak()
convert(sys.argv[1], sys.argv[2], "set", entry, "v")
print(before, peak())
"""


def peak_memory(path: Path, out: Path, entry, block: int = 2**22, all_of_it: bool = False) -> int:
    """Bytes that a conversion in blocks of so many bytes needs beyond the loaded program, or with it."""
    command = [sys.executable, "-c", CODE.replace("import json", "import json, ismrmrd, ismrmrd.xsd", 1)]
    ran = subprocess.run([*command, path, out, entry.model_dump_json(), str(block)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    before, peak = (1024 * int(number) for number in ran.stdout.split())
    return peak if all_of_it else peak - before


def test_sagittal_slices_do_not_need_the_volume_in_memory(tmp_path):
    """A quarter of the file is enough for what does not grow with it, and nothing is left beside the output."""
    shape = (96, 128, 96, 16)
    path, out = tmp_path / "v.h5", tmp_path / "out" / "v.h5"
    with h5py.File(path, "w") as file:
        stored = file.create_dataset("kspace", (*shape[:3], 2 * shape[3]), np.float32)
        one = test_cc359.raw_array(test_cc359.images((1, *shape[1:3], 1)))
        for x in range(shape[0]):
            stored[x] = np.tile(one[0], shape[3])
    assert peak_memory(path, out, test_cc359.dataset("sagittal", drop=(20, 20))) < path.stat().st_size / 4
    assert [item.name for item in out.parent.iterdir()] == ["v.h5"]


def test_slices_of_32_coils_do_not_need_the_volume_in_memory(tmp_path):
    k = np.repeat(test_ahead.kspace_of(test_ahead.coil_images((48, 48, 64, 1))), 32, axis=0)
    path, out = test_ahead.write(tmp_path / "v.h5", k, 48), tmp_path / "out" / "v.h5"
    assert path.stat().st_size > 70e6
    assert peak_memory(path, out, test_ahead.dataset(drop=(8, 8))) < path.stat().st_size / 2
    assert [item.name for item in out.parent.iterdir()] == ["v.h5"]


def write_lines(path: Path, ky: int, kz: int = 32, coils: int = 32, samples: int = 480) -> Path:
    """An AHEAD file as `test_ahead.write` makes it, a partition at a time; every line is the same but for its size."""
    given = test_ahead.header((coils, samples, ky, kz), samples)
    form, rng = ismrmrd.hdf5.acquisition_dtype, np.random.default_rng(0)
    line = rng.standard_normal(2 * coils * samples, np.float32)
    with h5py.File(path, "w") as file:
        file["dataset/xml"] = np.array([ismrmrd.xsd.ToXML(given)], h5py.string_dtype())
        data = file.create_dataset("dataset/data", (ky * kz,), form)
        for z in range(kz):
            rows = np.zeros(ky, form)
            rows["head"]["number_of_samples"], rows["head"]["active_channels"] = samples, coils
            rows["head"]["idx"]["kspace_encode_step_1"] = np.arange(ky)
            rows["head"]["idx"]["kspace_encode_step_2"] = z
            for y in range(ky):
                weight = np.exp(-0.1 * abs(y - ky // 2) - 0.1 * abs(z - kz // 2))
                rows["data"][y], rows["traj"][y] = line * np.float32(weight), np.zeros(0, np.float32)
            data[z * ky : (z + 1) * ky] = rows
    return path


def test_blocks_as_shipped_stay_below_two_gigabytes_however_long_the_file(tmp_path):
    """32 coils of 480 samples; the shorter file fills a block already, the longer one is twice as large."""
    entry, peaks, sizes = test_ahead.dataset(drop=(15, 15)), [], []
    for name, ky in (("short", 28), ("long", 56)):
        path = write_lines(tmp_path / f"{name}.h5", ky)
        sizes.append(path.stat().st_size)
        peaks.append(peak_memory(path, tmp_path / "out.h5", entry, BLOCK, all_of_it=True))
        path.unlink()
    assert sizes[0] > BLOCK and sizes[1] > 1.9 * sizes[0]
    assert max(peaks) < 2 * 2**30
    assert peaks[1] - peaks[0] < 0.1 * (sizes[1] - sizes[0]), "memory grows with the file"
