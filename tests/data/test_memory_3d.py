"""Readers of 3D files need little memory, however large the file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import test_ahead
import test_cc359

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")

CODE = """
import json, sys
import rekon.data.formats.out_of_core as out_of_core
out_of_core.BLOCK = 2**22
from rekon.config import Dataset
from rekon.config.base import check
from rekon.data.convert import convert
entry = check(Dataset, json.loads(sys.argv[3]), "the test")
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
before = peak()
convert(sys.argv[1], sys.argv[2], "set", entry, "v")
print(peak() - before)
"""


def peak_memory(path: Path, out: Path, entry) -> int:
    """Bytes that a conversion in blocks of 4 MiB needs beyond the loaded program."""
    command = [sys.executable, "-c", CODE.replace("import json", "import json, ismrmrd, ismrmrd.xsd", 1)]
    ran = subprocess.run([*command, path, out, entry.model_dump_json()], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return 1024 * int(ran.stdout)


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
