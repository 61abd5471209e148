"""A 3D volume as a stack of 2D slices, when no memory holds it: blocks of lines are turned into slices on the disk.

A 3D file is ordered by its phase encodings, a slice needs all of them. So a reader transforms a few lines at a time
along the slice axis, writes them here, and takes them back slice by slice.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from rekon.config.stack import Stack
from rekon.errors import UserError

BLOCK = 96 * 2**20  # bytes of lines in memory at a time; a transform needs a few times as much


class Turned:
    """Complex64 (slice, line, ...) on the disk, written by lines and read by slices; a context manager.

    The file lies in `folder` without a name, so that it goes with the process, however that ends.
    """

    def __init__(self, folder: Path | None, slices: int, lines: int, rest: tuple[int, ...]) -> None:
        self.shape = (slices, lines, *rest)
        self._bytes = 8 * int(np.prod(rest))
        self._folder = folder or Path(tempfile.gettempdir())
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115  closed by __exit__

    def write(self, first: int, lines: Iterable[np.ndarray]) -> None:
        """Store complex64 (n, ...) of each slice, the lines from `first` on. UserError when the disk is full."""
        try:
            for index, one in enumerate(lines):
                self._file.seek((index * self.shape[1] + first) * self._bytes)
                self._file.write(np.ascontiguousarray(one, np.complex64).data)
            self._file.flush()
        except OSError as error:
            raise UserError(
                f"{self._folder}: no space to sort a 3D volume of {self._total:.1f} GiB ({error.strerror}); free some "
                "and run again."
            ) from None

    def read(self, index: int) -> np.ndarray:
        """One slice: complex64 (line, ...)."""
        out = np.empty(self.shape[1:], np.complex64)
        self._file.seek(index * self.shape[1] * self._bytes)
        count = self._file.readinto(out.data.cast("B"))
        assert count == out.nbytes, "every line is written before a slice is read"
        return out

    @property
    def _total(self) -> float:
        return self.shape[0] * self.shape[1] * self._bytes / 2**30

    def __enter__(self) -> Turned:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def lines_at_once(bytes_per_line: int) -> int:
    """How many lines fit into a block."""
    return max(1, BLOCK // max(1, bytes_per_line))


def kept_slices(path: Path, count: int, stack: Stack) -> range:
    """Which of a file's `count` slices the data set keeps, in its order. UserError when it keeps none."""
    first, last = stack.drop
    if first + last >= count:
        raise UserError(
            f"{path}: the data set drops {first} + {last} slices, the file has {count}; check 'stack' in "
            "config/datasets.yaml, or leave the file out."
        )
    kept = range(first, count - last)
    return kept[::-1] if "slices" in stack.mirror else kept


def mirrored(kspace: np.ndarray, stack: Stack) -> np.ndarray:
    """k-space (..., H, W) of the image with the rows or columns that `stack` names in reverse order."""
    for name, axis in (("rows", -2), ("columns", -1)):
        if name in stack.mirror:
            n = kspace.shape[axis]
            kspace = np.flip(kspace, axis)  # of an odd size, already the opposite frequencies
            if n % 2 == 0:
                # the middle between the samples of an even size is not n // 2, where the centre is: a ramp
                ramp = np.exp(2j * np.pi * (np.arange(n) - n // 2) / n).astype(np.complex64)
                kspace = np.roll(kspace, 1, axis) * (ramp[:, None] if axis == -2 else ramp)
    return kspace
