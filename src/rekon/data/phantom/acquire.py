"""k-space of a subject, slice by slice: what a scanner would have measured, and what only a simulation knows.

The object is drawn on a grid GRID times finer than the image that will be reconstructed (and not a whole number of
times, with sub-slices through the thickness), multiplied by coil sensitivities there, and carried to k-space by a
discrete Fourier sum. So the reconstruction's own model, a product on the coarse grid, holds only approximately, as in
a scanner: no inverse crime.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from rekon.config.datasets import Simulation
from rekon.data.phantom import coils as receive
from rekon.data.phantom.grids import (
    Complex,
    Floats,
    carry,
    centred_image,
    dft,
    fine_positions,
    image_positions,
    on_plane,
    spline_matrix,
    wider,
)
from rekon.data.phantom.signal import refocused, signal
from rekon.data.phantom.tissue import FAT, relaxation

View = Literal["axial", "sagittal", "coronal"]

GRID = 2.06  # object samples per image sample
# of the readout's field of view that is drawn: below the head, and above and below the knee, the body goes on
BEYOND = {"axial": 1.12, "sagittal": 1.4, "coronal": 1.4}
SUBSLICES = 3
SMOOTH = 6  # object samples per sample of phase and off-resonance; splines do the rest
COIL_GRID = 30  # samples per axis at which sensitivities are computed; likewise
GYROMAGNETIC = 42.577  # MHz/T
FAT_SHIFT = 3.4  # ppm
BANDWIDTH = 50e3  # Hz over the image along the readout at 3 T; scanners widen it with the field
SCALE = 4e-4  # of the brightest tissue, arbitrary units; of the order of fastMRI's

# rows (readout, H) and columns (phase encoding, W) of an image, and the normal, in right-anterior-superior axes.
# Radiological convention: the patient's right is on the left, anterior at the top or left, superior at the top.
AXES: dict[str, tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]]] = {
    "axial": ((0, -1, 0), (-1, 0, 0), (0, 0, 1)),
    "sagittal": ((0, 0, -1), (0, -1, 0), (1, 0, 0)),
    "coronal": ((0, 0, -1), (-1, 0, 0), (0, 1, 0)),
}


class Anatomy(Protocol):
    """A subject to be scanned; positions are scanner mm, right-anterior-superior."""

    def fractions(self, points: Floats, through: Floats) -> Floats:
        """Tissue fractions (tissue, h, w) on a plane of points (h, w, 3), averaged over offsets `through` (k, 3)."""

    def off_resonance(self, points: Floats) -> Floats:
        """B0 deviation (...) in ppm at points (..., 3)."""


@dataclass(frozen=True)
class Scan:
    """One volume, measured and true. H0: oversampled readout; h, w: the fine grid, which reaches beyond the image."""

    kspace: Complex  # (slice, coil, H0, W), with noise; phase encodes that were not acquired are 0
    clean: Complex  # (slice, coil, H0, W), without noise, all phase encodes
    image: Complex  # (slice, H, W), the object as one perfect coil would image it with all phase encodes
    maps: Complex  # (slice, coil, H, W), sensitivities at the image's samples
    object: Complex  # (slice, h, w), what was scanned
    tissues: Floats  # (tissue, slice, h, w), fractions in the order of tissue.NAMES
    noise: float  # standard deviation of the complex noise in k-space and, orthonormal FFT, in each coil image
    positions: Floats  # (slice, h, w, 3), mm
    gain: float  # what signals, as fractions of a water magnetisation, were multiplied by


def scan(
    anatomy: Anatomy,
    simulation: Simulation,
    contrast: str,
    coils: int,
    view: View,
    centre: tuple[float, float, float],
    rng: np.random.Generator,
    subslices: int = SUBSLICES,
) -> Scan:
    """Acquire one volume.

    contrast: key of `simulation.sequences`; coils: how many; centre: mm, of the volume; rng: the acquisition's
    stream (receive array, phase, tissue properties, noise); subslices: at least 2, drawn through a slice's thickness.
    """
    sequence = simulation.sequences[contrast]
    tissue = relaxation(simulation.field, sequence.contrast_agent, rng)
    strength = signal(sequence, tissue).astype(np.float32)
    (H, W), (rows, columns, normal) = simulation.matrix, AXES[view]
    beyond = min(BEYOND[view], simulation.oversampling)
    x_H = fine_positions(H, simulation.fov[0], GRID, beyond)
    x_W = fine_positions(W, simulation.fov[1], GRID, 1.0)
    H0 = H * simulation.oversampling
    to_H = dft(H0, x_H, simulation.fov[0] * simulation.oversampling)
    to_W_T = np.ascontiguousarray(dft(W, x_W, simulation.fov[1]).T)
    # an integral over the object becomes a sum over its samples; orthonormal FFT of the image
    cell = (x_H[1] - x_H[0]) * (x_W[1] - x_W[0]) / (simulation.fov[0] / H * simulation.fov[1] / W)
    to_H *= np.float32(cell / np.sqrt(H0 * W))
    u = [np.asarray(axis, np.float32) for axis in (rows, columns, normal)]
    plane = x_H[:, None, None] * u[0] + x_W[None, :, None] * u[1]
    half = (subslices - 1) / 2
    depth = (np.arange(subslices) - half) / subslices * simulation.thickness
    through = (depth[:, None] * u[2]).astype(np.float32)
    phase = SmoothPhase(rng, np.linalg.norm(plane, axis=-1).max())
    taper = excitation(x_H, simulation.fov[0])[:, None]

    # sensitivities on a coarse grid that spans the drawn region; splines carry them to the object and to the image
    c_H, c_W = (wider(x[0], x[-1], COIL_GRID) for x in (x_H, x_W))
    i_H, i_W = image_positions(H, simulation.fov[0]), image_positions(W, simulation.fov[1])
    fine = spline_matrix(c_H, x_H), spline_matrix(c_W, x_W)
    coarse = spline_matrix(c_H, i_H), spline_matrix(c_W, i_W)
    offsets = (np.arange(simulation.slices) - (simulation.slices - 1) / 2) * simulation.slice_gap
    place = np.asarray(centre, float) + offsets[:, None] * u[2]
    corners = c_H[:, None, None] * u[0] + c_W[None, :, None] * u[1]
    sites = place[:, None, None, :] + corners
    coarse_maps = receive.sensitivities(sites, coils, simulation.coil_distance, rng)

    hz_per_ppm = GYROMAGNETIC * simulation.field
    shift = round(
        FAT_SHIFT * hz_per_ppm / (BANDWIDTH * simulation.field / 3) * H * GRID
    )  # fine samples, chemical shift
    shape = (simulation.slices, len(x_H), len(x_W))
    objects = np.empty(shape, np.complex64)
    tissues = np.empty((len(FAT), *shape), np.float32)
    positions = (place[:, None, None, :] + plane).astype(np.float32)
    clean = np.empty((simulation.slices, coils, H0, W), np.complex64)
    image = np.empty((simulation.slices, H, W), np.complex64)
    maps = np.empty((simulation.slices, coils, H, W), np.complex64)
    for s in range(simulation.slices):
        plane_s = positions[s]
        fractions = anatomy.fractions(plane_s, through)
        tissues[:, s] = fractions
        magnitude = np.tensordot(strength * ~FAT, fractions, 1)
        fat = np.tensordot(strength * FAT, fractions, 1)
        magnitude[shift:] += fat[: len(x_H) - shift]
        angle = on_plane(phase, plane_s, SMOOTH)
        if not refocused(sequence):
            turns = np.float32(hz_per_ppm * sequence.te / 1000)  # per ppm
            above, below = (on_plane(anatomy.off_resonance, plane_s + end, SMOOTH) for end in (through[0], through[-1]))
            # through the slice the phase spreads; in the plane the grid is fine enough to show it by itself
            magnitude *= np.sinc(turns * (above - below) * np.float32(subslices / (subslices - 1)))
            angle = angle + np.float32(np.pi) * turns * (above + below)
        objects[s] = magnitude * taper * np.exp(1j * angle)
        for c in range(coils):  # one by one: small arrays stay in the cache and are not paged in anew
            np.matmul(to_H, (carry(coarse_maps[c, s], *fine) * objects[s]) @ to_W_T, out=clean[s, c])
        image[s] = centred_image(to_H @ (objects[s] @ to_W_T), H)
        maps[s] = carry(coarse_maps[:, s], *coarse)
    gain = SCALE * np.exp(rng.normal(0, 0.12)) / np.percentile(np.abs(image) * rss(maps), 99.5)
    for array in (clean, image, objects):
        array *= np.float32(gain)
    sigma = brightest(image, maps) / simulation.snr
    kspace = measured(clean, sigma, simulation.phase_lines, rng)
    return Scan(kspace, clean, image, maps, objects, tissues, sigma, positions, float(gain))


def measured(clean: Complex, sigma: float, phase_lines: int, rng: np.random.Generator) -> Complex:
    """One acquisition of noise-free k-space (slice, coil, H0, W): with noise, and 0 where no line is acquired."""
    kspace = clean + noise(rng, clean.shape, sigma)
    first = clean.shape[-1] // 2 - phase_lines // 2
    kspace[..., :first] = 0
    kspace[..., first + phase_lines :] = 0
    return kspace


def rss(images: Complex, axis: int = -3) -> Floats:
    """Root of the sum of squares over coils, float32."""
    return np.sqrt(np.sum(images.real**2 + images.imag**2, axis=axis))


def brightest(image: Complex, maps: Complex) -> float:
    """Signal of the brightest tissue in the root-sum-of-squares image: a high percentile, which skips specks."""
    return float(np.percentile(np.abs(image) * rss(maps), 99.0))


def excitation(x: Floats, fov: float) -> Floats:
    """Signal along the readout: full inside the field of view, gone where the transmit coil ends."""
    return (1 / (1 + np.exp((np.abs(x) / fov - 0.62) / 0.025))).astype(np.float32)


class SmoothPhase:
    """Random object phase in radians: a constant, a gradient, and curvature of about a radian across the object."""

    def __init__(self, rng: np.random.Generator, radius: float) -> None:
        self.radius = np.float32(radius)
        self.constant = np.float32(rng.uniform(-np.pi, np.pi))
        self.linear = rng.normal(0, 0.6, 3).astype(np.float32)
        self.square = rng.normal(0, 0.5, (3, 3)).astype(np.float32)

    def __call__(self, points: Floats) -> Floats:
        """Phase (...) at points (..., 3)."""
        p = points / self.radius
        return self.constant + p @ self.linear + np.sum((p @ self.square) * p, axis=-1)


def noise(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> Complex:
    """Complex Gaussian noise (slice, coil, H, W), correlated between coils; standard deviation `sigma` in every coil.

    The standard deviation of the complex number: sigma² = E|n|².
    """
    factor = receive.noise_factor(shape[1]).astype(np.complex64)
    out = np.empty(shape, np.complex64)
    for s in range(shape[0]):
        pair = rng.standard_normal((2, shape[1], shape[2] * shape[3]), dtype=np.float32)
        white = (pair[0] + 1j * pair[1]) * np.float32(sigma / np.sqrt(2))
        out[s] = (factor @ white).reshape(shape[1:])
    return out
