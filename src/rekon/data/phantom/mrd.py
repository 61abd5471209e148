"""What the simulated ISMRMRD files of all sets have in common; the format's own library writes and validates them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rekon.data.phantom.measurement import Measurement
from rekon.hdf5 import create

if TYPE_CHECKING:
    import ismrmrd
    from ismrmrd.xsd import ismrmrdHeader

PROTON = 42.577478518e6  # Hz/T
Size = tuple[int, int, int]


def header(
    measurement: Measurement, encoded: Size, recon: Size, fov: tuple[float, float, float], **limits: tuple[int, int]
) -> ismrmrdHeader:
    """Header of a Cartesian scan.

    encoded, recon: matrices (x readout, y, z); fov: of `recon`, mm, pixels of both spaces are equal. limits: encoding
    counter -> (maximum, center), minimum 0; counters that are not named stay at 0.
    """
    from ismrmrd import xsd

    def space(size: Size) -> xsd.encodingSpaceType:
        mm = [whole * n / m for whole, n, m in zip(fov, size, recon, strict=True)]
        return xsd.encodingSpaceType(
            matrixSize=xsd.matrixSizeType(x=size[0], y=size[1], z=size[2]),
            fieldOfView_mm=xsd.fieldOfViewMm(x=mm[0], y=mm[1], z=mm[2]),
        )

    names = ("kspace_encoding_step_0", "kspace_encoding_step_1", "kspace_encoding_step_2", "average", "slice",
             "contrast", "phase", "repetition", "set", "segment")  # fmt: skip
    given = {"kspace_encoding_step_0": (encoded[0] - 1, encoded[0] // 2), **limits}
    bounds = {name: given.get(name, (0, 0)) for name in names}
    m, sequence = measurement, measurement.sequence
    return xsd.ismrmrdHeader(
        version=2,
        subjectInformation=xsd.subjectInformationType(patientID=m.volume.subject),
        studyInformation=xsd.studyInformationType(studyDescription="simulated"),
        measurementInformation=xsd.measurementInformationType(
            patientPosition=xsd.patientPositionType.HFS, protocolName=m.volume.contrast
        ),
        acquisitionSystemInformation=xsd.acquisitionSystemInformationType(
            systemVendor=m.vendor,
            systemModel="simulation",
            systemFieldStrength_T=m.simulation.field,
            receiverChannels=m.coils,
        ),
        experimentalConditions=xsd.experimentalConditionsType(
            H1resonanceFrequency_Hz=round(m.simulation.field * PROTON)
        ),
        encoding=[
            xsd.encodingType(
                encodedSpace=space(encoded),
                reconSpace=space(recon),
                encodingLimits=xsd.encodingLimitsType(
                    **{name: xsd.limitType(minimum=0, maximum=top, center=mid) for name, (top, mid) in bounds.items()}
                ),
                trajectory=xsd.trajectoryType.CARTESIAN,
            )
        ],
        sequenceParameters=xsd.sequenceParametersType(
            TR=[sequence.tr],
            TE=[sequence.te],
            TI=[] if sequence.ti is None else [sequence.ti],
            flipAngle_deg=[sequence.flip],
        ),
    )


def acquisition(samples: np.ndarray, number: int, **counters: int) -> ismrmrd.Acquisition:
    """One readout: samples complex (coil, sample), the echo in the middle; number: how many came before it."""
    from ismrmrd import Acquisition

    one = Acquisition.from_array(
        np.ascontiguousarray(samples, dtype=np.complex64),
        scan_counter=number,
        available_channels=samples.shape[0],
        center_sample=samples.shape[1] // 2,
    )
    for name, value in counters.items():
        setattr(one.idx, name, value)
    return one


def write_file(
    path: Path | str,
    head: ismrmrdHeader,
    acquisitions: Iterable[ismrmrd.Acquisition],
    arrays: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Write an ISMRMRD file atomically; arrays: name -> real array, beside the acquisitions."""
    from ismrmrd.file import Container

    with create(path) as file:
        group = file.create_group("dataset")
        container = Container(group)
        container.header = head
        container.acquisitions = acquisitions
        for name, values in (arrays or {}).items():
            group.create_dataset(name, data=values[None], maxshape=(None, *values.shape), track_times=False)
