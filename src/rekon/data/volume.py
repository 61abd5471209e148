"""The canonical volume: fastMRI-compatible HDF5 that every later step reads, and that fastMRI's own loaders read too.

    kspace                complex64 (slice, coil, H readout, W phase encoding), centred orthonormal FFT, a chunk a slice
    reconstruction_rss    float32 (slice, h, w), centre crop of the RSS image; absent without a full reference
    ismrmrd_header        XML
    attrs                 acquisition, max, norm, patient_id; anatomy, view, vendor, field_strength, source_sha256,
                          converter, reference (False: prospectively undersampled)

H and W are even: every crop, pad and shift then keeps the centre sample at n // 2. Readers that meet an odd matrix add
one line of zeros in k-space (`formats`), which interpolates the image over the same field of view.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rekon.data.header import Header, full_header, parse_header
from rekon.errors import UserError
from rekon.hdf5 import create
from rekon.physics.coils import rss
from rekon.physics.fft import centre_crop, ifft2c

REQUIRED = ("acquisition", "max", "norm", "patient_id", "reference")


def write_volume(
    path: Path | str,
    kspace: np.ndarray | Iterable[np.ndarray],
    *,
    shape: tuple[int, int, int, int] | None = None,
    reconstruction_rss: np.ndarray | Callable[[int], np.ndarray] | None = None,
    header_xml: str | None = None,
    attrs: dict[str, Any] | None = None,
) -> None:
    """Write a canonical volume atomically; equal input gives equal bytes.

    kspace: complex (slice, coil, H, W), or an iterable of (coil, H, W) together with `shape`, so that a volume need
    not fit into memory. header_xml: default, the whole matrix was acquired and is shown. reconstruction_rss: real
    (slice, h, w) of the header's reconSpace, or a function from slice to image; default, computed here. attrs:
    `reference` False leaves the target out; `max` and `norm` are computed (of the zero-filled image if there is no
    reference). A callable is asked for its value at the end.
    Raises UserError for odd or empty sizes and when the disk is full.
    """
    if isinstance(kspace, np.ndarray):
        shape = kspace.shape  # type: ignore[assignment]
    assert shape is not None and len(shape) == 4, f"expected (slice, coil, H, W), got {shape}"
    slices, coils, rows, columns = (int(n) for n in shape)
    _check_sizes(path, (slices, coils, rows, columns))
    given = {"acquisition": "unknown", "patient_id": "unknown", "reference": True, **(attrs or {})}
    xml = (
        header_xml
        or full_header(
            (rows, columns), coils, str(given.get("vendor", "unknown")), given.get("field_strength", "unknown")
        ).xml()
    )
    recon = parse_header(xml, str(path)).recon
    crop = (min(recon[0], rows), min(recon[1], columns))

    largest, energy = 0.0, 0.0
    with create(path) as file:
        file.create_dataset("ismrmrd_header", data=xml, track_times=False)
        stored = file.create_dataset(
            "kspace", (slices, coils, rows, columns), np.complex64, chunks=(1, coils, rows, columns), track_times=False
        )
        targets = file.create_dataset(
            "reconstruction_rss", (slices, *crop), np.float32, chunks=(1, *crop), track_times=False
        ) if given["reference"] else None  # fmt: skip
        count = 0
        for index, one in enumerate(kspace):
            assert one.shape == (coils, rows, columns), f"slice {index}: {one.shape}, expected {shape[1:]}"
            one = np.ascontiguousarray(one, dtype=np.complex64)
            if reconstruction_rss is None:
                target = np.ascontiguousarray(centre_crop(rss(ifft2c(one), 0), crop), dtype=np.float32)
            else:
                given_image = reconstruction_rss(index) if callable(reconstruction_rss) else reconstruction_rss[index]
                target = np.ascontiguousarray(given_image, dtype=np.float32)
            # a chunk is one slice, so it goes to the file as it lies in memory
            stored.id.write_direct_chunk((index, 0, 0, 0), one)
            if targets is not None:
                targets.id.write_direct_chunk((index, 0, 0), target)
            largest = max(largest, float(target.max()))
            energy += float(np.vdot(target, target))
            count += 1
        assert count == slices, f"{count} slices came, {slices} were announced"
        assert np.isfinite(largest), "k-space must be finite"
        if largest == 0:
            raise UserError(f"{path}: the k-space is zero throughout; leave this volume out.")
        values = {**given, "max": largest, "norm": energy**0.5, "reference": bool(given["reference"])}
        for name in sorted(values):
            file.attrs[name] = values[name]() if callable(values[name]) else values[name]


class Volume:
    """A canonical volume opened for reading; a context manager.

    Everything that is relied on is checked, and UserError names file, field and reason: on opening the structure, on
    `kspace(i)` and `target(i)` that the values are finite.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self._file = _open(self.path)
        try:
            self._kspace = self._dataset("kspace", 4, np.complex64)
            self.shape: tuple[int, int, int, int] = tuple(int(n) for n in self._kspace.shape)  # type: ignore[assignment]
            _check_sizes(self.path, self.shape)
            self.attrs = {name: _plain(value) for name, value in self._file.attrs.items()}
            for name in REQUIRED:
                if name not in self.attrs:
                    raise UserError(f"{self.path}: attribute {name!r} is missing; convert the raw file again.")
            if not (isinstance(self.attrs["max"], float) and np.isfinite(self.attrs["max"]) and self.attrs["max"] > 0):
                raise UserError(
                    f"{self.path}: attribute 'max' must be a positive number, got {self.attrs['max']!r}; "
                    "convert the raw file again."
                )
            self.reference = bool(self.attrs["reference"])
            self.header = self._read_header()
            self._targets = self._read_targets() if self.reference else None
        except BaseException:
            self._file.close()
            raise

    @property
    def slices(self) -> int:
        return self.shape[0]

    @property
    def coils(self) -> int:
        return self.shape[1]

    @property
    def max(self) -> float:
        """Largest value of the RSS image over the whole volume (zero-filled image if there is no reference)."""
        return float(self.attrs["max"])

    def kspace(self, index: int) -> np.ndarray:
        """k-space of one slice: complex64 (coil, H, W)."""
        return self._read(self._kspace, "kspace", index)

    def target(self, index: int) -> np.ndarray:
        """RSS image of one slice as stored: float32 (h, w). UserError when the volume has no reference."""
        if self._targets is None:
            raise UserError(
                f"{self.path}: undersampled when it was acquired, there is no reference image to score with."
            )
        return self._read(self._targets, "reconstruction_rss", index)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Volume:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _dataset(self, name: str, rank: int, dtype: type) -> h5py.Dataset:
        item = self._file.get(name)
        if not isinstance(item, h5py.Dataset):
            raise UserError(f"{self.path}: dataset {name!r} is missing; convert the raw file again.")
        if item.ndim != rank or item.dtype != dtype:
            raise UserError(
                f"{self.path}: dataset {name!r} must be {np.dtype(dtype).name} with {rank} axes, "
                f"got {item.dtype} of shape {item.shape}; convert the raw file again."
            )
        return item

    def _read_header(self) -> Header:
        item = self._file.get("ismrmrd_header")
        if not isinstance(item, h5py.Dataset) or item.shape != ():
            raise UserError(f"{self.path}: dataset 'ismrmrd_header' is missing; convert the raw file again.")
        header = parse_header(item[()], str(self.path))
        if header.encoded != self.shape[2:]:
            raise UserError(
                f"{self.path}: 'ismrmrd_header' says the matrix is {header.encoded}, 'kspace' has {self.shape[2:]}; "
                "convert the raw file again."
            )
        return header

    def _read_targets(self) -> h5py.Dataset:
        item = self._dataset("reconstruction_rss", 3, np.float32)
        crop = tuple(min(a, b) for a, b in zip(self.header.recon, self.shape[2:], strict=True))
        if item.shape != (self.slices, *crop):
            raise UserError(
                f"{self.path}: dataset 'reconstruction_rss' has shape {item.shape}, its header and k-space ask for "
                f"{(self.slices, *crop)}; convert the raw file again."
            )
        return item

    def _read(self, item: h5py.Dataset, name: str, index: int) -> np.ndarray:
        try:
            values = item[index]
        except OSError:
            raise UserError(
                f"{self.path}: slice {index} of {name!r} cannot be read; convert the raw file again."
            ) from None
        if not finite(values):
            raise UserError(
                f"{self.path}: slice {index} of {name!r} holds NaN or Inf; check the raw file and convert it again."
            )
        return values


