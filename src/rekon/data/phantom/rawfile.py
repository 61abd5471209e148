"""fastMRI's raw file: HDF5 with `kspace`, `reconstruction_rss`, `ismrmrd_header` and four attributes."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np

from rekon.config.datasets import Simulation
from rekon.data.phantom.acquire import rss
from rekon.data.phantom.grids import centred_image
from rekon.data.phantom.measurement import Measurement
from rekon.hdf5 import create

HEADER = """<?xml version="1.0"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
  <studyInformation><studyDescription>simulated</studyDescription></studyInformation>
  <measurementInformation>
    <protocolName>{contrast}</protocolName>
  </measurementInformation>
  <acquisitionSystemInformation>
    <systemVendor>{vendor}</systemVendor>
    <systemModel>simulation</systemModel>
    <systemFieldStrength_T>{field}</systemFieldStrength_T>
    <receiverChannels>{coils}</receiverChannels>
  </acquisitionSystemInformation>
  <experimentalConditions>
    <H1resonanceFrequency_Hz>{frequency}</H1resonanceFrequency_Hz>
  </experimentalConditions>
  <encoding>
    <encodedSpace>
      <matrixSize><x>{enc_x}</x><y>{enc_y}</y><z>1</z></matrixSize>
      <fieldOfView_mm><x>{fov_enc_x}</x><y>{fov_y}</y><z>{thickness}</z></fieldOfView_mm>
    </encodedSpace>
    <reconSpace>
      <matrixSize><x>{rec_x}</x><y>{rec_y}</y><z>1</z></matrixSize>
      <fieldOfView_mm><x>{fov_x}</x><y>{fov_y}</y><z>{thickness}</z></fieldOfView_mm>
    </reconSpace>
    <encodingLimits>
      <kspace_encoding_step_0><minimum>0</minimum><maximum>{max_x}</maximum><center>{mid_x}</center></kspace_encoding_step_0>
      <kspace_encoding_step_1><minimum>0</minimum><maximum>{max_y}</maximum><center>{mid_y}</center></kspace_encoding_step_1>
      <slice><minimum>0</minimum><maximum>{max_s}</maximum><center>{mid_s}</center></slice>
    </encodingLimits>
    <trajectory>cartesian</trajectory>
  </encoding>
  <sequenceParameters>
    <TR>{tr}</TR>
    <TE>{te}</TE>{ti}
    <flipAngle_deg>{flip}</flipAngle_deg>
  </sequenceParameters>
</ismrmrdHeader>
"""


def header(simulation: Simulation, contrast: str, coils: int, vendor: str) -> str:
    """ISMRMRD header (XML) of a simulated volume.

    encodedSpace is the oversampled matrix, reconSpace the image's; encodingLimits tell which phase encodes were
    acquired: columns W//2 - center to W//2 - center + maximum, the rest is zero padding (fastMRI's reading).
    """
    s, sequence = simulation, simulation.sequences[contrast]
    ti = f"\n    <TI>{sequence.ti:g}</TI>" if sequence.ti is not None else ""
    fields: dict[str, Any] = {
        "contrast": contrast, "vendor": escape(vendor), "field": f"{s.field:g}", "coils": coils,
        "frequency": round(s.field * 42.577478e6),
        "enc_x": s.matrix[0] * s.oversampling, "enc_y": s.matrix[1], "rec_x": s.matrix[0], "rec_y": s.matrix[1],
        "fov_enc_x": f"{s.fov[0] * s.oversampling:g}", "fov_x": f"{s.fov[0]:g}", "fov_y": f"{s.fov[1]:g}",
        "thickness": f"{s.thickness:g}", "max_x": s.matrix[0] * s.oversampling - 1,
        "mid_x": s.matrix[0] * s.oversampling // 2, "max_y": s.phase_lines - 1, "mid_y": s.phase_lines // 2,
        "max_s": s.slices - 1, "mid_s": s.slices // 2,
        "tr": f"{sequence.tr:g}", "te": f"{sequence.te:g}", "ti": ti, "flip": f"{sequence.flip:g}",
    }  # fmt: skip
    return HEADER.format(**fields)


def write(path: Path | str, measurement: Measurement) -> None:
    """Write a raw volume atomically; equal measurements give equal bytes. Raises UserError when the disk is full."""
    m, kspace = measurement, measurement.scan.kspace
    images = np.stack([rss(centred_image(one, m.simulation.matrix[0])) for one in kspace])  # (slice, H, W)
    text = np.bytes_(header(m.simulation, m.volume.contrast, m.coils, m.vendor).encode("utf-8"))
    with create(path) as file:
        for name, data in (("kspace", kspace), ("reconstruction_rss", images)):
            file.create_dataset(name, data=data, chunks=(1, *data.shape[1:]), track_times=False)
        file.create_dataset("ismrmrd_header", data=text, track_times=False)
        file.attrs["acquisition"] = m.volume.contrast
        file.attrs["max"] = float(images.max())
        file.attrs["norm"] = float(np.linalg.norm(images.astype(np.float64)))
        file.attrs["patient_id"] = m.volume.subject
