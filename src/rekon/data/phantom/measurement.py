"""What a writer of a raw format is given: a scan, and what a scanner would note about it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rekon.config.datasets import Sequence, Simulation
from rekon.data.phantom.acquire import Scan, View
from rekon.data.phantom.names import VolumeId


@dataclass(frozen=True)
class Measurement:
    """One volume to be written.

    scan.kspace: complex64 (slice, coil, H oversampled, W), centred, orthonormal FFT, phase encodes that were not
    acquired are 0; of a 3D format as `slab.scan_slab` gives it. rng: for what a scanner adds and its format keeps
    (receiver gains, echo phases, ...); equal generators give equal files.
    """

    scan: Scan
    simulation: Simulation
    volume: VolumeId
    vendor: str
    rng: np.random.Generator
    view: View = "axial"

    @property
    def sequence(self) -> Sequence:
        return self.simulation.sequences[self.volume.contrast]

    @property
    def coils(self) -> int:
        return int(self.scan.kspace.shape[1])
