"""k-space of a 3D acquisition: a slab that is excited as a whole and Fourier encoded along its thickness, too.

The slab is drawn as thin slices, not a whole number to a partition, each of which `acquire.scan` carries to k-space; a
discrete Fourier sum over them is the third encoding. The reconstruction's grid is coarser than what was scanned along
all three axes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from rekon.config.datasets import Simulation
from rekon.data.phantom.acquire import Anatomy, Scan, View, noise, rss, scan
from rekon.data.phantom.grids import dft

Readout = Literal["slices", "rows", "columns"]

# which axis of the slices is the readout; it alone is oversampled, unless it lies across the slices: what a readout
# does not see is then left undrawn
READOUT: dict[tuple[str, str], Readout] = {
    ("cc359", "axial"): "slices",
    ("cc359", "sagittal"): "rows",
    ("ahead", "axial"): "columns",
}
FORMATS = {name for name, _ in READOUT}
THIN = 1.5  # thin slices to a partition
EDGE = 0.06  # of the slab's thickness: over which its profile falls off
# raw units of a water magnetisation, such that volumes are about as bright as the real ones
UNIT = {"cc359": 2e8, "ahead": 1.2e11}


def scan_slab(
    anatomy: Anatomy,
    simulation: Simulation,
    contrast: str,
    coils: int,
    view: View,
    centre: tuple[float, float, float],
    rng: np.random.Generator,
    noise_rng: np.random.Generator,
    raw_format: str,
) -> Scan:
    """As `acquire.scan`, in 3D, with `simulation.slices` partitions of thickness `slice_gap`.

    The result's kspace and clean are (partition encoding, coil, H0, W0), centred, orthonormal, fully encoded and not
    scaled to the volume: echoes of a subject keep their ratio. Its image, maps, object, tissues and positions are those
    of the thin slices.
    """
    s, readout = simulation, READOUT[raw_format, view]
    count = round(THIN * s.slices)
    step = s.slices * s.slice_gap / count
    (height, width), (fov_h, fov_w) = s.matrix, s.fov
    wide = s.oversampling if readout == "columns" else 1
    thin = s.model_copy(
        update={
            "matrix": (height, width * wide),
            "fov": (fov_h, fov_w * wide),
            "phase_lines": width * wide,
            "oversampling": s.oversampling if readout == "rows" else 1,
            "slices": count,
            "slice_gap": step,
            "thickness": step,
            "snr": np.inf,
        }
    )
    drawn = scan(anatomy, thin, contrast, coils, view, centre, rng, subslices=2)

    depth = ((np.arange(count) - (count - 1) / 2) * step).astype(np.float32)
    slab = s.slices * s.slice_gap
    profile = 1 / (1 + np.exp((np.abs(depth) / slab - 0.5) / EDGE * 4))
    encode = dft(s.slices, depth, slab) * np.float32(step / s.slice_gap / np.sqrt(s.slices)) * profile
    clean = np.tensordot(encode.astype(np.complex64), drawn.clean, 1)
    clean *= np.float32(UNIT[raw_format] / drawn.gain)
    sigma = float(np.percentile(rss(_images(clean)), 99.0)) / s.snr
    return replace(drawn, kspace=clean + noise(noise_rng, clean.shape, sigma), clean=clean, noise=sigma)


def _images(kspace: np.ndarray) -> np.ndarray:
    axes = (0, 2, 3)
    return np.fft.fftshift(np.fft.ifftn(np.fft.ifftshift(kspace, axes), axes=axes, norm="ortho"), axes)
