"""AHEAD: ISMRMRD of a Philips 3D MP2RAGEME, one echo a file.

A readout along x (from side to side, oversampled) at every ky (front to back, kspace_encode_step_1) and kz (along the
body, kspace_encode_step_2), one partition after the other; first a noise scan.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rekon.data.phantom.measurement import Measurement
from rekon.data.phantom.mrd import acquisition, header, write_file

if TYPE_CHECKING:
    import ismrmrd


def write(path: Path | str, measurement: Measurement) -> None:
    """Write a file atomically; equal measurements give equal bytes. Raises UserError when the disk is full."""
    m, s = measurement, measurement.simulation
    partitions, _, rows, samples = m.scan.kspace.shape
    head = header(
        m, (samples, rows, partitions), (s.matrix[1], rows, partitions), (s.fov[1], s.fov[0], partitions * s.slice_gap),
        kspace_encoding_step_1=(rows - 1, rows // 2), kspace_encoding_step_2=(partitions - 1, partitions // 2),
    )  # fmt: skip
    write_file(path, head, list(_acquisitions(m)))


def _acquisitions(m: Measurement) -> Iterator[ismrmrd.Acquisition]:
    import ismrmrd

    partitions, coils, rows, samples = m.scan.kspace.shape
    pair = m.rng.standard_normal((2, coils, samples)) * m.scan.noise / np.sqrt(2)
    silence = acquisition(pair[0] + 1j * pair[1], 0)
    silence.setFlag(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
    yield silence
    for kz in range(partitions):
        for ky in range(rows):
            line = m.scan.kspace[kz, :, ky]
            one = acquisition(line, 1 + kz * rows + ky, kspace_encode_step_1=ky, kspace_encode_step_2=kz)
            # left-posterior-superior: x to the left, y to the back, z to the head
            one.read_dir[:], one.phase_dir[:], one.slice_dir[:] = (1, 0, 0), (0, 1, 0), (0, 0, 1)
            if kz == partitions - 1 and ky == rows - 1:
                one.setFlag(ismrmrd.ACQ_LAST_IN_MEASUREMENT)
            yield one
