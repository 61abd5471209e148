"""Fixtures of the data tests."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from samples import head, make_dataset, write_fastmri

from rekon.data.summarise import summarise
from rekon.data.volume import write_volume
from rekon.physics.fft import centre_pad, fft2c, ifft2c

torch.set_num_threads(1)


@pytest.fixture
def kspace() -> np.ndarray:
    return head()


@pytest.fixture
def fastmri_file(tmp_path: Path) -> Path:
    """Twice oversampled readout (64 -> 32), 40 columns of which 4 to 35 are acquired."""
    wide = fft2c(centre_pad(ifft2c(head()), (64, 40)))
    wide[..., :4] = 0
    wide[..., 36:] = 0
    path = tmp_path / "raw.h5"
    write_fastmri(path, wide, (32, 36), (4, 36))
    return path


@pytest.fixture
def manifest(tmp_path: Path):
    """Function that writes volumes of the given shapes, and their manifest."""

    def make(*shapes: tuple[int, int, int, int], attrs: dict | None = None, mask=None, **dataset: object) -> Path:
        paths = []
        for number, shape in enumerate(shapes):
            path = tmp_path / f"v{number}.h5"
            values = head(*shape, seed=number) * (number + 1)
            given = {"patient_id": f"p{number}", "acquisition": "AXT1", **(attrs or {})}
            write_volume(path, values if mask is None else values * mask, attrs=given)
            paths.append(path)
        out = tmp_path / "test.json"
        summarise("set", "test", make_dataset(**dataset), paths, out)
        return out

    return make


@pytest.fixture
def real_data() -> Path:
    """Folder with the real sets, laid out as config/datasets.yaml mirrors them."""
    folder = os.environ.get("REKON_REAL_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("REKON_REAL_DATA names no folder with the real data sets")
    return Path(folder)
