"""How a 3D acquisition becomes the multi-slice 2D volumes of a data set."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rekon.config.base import Strict

Count = Annotated[int, Field(ge=0)]
Length = Annotated[float, Field(gt=0)]


class Stack(Strict):
    """Which slices of a 3D file are kept and how they lie; what the papers leave open is said here."""

    drop: tuple[Count, Count] = (0, 0)  # slices left out at the start and at the end of the file's slice axis
    # reversed against the file's order, so that the images lie as fastMRI's do
    mirror: tuple[Literal["slices", "rows", "columns"], ...] = ()
    # mm along the file's axes, for formats that do not say it (cc359: readout, ky, kz)
    voxel: tuple[Length, Length, Length] = (1.0, 1.0, 1.0)
