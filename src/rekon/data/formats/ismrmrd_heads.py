"""Headers of ISMRMRD's acquisitions without their samples.

An acquisition is a record of fixed size: its header, and references to its samples, which lie elsewhere in the file.
HDF5 follows the references whenever it reads a record; here the records are taken as they lie in the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np

_AT_ONCE = 2**14  # records


def heads_alone(path: Path, data: h5py.Dataset, fields: Sequence[str]) -> np.ndarray | None:
    """Structured array (acquisition,) of some `fields` of the headers.

    None where the records cannot be taken as they lie, compressed for instance: HDF5 has to read them.
    """
    kind = data.id.get_type()
    member = kind.get_member_index(b"head")
    record = np.dtype(
        {
            "names": ["head"], "formats": [kind.get_member_type(member).dtype],
            "offsets": [kind.get_member_offset(member)], "itemsize": kind.get_size(),
        }
    )  # fmt: skip
    out = np.empty(len(data), np.dtype([(name, record["head"][name]) for name in fields]))
    done = 0
    try:
        for content in _chunks(data) if data.chunks else _contiguous(path, data, record.itemsize):
            part = np.frombuffer(content, record)["head"][: len(out) - done]
            for name in fields:
                out[name][done : done + len(part)] = part[name]
            done += len(part)
    except (OSError, RuntimeError, ValueError):
        return None
    return out if done == len(out) else None


def _chunks(data: h5py.Dataset) -> Iterator[bytes]:
    if data.id.get_create_plist().get_nfilters():
        return
    for first in range(0, len(data), data.chunks[0]):
        yield data.id.read_direct_chunk((first,))[1]


def _contiguous(path: Path, data: h5py.Dataset, size: int) -> Iterator[bytes]:
    offset = data.id.get_offset()
    if offset is None:
        return
    with path.open("rb") as file:
        file.seek(offset)
        for first in range(0, len(data), _AT_ONCE):
            yield file.read(size * min(_AT_ONCE, len(data) - first))