def finite(values: np.ndarray) -> bool:
    """Whether no value is NaN or Inf. Looks at the extremes only, which is faster than asking every element."""
    values = np.ascontiguousarray(values)
    parts = values.view(values.real.dtype) if np.iscomplexobj(values) else values
    return bool(np.isfinite(parts.min(initial=0)) and np.isfinite(parts.max(initial=0)))


def _open(path: Path) -> h5py.File:
    if not path.is_file():
        raise UserError(f"{path}: no such volume; make it with the rule convert.")
    try:
        return h5py.File(path, "r")
    except OSError:
        raise UserError(f"{path}: not a readable HDF5 file (truncated?); delete it and convert it again.") from None


def _check_sizes(path: Path | str, shape: tuple[int, int, int, int]) -> None:
    for name, size in zip(("slices", "coils", "rows (H)", "columns (W)"), shape, strict=True):
        if size == 0:
            raise UserError(f"{path}: 'kspace' has zero {name}; leave this file out.")
    if shape[2] % 2 or shape[3] % 2:
        raise UserError(
            f"{path}: 'kspace' has the odd matrix {shape[2]} x {shape[3]}; pad k-space with one line of zeros "
            "(rekon.physics.fft.centre_pad) before writing it."
        )


def _plain(value: Any) -> Any:
    """HDF5 attribute as a Python value."""
    if isinstance(value, bytes):
        return value.decode()
    return value.item() if isinstance(value, np.generic) else value
