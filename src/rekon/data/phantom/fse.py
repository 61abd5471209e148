"""2D fast spin echo as GE scanners write it and mridata.org publishes it: ISMRMRD with what the scanner left in.

    chop          excitations alternate in sign: view ky carries (-1)^ky; the header says ChopY = 0
    gains         receivers amplify differently; array `rec_std` holds the noise of each
    echo trains   views of a band of k-space share an echo number (`segment`); each echo has a constant and a linear
                  phase along the readout. After the last view every echo is acquired once more without phase encoding.

Undone as published (weights 1 / rec_std with sum of squares 1, phases relative to the first echo), the complex k-space
of the measurement is back.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rekon.data.phantom.measurement import Measurement
from rekon.data.phantom.mrd import acquisition, header, write_file

ECHOES = 8  # per train
CONSTANT, SLOPE = 0.35, 1.2  # rad, rad over the readout: of the phase of odd echoes against even ones
SPREAD = 0.25  # of the logarithm of a receiver's gain


def write(path: Path | str, measurement: Measurement) -> None:
    """Write a 2D FSE file atomically; equal measurements give equal bytes. Raises UserError when the disk is full."""
    import ismrmrd
    from ismrmrd import xsd

    m, s = measurement, measurement.simulation
    slices, coils, samples, columns = m.scan.kspace.shape
    first, trains = columns // 2 - s.phase_lines // 2, -(-s.phase_lines // ECHOES)
    gains = np.exp(m.rng.normal(0, SPREAD, coils))
    gains *= np.linalg.norm(1 / gains)  # then dividing by the noise, with normalised weights, gives the measured values
    phases = echo_phases(m.rng, samples)

    head = header(
        m, (samples, columns, 1), (s.matrix[0], columns, 1), (s.fov[0], s.fov[1], s.thickness),
        kspace_encoding_step_1=(s.phase_lines - 1, s.phase_lines // 2), slice=(slices - 1, slices // 2),
        segment=(ECHOES - 1, 0),
    )  # fmt: skip
    head.encoding[0].echoTrainLength = ECHOES
    head.userParameters = xsd.userParametersType(
        userParameterLong=[
            xsd.userParameterLongType(name=name, value=value)
            for name, value in (("ChopX", 1), ("ChopY", 0), ("ChopZ", 1))
        ]
    )

    def view(line: np.ndarray, ky: int, echo: int, index: int, number: int) -> ismrmrd.Acquisition:
        seen = distorted(line, phases[echo]) * gains[:, None] * (-1) ** ky
        one = acquisition(seen, number, kspace_encode_step_1=ky, slice=index, segment=echo)
        read, phase, normal = directions(m.scan.positions[index])
        one.read_dir[:], one.phase_dir[:], one.slice_dir[:] = read, phase, normal
        one.position[:] = to_lps(m.scan.positions[index].mean(axis=(0, 1)))
        return one

    acquisitions: list[ismrmrd.Acquisition] = []
    for index in range(slices):
        for train in range(trains):
            for echo in range(ECHOES):  # the band of each echo, one view a train
                ky = echo * trains + train
                if ky < s.phase_lines:
                    line = m.scan.kspace[index, :, :, first + ky]
                    acquisitions.append(view(line, ky, echo, index, len(acquisitions)))
        for echo in range(ECHOES):
            # averaged over many trains, so without noise
            line = m.scan.clean[index, :, :, columns // 2]
            acquisitions.append(view(line, s.phase_lines + echo, echo, index, len(acquisitions)))
        acquisitions[-1].setFlag(ismrmrd.ACQ_LAST_IN_SLICE)
    acquisitions[-1].setFlag(ismrmrd.ACQ_LAST_IN_MEASUREMENT)
    write_file(path, head, acquisitions, {"rec_std": (gains * m.scan.noise).astype(np.float32)})


def echo_phases(rng: np.random.Generator, samples: int) -> np.ndarray:
    """Phase (echo, readout) in rad of each echo against the first; pixels in the order of the discrete transform."""
    x = np.fft.fftfreq(samples)  # fractions of the readout
    odd = np.arange(ECHOES) % 2
    constant = CONSTANT * odd + rng.normal(0, 0.1, ECHOES)
    slope = SLOPE * odd + rng.normal(0, 0.3, ECHOES)
    constant[0] = slope[0] = 0
    return np.asarray(constant[:, None] + slope[:, None] * x)


def distorted(line: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """Readouts (coil, sample) with `phase` (pixel) on their image."""
    image = np.fft.ifft(np.fft.ifftshift(line, -1))
    return np.asarray(np.fft.fftshift(np.fft.fft(image * np.exp(1j * phase)), -1))


def directions(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors of readout, phase encoding and slice of a plane (h, w, 3) mm, in left-posterior-superior axes."""
    read, phase = to_lps(positions[-1, 0] - positions[0, 0]), to_lps(positions[0, -1] - positions[0, 0])
    read, phase = read / np.linalg.norm(read), phase / np.linalg.norm(phase)
    return read, phase, np.cross(read, phase)


def to_lps(vector: np.ndarray) -> np.ndarray:
    """Right-anterior-superior to ISMRMRD's left-posterior-superior axes."""
    return vector.astype(np.float64) * (-1, -1, 1)
