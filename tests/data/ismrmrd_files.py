"""Small ISMRMRD files made with the format's own library, acquisition by acquisition."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ismrmrd
import numpy as np
from ismrmrd import xsd


def header(encoded=(8, 6, 1), recon=(8, 6, 1), coils: int = 2, **limits: tuple[int, int, int]) -> xsd.ismrmrdHeader:
    """A header; limits: name of the encoding counter -> (minimum, maximum, center)."""

    def space(size: tuple[int, int, int]) -> xsd.encodingSpaceType:
        x, y, z = size
        return xsd.encodingSpaceType(
            matrixSize=xsd.matrixSizeType(x=x, y=y, z=z),
            fieldOfView_mm=xsd.fieldOfViewMm(x=float(x), y=float(y), z=float(z)),
        )

    bounds = {name: xsd.limitType(minimum=low, maximum=high, center=mid) for name, (low, high, mid) in limits.items()}
    return xsd.ismrmrdHeader(
        experimentalConditions=xsd.experimentalConditionsType(H1resonanceFrequency_Hz=127_732_434),
        acquisitionSystemInformation=xsd.acquisitionSystemInformationType(receiverChannels=coils),
        encoding=[
            xsd.encodingType(
                trajectory=xsd.trajectoryType.CARTESIAN,
                encodedSpace=space(encoded),
                reconSpace=space(recon),
                encodingLimits=xsd.encodingLimitsType(**bounds),
            )
        ],
    )


def acquisition(samples: np.ndarray, flags: tuple[int, ...] = (), **counters: int) -> ismrmrd.Acquisition:
    """samples: complex64 (coil, sample); counters: encoding counters by name."""
    one = ismrmrd.Acquisition.from_array(np.ascontiguousarray(samples, dtype=np.complex64))
    for name, value in counters.items():
        setattr(one.idx, name, value)
    for flag in flags:
        one.setFlag(flag)
    return one


def write(path: Path, head: xsd.ismrmrdHeader, acquisitions: list[ismrmrd.Acquisition], **arrays: np.ndarray) -> Path:
    with ismrmrd.File(path, "w") as file:
        file["dataset"].header = head
        file["dataset"].acquisitions = acquisitions
    with ismrmrd.Dataset(path, "dataset", mode="r+") as dataset:
        for name, values in arrays.items():
            dataset.append_array(name, values)
    return path


def rewrite(path: Path, change: Callable[[ismrmrd.Acquisition], ismrmrd.Acquisition | None]) -> None:
    """Replace every acquisition by what `change` makes of it; None drops it."""
    with ismrmrd.File(path, "r+") as file:
        container = file["dataset"]
        changed = [change(one) for one in container.acquisitions]
        container.acquisitions = [one for one in changed if one is not None]
