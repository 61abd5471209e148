"""Canonical volumes -> the manifest of a split: what there is, and the constant that normalises it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rekon.config.datasets import Dataset
from rekon.data.batches import read_batches
from rekon.data.volume import Volume
from rekon.errors import UserError
from rekon.files import fingerprint, sha256, write_json


def summarise(
    dataset_name: str, split: str, dataset: Dataset, volume_paths: Sequence[Path | str], out: Path | str
) -> None:
    """Write the manifest (JSON) of a split.

    `mean_max` is the mean over volumes of max(RSS), UEPS's constant; `hash` names the volumes and their bytes, so equal
    data have equal hashes wherever they lie. Raises UserError for no volumes, for two of the same name, and when only
    some have a reference. Paths ending in .json, the records of `convert_batch`, stand for the volumes they name; the
    manifest then tells the list they are of, and which files were left out and why.
    """
    about: dict[str, Any] = {}
    if volume_paths and all(Path(path).suffix == ".json" for path in volume_paths):
        volume_paths, about = read_batches(volume_paths)
    if not volume_paths:
        raise UserError(
            f"{out}: split {split!r} of {dataset_name!r} has no volumes; ask for at least one in the scale."
        )
    volumes: list[dict[str, Any]] = []
    references = set()
    for path in sorted(Path(path) for path in volume_paths):
        with Volume(path) as volume:
            references.add(volume.reference)
            volumes.append(
                {
                    "volume": path.stem,
                    "path": path.as_posix(),
                    "sha256": sha256(path),
                    "shape": list(volume.shape),
                    "max": volume.max,
                    "contrast": str(volume.attrs["acquisition"]),
                    "subject": str(volume.attrs["patient_id"]),
                }
            )
    names = [volume["volume"] for volume in volumes]
    if len(set(names)) != len(names):
        raise UserError(f"{out}: two volumes of {dataset_name!r} have the same name; rename one.")
    if len(references) > 1:
        raise UserError(
            f"{out}: some volumes of {dataset_name!r} are fully sampled and others are not; list them as two data sets."
        )
    write_json(
        out,
        {
            "dataset": dataset_name,
            "split": split,
            "volumes": volumes,
            "mean_max": sum(volume["max"] for volume in volumes) / len(volumes),
            "normalisation": dataset.normalisation,
            "fit": dataset.fit,
            "reference": references.pop(),
            "hash": fingerprint([[volume["volume"], volume["sha256"]] for volume in volumes]),
            **about,
        },
    )
