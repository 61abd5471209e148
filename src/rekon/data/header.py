"""The few ISMRMRD header fields that Cartesian data needs, read leniently and written strictly.

Reading matches element names without their namespace, because published files differ (M4Raw prefixes all with ns0).
What is written validates against the ISMRMRD schema and is what fastMRI's loaders look for.
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from rekon.errors import UserError

_PROTON = 42.577478518e6  # Hz per tesla


@dataclass(frozen=True)
class Header:
    """Matrices as (readout, phase encoding); fields of view in mm; limits of the phase encoding in lines."""

    encoded: tuple[int, int]
    recon: tuple[int, int]
    center: int  # line that crosses the centre of k-space
    maximum: int  # last acquired line, counted from 0
    encoded_fov: tuple[float, float] | None = None
    recon_fov: tuple[float, float] | None = None
    thickness: float = 1.0  # mm
    vendor: str = "unknown"
    field_strength: float | None = None  # T
    coils: int = 1

    @property
    def acquired(self) -> tuple[int, int]:
        """First and one past the last acquired column; the others are zero padding (fastMRI's padding_left/right)."""
        start = self.encoded[1] // 2 - self.center
        return max(start, 0), min(start + self.maximum + 1, self.encoded[1])

    def xml(self) -> str:
        """ISMRMRD XML, equal for equal fields."""
        encoded_fov = self.encoded_fov or (float(self.encoded[0]), float(self.encoded[1]))
        recon_fov = self.recon_fov or (float(self.recon[0]), float(self.recon[1]))
        field = self.field_strength or 0.0
        return (
            '<?xml version="1.0" encoding="utf-8"?>\n'
            '<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">\n'
            "  <acquisitionSystemInformation>\n"
            f"    <systemVendor>{escape(self.vendor)}</systemVendor>\n"
            f"    <systemFieldStrength_T>{field:g}</systemFieldStrength_T>\n"
            f"    <receiverChannels>{self.coils}</receiverChannels>\n"
            "  </acquisitionSystemInformation>\n"
            "  <experimentalConditions>\n"
            f"    <H1resonanceFrequency_Hz>{round(field * _PROTON)}</H1resonanceFrequency_Hz>\n"
            "  </experimentalConditions>\n"
            "  <encoding>\n"
            f"{_space('encodedSpace', self.encoded, encoded_fov, self.thickness)}"
            f"{_space('reconSpace', self.recon, recon_fov, self.thickness)}"
            "    <encodingLimits>\n"
            "      <kspace_encoding_step_1>\n"
            f"        <minimum>0</minimum><maximum>{self.maximum}</maximum><center>{self.center}</center>\n"
            "      </kspace_encoding_step_1>\n"
            "    </encodingLimits>\n"
            "    <trajectory>cartesian</trajectory>\n"
            "  </encoding>\n"
            "</ismrmrdHeader>\n"
        )


def full_header(
    matrix: tuple[int, int],
    coils: int,
    vendor: str = "unknown",
    field_strength: float | str = "unknown",
    fov: tuple[float, float] | None = None,
    acquired: tuple[int, int] | None = None,
) -> Header:
    """Header of data that is shown on its whole matrix.

    matrix: (H, W), even. fov: in mm, default square pixels of 1 mm. acquired: first and one past the last acquired
    column, default all of them.
    """
    start, stop = acquired or (0, matrix[1])
    field = float(field_strength) if isinstance(field_strength, float | int) else None
    return Header(matrix, matrix, matrix[1] // 2 - start, stop - start - 1, fov, fov, 1.0, vendor, field, coils)


def parse_header(xml: str | bytes, source: str) -> Header:
    """Read ISMRMRD XML; UserError names `source` and the element that is missing or wrong."""
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise UserError(f"{source}: 'ismrmrd_header' is not XML ({error}); get the file again.") from None

    def number(*path: str, default: float | None = None) -> float:
        element = root
        for name in path:
            child = next((item for item in element if item.tag.rpartition("}")[2] == name), None)
            if child is None:
                if default is not None:
                    return default
                raise UserError(f"{source}: 'ismrmrd_header' has no element {'/'.join(path)}; get the file again.")
            element = child
        try:
            return float(element.text or "")
        except ValueError:
            raise UserError(f"{source}: 'ismrmrd_header' has {element.text!r} in {'/'.join(path)}.") from None

    def pair(space: str, what: str, default: float | None = None) -> tuple[float, float]:
        return number("encoding", space, what, "x", default=default), number(
            "encoding", space, what, "y", default=default
        )

    def fov(space: str) -> tuple[float, float] | None:
        size = pair(space, "fieldOfView_mm", default=0.0)
        return size if all(size) else None

    encoded, recon = pair("encodedSpace", "matrixSize"), pair("reconSpace", "matrixSize")
    limits = ("encoding", "encodingLimits", "kspace_encoding_step_1")
    system = "acquisitionSystemInformation"
    field = number(system, "systemFieldStrength_T", default=0.0)
    return Header(
        encoded=(int(encoded[0]), int(encoded[1])),
        recon=(int(recon[0]), int(recon[1])),
        center=int(number(*limits, "center")),
        maximum=int(number(*limits, "maximum")),
        encoded_fov=fov("encodedSpace"),
        recon_fov=fov("reconSpace"),
        thickness=number("encoding", "reconSpace", "fieldOfView_mm", "z", default=1.0),
        field_strength=field or None,
        coils=int(number(system, "receiverChannels", default=1.0)),
    )


def _space(name: str, matrix: tuple[int, int], fov: tuple[float, float], thickness: float) -> str:
    return (
        f"    <{name}>\n"
        f"      <matrixSize><x>{matrix[0]}</x><y>{matrix[1]}</y><z>1</z></matrixSize>\n"
        f"      <fieldOfView_mm><x>{fov[0]:g}</x><y>{fov[1]:g}</y><z>{thickness:g}</z></fieldOfView_mm>\n"
        f"    </{name}>\n"
    )
