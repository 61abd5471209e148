"""An ISMRMRD file (HDF5 group `dataset`: `xml`, `data`) as a stream: headers at once, samples in bounded blocks.

The samples of an acquisition are a vector of its own in the file, so a file is never a matrix that can be sliced; a
reader chooses acquisitions by their headers and takes them block by block. Peak memory is a block and the headers.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from rekon.data.formats.ismrmrd_heads import heads_alone
from rekon.data.formats.raw import AGAIN
from rekon.errors import UserError

if TYPE_CHECKING:
    from ismrmrd.xsd import ismrmrdHeader

BLOCK = 64 * 2**20  # bytes of samples
_HEADS = 8 * 2**20  # bytes of samples that are read along with their headers at a time
_FIELDS = ("flags", "number_of_samples", "active_channels", "discard_pre", "discard_post", "center_sample", "idx")
# numbers of the flags of acquisitions that are no image data, as ISMRMRD counts them (bit number - 1)
NOISE, PHASE_CORRECTION, REVERSE = 19, 24, 22
_NO_IMAGE = (NOISE, 20, 23, PHASE_CORRECTION, 26, 27, 28, 29, 30, 31)  # 21 is calibration and image at once


class IsmrmrdFile:
    """An ISMRMRD file opened for reading; a context manager.

    Raises UserError, one sentence with file, field and remedy: on opening when the file is truncated, of another kind
    or has a header that the schema does not know; on `heads` and `blocks` when acquisitions cannot be read or hold
    another number of samples than their headers say.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        try:
            self._file = h5py.File(self.path, "r")
        except OSError:
            raise UserError(f"{self.path}: not a readable HDF5 file (truncated?); {AGAIN}.") from None
        try:
            self._data = self._acquisitions()
            self.header: ismrmrdHeader = self._header()
        except BaseException:
            self._file.close()
            raise

    @cached_property
    def heads(self) -> np.ndarray:
        """Structured array (acquisition,): flags, number_of_samples, active_channels, discard_pre, discard_post,
        center_sample, and idx with the encoding counters (kspace_encode_step_1, slice, contrast, segment, ...)."""
        if (out := heads_alone(self.path, self._data, _FIELDS)) is not None:
            return out
        head = self._data.dtype["head"]
        out = np.empty(len(self._data), np.dtype([(name, head[name]) for name in _FIELDS]))
        start, step = 0, 1
        while start < len(out):
            try:
                # with their samples: HDF5 reads these anyway, and 2.0 never frees them if they are not asked for
                part = self._data[start : start + step]
            except OSError:
                raise self._unreadable(start, start + step) from None
            for name in _FIELDS:
                out[name][start : start + step] = part["head"][name]
            start += step
            step = max(1, _HEADS // (512 + part["data"][-1].nbytes))
        return out

    def flagged(self, number: int) -> np.ndarray:
        """bool (acquisition,): which carry ISMRMRD's flag `number`."""
        return (self.heads["flags"] >> np.uint64(number - 1)) & np.uint64(1) != 0

    @property
    def imaging(self) -> np.ndarray:
        """bool (acquisition,): image data; not noise, navigator, phase correction or separate calibration."""
        return ~np.any([self.flagged(number) for number in _NO_IMAGE], axis=0)

    def check_readouts(self, chosen: np.ndarray) -> None:
        """Refuse, among the acquisitions bool (acquisition,), readouts whose samples lie otherwise than all others':
        reversed, with samples to discard, or with the echo far from the middle.

        An echo a few samples off is only a phase; 0 is what writers leave that state none.
        """
        samples, centre = (self.heads[name].astype(int) for name in ("number_of_samples", "center_sample"))
        early = (centre != 0) & (np.abs(centre - samples // 2) > np.maximum(1, samples // 8))
        for odd, what in (
            (self.flagged(REVERSE), "is flagged as a reversed readout"),
            ((self.heads["discard_pre"] != 0) | (self.heads["discard_post"] != 0), "has samples to be discarded"),
            (early, "has its echo (center_sample) far from the middle, as partial echoes have"),
        ):
            if (chosen & odd).any():
                raise UserError(
                    f"{self.path}: acquisition {np.flatnonzero(chosen & odd)[0]} {what}, which this format's reader "
                    "does not undo; leave the file out of the data set."
                )

    def blocks(self, indices: np.ndarray, limit: int = BLOCK) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Samples of the acquisitions `indices`, in the order of the file and at most `limit` bytes at a time.

        Yields (indices int (n,), samples complex64 (n, coil, sample)); all of a block have the same shape.
        """
        heads, indices = self.heads, np.sort(np.asarray(indices, dtype=np.intp))
        shapes = np.stack([heads["active_channels"][indices], heads["number_of_samples"][indices]], axis=-1).astype(int)
        start = 0
        while start < len(indices):
            coils, samples = shapes[start]
            most = max(1, limit // max(1, 8 * coils * samples))
            other = np.flatnonzero(np.any(shapes[start : start + most] != shapes[start], axis=-1))
            chosen = indices[start : start + (int(other[0]) if len(other) else most)]
            yield chosen, self._samples(chosen, int(coils), int(samples))
            start += len(chosen)

    def array(self, name: str) -> np.ndarray | None:
        """Another array of the group `dataset`, e.g. 'rec_std', without a leading axis of length 1; None if absent."""
        item = self._file["dataset"].get(name)
        if not isinstance(item, h5py.Dataset):
            return None
        try:
            value = item[()]
        except OSError:
            raise UserError(f"{self.path}: array 'dataset/{name}' cannot be read; {AGAIN}.") from None
        return value[0] if value.ndim > 1 and len(value) == 1 else value

    @cached_property
    def user_parameters(self) -> dict[str, float]:
        """The header's userParameterLong and userParameterDouble by name."""
        given = self.header.userParameters
        if given is None:
            return {}
        return {item.name: item.value for item in [*given.userParameterDouble, *given.userParameterLong]}

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> IsmrmrdFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _acquisitions(self) -> h5py.Dataset:
        group = self._file.get("dataset")
        data = group.get("data") if isinstance(group, h5py.Group) else None
        if not isinstance(data, h5py.Dataset) or data.ndim != 1 or not {"head", "data"} <= set(data.dtype.names or ()):
            raise UserError(
                f"{self.path}: no ISMRMRD acquisitions in 'dataset/data'; check the data set's 'format' or leave the "
                "file out."
            )
        if not set(_FIELDS) <= set(data.dtype["head"].names or ()):
            raise UserError(f"{self.path}: the acquisition headers in 'dataset/data' lack fields of ISMRMRD; {AGAIN}.")
        if h5py.check_vlen_dtype(data.dtype["data"]) != np.dtype("float32"):
            raise UserError(
                f"{self.path}: the samples in 'dataset/data' must be vectors of float32, got {data.dtype['data']}; "
                f"{AGAIN}."
            )
        if len(data) == 0:
            raise UserError(f"{self.path}: 'dataset/data' has no acquisitions; {AGAIN}.")
        return data

    def _header(self) -> Any:
        import ismrmrd.xsd

        item = self._file["dataset"].get("xml")
        if not isinstance(item, h5py.Dataset) or item.size != 1:
            raise UserError(f"{self.path}: header 'dataset/xml' is missing; {AGAIN}.")
        try:
            header = ismrmrd.xsd.CreateFromDocument(np.ravel(item[()])[0])
        except Exception as error:  # the parser raises many kinds
            reason = " ".join(str(error).split())
            raise UserError(
                f"{self.path}: 'dataset/xml' does not follow the ISMRMRD schema ({reason}); {AGAIN}."
            ) from None
        if not header.encoding:
            raise UserError(f"{self.path}: 'dataset/xml' has no element encoding; {AGAIN}.")
        return header

    def _samples(self, chosen: np.ndarray, coils: int, samples: int) -> np.ndarray:
        first, last = int(chosen[0]), int(chosen[-1])
        steps = np.diff(chosen)
        regular = len(steps) == 0 or (steps == steps[0]).all()  # a stride is much faster than a list
        where = slice(first, last + 1, int(steps[0]) if len(steps) else 1) if regular else chosen
        try:
            vectors = self._data.fields("data")[where]
        except OSError:
            raise self._unreadable(first, last + 1) from None
        out = np.empty((len(chosen), coils, samples), np.complex64)
        for number, vector in enumerate(vectors):
            if vector.size != 2 * coils * samples:
                raise UserError(
                    f"{self.path}: acquisition {chosen[number]} holds {vector.size // 2} samples, its header says "
                    f"{coils} coils of {samples}; {AGAIN}."
                )
            out[number] = vector.view(np.complex64).reshape(coils, samples)
        return out

    def _unreadable(self, start: int, stop: int) -> UserError:
        stop = min(stop, len(self._data))
        return UserError(f"{self.path}: acquisitions {start} to {stop - 1} cannot be read (damaged file?); {AGAIN}.")
