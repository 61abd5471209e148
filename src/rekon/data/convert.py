"""Raw file -> canonical volume, one slice in memory at a time (for HDF5 input)."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from rekon.config.datasets import Dataset
from rekon.data.formats import RawVolume, read_raw, sources
from rekon.data.formats.raw import acquired_columns
from rekon.data.volume import finite, write_volume
from rekon.errors import UserError
from rekon.files import fingerprint, sha256

CONVERTER = "rekon 1"  # raise when the same raw file gives other bytes


def convert(
    raw_path: Path | str,
    out_path: Path | str,
    dataset_name: str,
    dataset: Dataset,
    volume: str,
    contrast: str | None = None,
    subject: str | None = None,
    converter: str = CONVERTER,
) -> None:
    """Write the canonical volume of `raw_path`; contrast and subject default to the catalogue's, then the file's.

    Raises UserError, and writes nothing, when the raw file is damaged, holds NaN or Inf, or is undersampled although
    the catalogue says that it is a reference.
    """
    listed = next((file for file in dataset.files if file.volume == volume), None)
    contrast = contrast or (listed.contrast if listed else None)
    subject = subject or (listed.subject if listed else None)
    with ThreadPoolExecutor(1) as pool, read_raw(raw_path, dataset, Path(out_path).parent) as raw:
        digest = pool.submit(source_hash, raw_path, dataset)  # hashing runs beside the transforms
        attrs = {
            "acquisition": contrast or raw.attrs.get("acquisition", "unknown"),
            "patient_id": subject or raw.attrs.get("patient_id", volume),
            "anatomy": dataset.anatomy,
            "view": dataset.view,
            "vendor": dataset.vendor,
            "field_strength": dataset.field_strength,
            "converter": converter,
            "source_sha256": digest.result,
            "reference": raw.reference,
        }
        if raw.target is not None:
            attrs["target"] = dataset.target
        kspace, xml = _slices(raw_path, raw, dataset_name), raw.header.xml()
        write_volume(out_path, kspace, shape=raw.shape, header_xml=xml, attrs=attrs, reconstruction_rss=raw.target)


def source_hash(raw_path: Path | str, dataset: Dataset) -> str:
    """sha256 of a raw file; where the data set's target needs other files too, one hash of all of theirs."""
    hashes = [sha256(path) for path in sources(raw_path, dataset)]
    return hashes[0] if len(hashes) == 1 else fingerprint(hashes)


def _slices(path: Path | str, raw: RawVolume, dataset_name: str) -> Iterator[np.ndarray]:
    signal = np.zeros(raw.shape[1], bool)  # of each coil
    for index in range(raw.shape[0]):
        kspace = raw.slice(index)
        if not signal.all():
            signal |= kspace.any(axis=(1, 2))
        if not finite(kspace):
            raise UserError(
                f"{path}: slice {index} of the k-space holds NaN or Inf; get the file again or leave it out."
            )
        if index == 0 and signal.any() and raw.reference and (gaps := _gaps(kspace)):
            raise UserError(
                f"{path}: {gaps} phase encodings between acquired ones are empty, so there is no reference; set "
                f"'reference: false' for {dataset_name!r} in config/datasets.yaml."
            )
        yield kspace
    if not signal.all():
        what = f"coil {int(signal.argmin())} of the k-space" if signal.any() else "the k-space"
        raise UserError(f"{path}: {what} is zero throughout; get the file again or leave it out.")


def _gaps(kspace: np.ndarray) -> int:
    """Number of empty phase encodings inside the acquired range of k-space (coil, H, W): 0 when fully sampled."""
    start, stop = acquired_columns(kspace)
    return stop - start - int(np.count_nonzero(kspace[..., start:stop].any(axis=(0, 1))))
