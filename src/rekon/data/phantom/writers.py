"""One writer per raw format, so that simulated sets pass through the readers of the sets that they stand for.

A new format is one module with a `write(path, measurement)` and one line in `WRITERS`. A writer follows the format's
own conventions and shares no code with its reader: otherwise both could be wrong together.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rekon.data.phantom import ahead, cc359, fse, m4raw, rawfile
from rekon.data.phantom.measurement import Measurement
from rekon.errors import UserError

WRITERS: dict[str, Callable[[Path | str, Measurement], None]] = {
    "ahead": ahead.write,
    "cc359": cc359.write,
    "fastmri": rawfile.write,
    "m4raw": m4raw.write,
    "stanford-fse": fse.write,
}


def write_raw(path: Path | str, raw_format: str, measurement: Measurement) -> None:
    """Write a measurement as a raw file of `raw_format`, atomically; UserError when no writer knows the format."""
    if raw_format not in WRITERS:
        raise UserError(f"{path}: simulated sets can be written in 'format' {', '.join(WRITERS)}, not {raw_format!r}.")
    WRITERS[raw_format](path, measurement)
