"""HDF5 files that are complete or absent, also when the disk fills up.

HDF5 does not survive a failed write: it reports it late, as one of several exceptions, and may crash at exit. So it
writes through a file object that keeps the error to itself; HDF5 finishes in peace, and the error is raised after.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from rekon.files import atomic_path


@contextlib.contextmanager
def create(path: Path | str) -> Iterator[h5py.File]:
    """A new HDF5 file that takes the final name on success; on any error nothing is left.

    Raises UserError when the disk is full or over quota.
    """
    with atomic_path(path) as temporary, _Patient(temporary, "w+") as sink:
        try:
            with h5py.File(sink, "w") as file:
                yield file
        finally:
            if sink.error is not None:  # whatever else went wrong, this came first
                raise sink.error


class _Patient(io.FileIO):
    """A file whose failed writes are remembered instead of raised."""

    error: OSError | None = None

    def write(self, data: Any, /) -> int:
        view = memoryview(data).cast("B")
        done = 0
        while self.error is None and done < len(view):  # a disk that fills up takes a part
            try:
                done += self.put(view[done:])
            except OSError as error:
                self.error = error
        return len(view)

    def put(self, data: memoryview) -> int:
        """Write to the disk, which may take only a part; returns how much."""
        return super().write(data) or 0

    def truncate(self, size: int | None = None, /) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0
