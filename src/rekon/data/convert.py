"""Raw file -> canonical volume, one slice in memory at a time (for HDF5 input)."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from rekon.config.datasets import Dataset
from rekon.data.formats import RawVolume, read_raw
from rekon.data.formats.raw import acquired_columns
from rekon.data.volume import Volume, finite, write_volume
from rekon.errors import UserError
from rekon.files import sha256

CONVERTER = "rekon 1"  # raise when the same raw file gives other bytes


def convert(
    raw_path: Path | str,
    out_path: Path | str,
    dataset_name: str,
    dataset: Dataset,
    volume: str,
    contrast: str | None = None,
    subject: str | None = None,
) -> None:
    """Write the canonical volume of `raw_path`; contrast and subject default to the catalogue's, then the file's.

    Raises UserError, and writes nothing, when the raw file is damaged, holds NaN or Inf, or is undersampled although
    the catalogue says that it is a reference.
    """
    listed = next((file for file in dataset.files if file.volume == volume), None)
    contrast = contrast or (listed.contrast if listed else None)
    subject = subject or (listed.subject if listed else None)
    with ThreadPoolExecutor(1) as pool, read_raw(raw_path, dataset, Path(out_path).parent) as raw:
        digest = pool.submit(sha256, raw_path)  # hashing releases the interpreter: it runs beside the transforms
        attrs = {
            "acquisition": contrast or raw.attrs.get("acquisition", "unknown"),
            "patient_id": subject or raw.attrs.get("patient_id", volume),
            "anatomy": dataset.anatomy,
            "view": dataset.view,
            "vendor": dataset.vendor,
            "field_strength": dataset.field_strength,
            "converter": CONVERTER,
            "source_sha256": digest.result,
            "reference": raw.reference,
        }
        if raw.target is not None:
            attrs["target"] = dataset.target
        kspace, xml = _slices(raw_path, raw, dataset_name), raw.header.xml()
        write_volume(out_path, kspace, shape=raw.shape, header_xml=xml, attrs=attrs, reconstruction_rss=raw.target)


def convert_all(
    dataset_name: str, split: str, dataset: Dataset, listing: Path | str, folder: Path | str, threads: int = 1
) -> None:
    """Convert every raw file named in `listing` (one a line, relative to it) to folder/<stem>.h5, `threads` at a time.

    A volume whose raw file and converter are unchanged is kept. A file that fails is printed and the others go on;
    then UserError names the failed ones, so that a set is never quietly incomplete. Volumes that are no longer listed
    are removed.
    """
    listing, folder = Path(listing), Path(folder)
    try:
        names = [line for line in listing.read_text(encoding="utf-8").splitlines() if line.strip()]
    except FileNotFoundError:
        raise UserError(f"{listing}: no such file; run `rekon index` for {dataset_name!r} first.") from None
    stems = [Path(name).stem for name in names]
    if twice := sorted({stem for stem in stems if stems.count(stem) > 1}):
        raise UserError(
            f"{listing}: two files are called {twice[0]!r}; rename one, volumes are named after their files."
        )
    for stale in sorted(folder.glob("*.h5")):
        if stale.stem not in set(stems):
            stale.unlink()
    jobs = [(listing.parent / name, folder / f"{Path(name).stem}.h5", dataset_name, dataset) for name in names]
    failed = []
    with ProcessPoolExecutor(threads) if threads > 1 else nullcontext() as pool:
        results = map(_convert_one, jobs) if pool is None else pool.map(_convert_one, jobs)
        for (raw, *_), problem in zip(jobs, results, strict=True):
            print(f"{dataset_name}/{split} {raw.name}: {problem or 'done'}", flush=True)
            if problem:
                failed.append(raw.name)
    if failed:
        shown = ", ".join(failed[:5]) + (", …" if failed[5:] else "")
        raise UserError(
            f"{listing}: {len(failed)} of {len(names)} files could not be converted ({shown}); the reasons are above; "
            "replace them or move them away and run again."
        )


def _convert_one(job: tuple[Path, Path, str, Dataset]) -> str | None:
    """The reason why a file cannot be converted, or None."""
    raw, out, dataset_name, dataset = job
    try:
        if not _up_to_date(raw, out):
            convert(raw, out, dataset_name, dataset, out.stem)
    except UserError as error:
        return str(error)
    return None


def _up_to_date(raw: Path, out: Path) -> bool:
    if not out.exists() or not raw.is_file():
        return False
    try:
        with Volume(out) as volume:
            made_by = (volume.attrs.get("converter"), volume.attrs.get("source_sha256"))
    except UserError:
        return False
    return made_by[0] == CONVERTER and made_by[1] == sha256(raw)


def _slices(path: Path | str, raw: RawVolume, dataset_name: str) -> Iterator[np.ndarray]:
    signal = np.zeros(raw.shape[1], bool)  # of each coil
    for index in range(raw.shape[0]):
        kspace = raw.slice(index)
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
