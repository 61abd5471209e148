"""Manifests of several sets -> the manifest of a set that is joined of them. No volume is copied."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rekon.config.datasets import Dataset, Part, Split
from rekon.errors import UserError
from rekon.files import fingerprint, read_json, write_json

Entry = dict[str, Any]  # of a volume in a manifest


def join(dataset_name: str, split: Split, dataset: Dataset, manifests: Sequence[Path | str], out: Path | str) -> None:
    """Write the manifest (JSON) of a joined set's split, in the form of `rekon.data.summarise`.

    Its volumes stand in an order that looks random and follows from their subjects' names, so that the first n subjects
    of a contrast are a random draw. Raises UserError where a manifest that `dataset.parts` needs is not among
    `manifests`, where two volumes have one name, and where parts differ in how they are read.
    """
    contents = {(content["dataset"], content["split"]): content for content in map(_read, manifests)}
    volumes: list[Entry] = []
    for part in dataset.parts.get(split, ()):
        if (part.dataset, part.split) not in contents:
            raise UserError(f"{out}: the manifest of {part.dataset}/{part.split} is missing; give it as an argument.")
        volumes += share(contents[part.dataset, part.split]["volumes"], part)
    if not volumes:
        raise UserError(f"{out}: the parts of {dataset_name!r} leave no volume for {split!r}; change 'parts'.")
    names = [volume["volume"] for volume in volumes]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"{out}: the volume {twice[0]!r} comes twice; change 'parts' of {dataset_name!r}.")
    for key in ("fit", "reference"):
        if len({str(content[key]) for content in contents.values()}) > 1:
            raise UserError(f"{out}: the parts of {dataset_name!r} differ in {key!r}; join sets that agree.")
    first = next(iter(contents.values()))
    volumes.sort(key=_place)
    write_json(
        out,
        {
            "dataset": dataset_name,
            "split": split,
            "volumes": volumes,
            "mean_max": sum(volume["max"] for volume in volumes) / len(volumes),
            "normalisation": dataset.normalisation,
            "fit": first["fit"],
            "reference": first["reference"],
            "hash": fingerprint([[volume["volume"], volume["sha256"]] for volume in volumes]),
        },
    )


def share(volumes: Sequence[Entry], part: Part) -> list[Entry]:
    """The volumes of a manifest that belong to a part.

    A subject is counted with the first of its contrasts, by name, and its volumes are taken together: no subject is in
    two shares that do not overlap.
    """
    contrast_of: dict[str, str] = {}
    for volume in volumes:
        subject, contrast = volume["subject"], volume["contrast"]
        contrast_of[subject] = min(contrast_of.get(subject, contrast), contrast)
    taken: set[str] = set()
    for contrast in set(contrast_of.values()):
        subjects = sorted((one for one, its in contrast_of.items() if its == contrast), key=_drawn)
        taken |= {one for rank, one in enumerate(subjects) if part.low <= rank / len(subjects) < part.high}
    return [volume for volume in volumes if volume["subject"] in taken]


def _read(path: Path | str) -> dict[str, Any]:
    content = read_json(path)
    for name in ("dataset", "split", "volumes", "fit", "reference"):
        if not isinstance(content, dict) or name not in content:
            raise UserError(f"{path}: key {name!r} is missing; run the rule summarise again.")
    return content


def _drawn(subject: str) -> str:
    return fingerprint(["joined", subject])


def _place(volume: Entry) -> tuple[str, str]:
    return _drawn(volume["subject"]), volume["volume"]
