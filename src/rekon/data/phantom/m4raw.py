"""M4Raw as its publishers write it: fastMRI's layout, one file per repetition, the scanner's oversampling removed.

The header is no valid ISMRMRD: every element has the prefix ns0, and `repetitionInformation`, which the schema does
not know, names the scan's files. Gradient echoes are stored with the axes exchanged, (slice, coil, phase, readout),
left and right exchanged, and the centre of k-space 45 samples late along the last axis.
"""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from rekon.data.phantom.acquire import rss
from rekon.data.phantom.measurement import Measurement
from rekon.data.phantom.names import repetitions
from rekon.hdf5 import create

LATE = 45  # samples
HEADER = """<ns0:ismrmrdHeader xmlns:ns0="http://www.ismrm.org/ISMRMRD">
  <ns0:acquisitionSystemInformation>
    <ns0:systemVendor>{vendor}</ns0:systemVendor>
    <ns0:systemFieldStrength_T>{field:g}</ns0:systemFieldStrength_T>
    <ns0:receiverChannels>{coils}</ns0:receiverChannels>
  </ns0:acquisitionSystemInformation>
  <ns0:encoding>
    <ns0:encodedSpace>
      <ns0:matrixSize><ns0:x>{x}</ns0:x><ns0:y>{y}</ns0:y><ns0:z>1</ns0:z></ns0:matrixSize>
      <ns0:fieldOfView_mm><ns0:x>{fov_x:g}</ns0:x><ns0:y>{fov_y:g}</ns0:y><ns0:z>{thickness:g}</ns0:z></ns0:fieldOfView_mm>
    </ns0:encodedSpace>
    <ns0:reconSpace>
      <ns0:matrixSize><ns0:x>{x}</ns0:x><ns0:y>{y}</ns0:y><ns0:z>1</ns0:z></ns0:matrixSize>
      <ns0:fieldOfView_mm><ns0:x>{fov_x:g}</ns0:x><ns0:y>{fov_y:g}</ns0:y><ns0:z>{thickness:g}</ns0:z></ns0:fieldOfView_mm>
    </ns0:reconSpace>
    <ns0:encodingLimits>
      <ns0:kspace_encoding_step_1>
        <ns0:minimum>0</ns0:minimum><ns0:maximum>{maximum}</ns0:maximum><ns0:center>{center}</ns0:center>
      </ns0:kspace_encoding_step_1>
    </ns0:encodingLimits>
    <ns0:trajectory>cartesian</ns0:trajectory>
  </ns0:encoding>
  <ns0:repetitionInformation>
    <ns0:repetition>{repetitions}</ns0:repetition>
  </ns0:repetitionInformation>
</ns0:ismrmrdHeader>
"""


def write(path: Path | str, measurement: Measurement) -> None:
    """Write one repetition atomically; equal measurements give equal bytes. Raises UserError when the disk is full."""
    m = measurement
    kspace = decimated(m.scan.kspace, m.simulation.matrix[0])
    if m.volume.contrast.endswith("GRE"):
        kspace = gradient_echo(kspace)
    images = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace, (-2, -1)), norm="ortho"), (-2, -1))
    magnitude = rss(images.astype(np.complex64))
    with create(path) as file:
        for name, data in (("kspace", kspace), ("reconstruction_rss", magnitude)):
            file.create_dataset(name, data=data, chunks=(1, *data.shape[1:]), track_times=False)
        file.create_dataset("ismrmrd_header", data=np.bytes_(header(m).encode("utf-8")), track_times=False)
        file.attrs["acquisition"] = m.volume.contrast
        file.attrs["max"] = float(magnitude.max())
        file.attrs["patient_id"] = m.volume.subject


def header(measurement: Measurement) -> str:
    """XML as it lies in the files; the limits are those of the whole matrix, zero padding included."""
    m, s = measurement, measurement.simulation
    names = (f"{name}.h5" for name in repetitions(m.volume.name, s))
    return HEADER.format(
        vendor=escape(m.vendor), field=s.field, coils=m.coils, x=s.matrix[0], y=s.matrix[1], fov_x=s.fov[0],
        fov_y=s.fov[1], thickness=s.thickness, maximum=s.matrix[1] - 1,
        center=s.matrix[1] // 2, repetitions="</ns0:repetition>\n    <ns0:repetition>".join(names),
    )  # fmt: skip


def decimated(kspace: NDArray[np.complex64], height: int) -> NDArray[np.complex64]:
    """K-space (..., H oversampled, W) of the middle `height` pixels along the readout; empty columns stay empty."""
    image = np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(kspace, -2), axis=-2, norm="ortho"), -2)
    start = image.shape[-2] // 2 - height // 2
    middle = np.fft.ifftshift(image[..., start : start + height, :], -2)
    return np.asarray(np.fft.fftshift(np.fft.fft(middle, axis=-2, norm="ortho"), -2), np.complex64)


def gradient_echo(kspace: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Centred k-space (..., readout, phase) to how gradient echoes are stored, (..., phase, readout)."""
    size = kspace.shape[-1]
    opposite = (size // 2 * 2 - np.arange(size)) % size  # the sample at -k, where the centre is at size // 2
    stored = np.swapaxes(kspace[..., opposite], -1, -2)
    return np.ascontiguousarray(np.roll(stored, LATE, axis=-1))
