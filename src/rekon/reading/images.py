"""The images of one arm of a reader study: an HDF5 file.

<volume>/<slice>/image  float32 (H, W), magnitude; attribute subject: whose slices are not independent
attributes              arm: what made the images; dataset; unit: of the magnitudes, the same for arms that compare
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from rekon.errors import UserError
from rekon.hdf5 import create

CASE = re.compile(r"^[^/]+/[0-9]+$")  # <volume>/<slice>
ATTRIBUTES = ("arm", "dataset", "unit")


@dataclass(frozen=True)
class Images:
    """What one arm made of the cases, in the order of their names."""

    path: Path
    arm: str
    dataset: str
    unit: str
    images: dict[str, np.ndarray]  # case -> float32 (H, W)
    subjects: dict[str, str]  # case -> subject


def write_images(
    path: Path | str,
    images: Mapping[str, np.ndarray],
    *,
    arm: str,
    dataset: str,
    unit: str = "arbitrary",
    subjects: Mapping[str, str] | None = None,
) -> None:
    """Write an arm's images atomically; equal input gives equal bytes.

    images: by case, "<volume>/<slice>", real and not negative, (H, W). subjects: by case; by default each volume is a
    subject of its own. unit: what the magnitudes are relative to, for example "maximum of the volume"; arms are
    shown with one window, so they must agree on it. Raises UserError when the disk is full.
    """
    assert images and arm and dataset and unit, "an arm has a name, a data set, a unit and images"
    with create(path) as file:
        for name, value in (("arm", arm), ("dataset", dataset), ("unit", unit)):
            file.attrs[name] = value
        for case in sorted(images):
            assert CASE.match(case), f"case {case!r}, expected <volume>/<slice>"
            assert np.isrealobj(images[case]), f"{case}: expected magnitudes"
            image = np.ascontiguousarray(images[case], dtype=np.float32)
            assert _valid(image), f"{case}: expected finite magnitudes (H, W)"
            stored = file.create_dataset(f"{case}/image", data=image, track_times=False)
            stored.attrs["subject"] = subjects[case] if subjects else case.rpartition("/")[0]


def read_images(path: Path | str) -> Images:
    """Read what `write_images` wrote; UserError that names file and field when something is missing or not valid."""
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file; give the images of an arm, as the evaluation writes them.")
    try:
        with h5py.File(path, "r") as file:
            return _read(Path(path), file)
    except OSError:
        raise UserError(f"{path}: not a readable HDF5 file (truncated?); write the arm's images again.") from None


def _read(path: Path, file: h5py.File) -> Images:
    again = "write the arm's images again"
    facts = {name: file.attrs.get(name) for name in ATTRIBUTES}
    for name, value in facts.items():
        if not isinstance(value, str) or not value:
            raise UserError(f"{path}: attribute {name!r} is missing or not text; {again}.")
    images: dict[str, np.ndarray] = {}
    subjects: dict[str, str] = {}
    for volume, slices in sorted(file.items()):
        for number, group in sorted(slices.items() if isinstance(slices, h5py.Group) else ()):
            case = f"{volume}/{number}"
            stored = group.get("image") if isinstance(group, h5py.Group) else None
            if not CASE.match(case) or not isinstance(stored, h5py.Dataset) or stored.dtype != np.float32:
                raise UserError(f"{path}: '{case}/image' is missing or not float32; {again}.")
            image, subject = stored[()], stored.attrs.get("subject")
            if not isinstance(subject, str) or not subject:
                raise UserError(f"{path}: '{case}/image' has no attribute 'subject'; {again}.")
            if not _valid(image):
                raise UserError(f"{path}: '{case}/image' must be finite magnitudes (H, W); {again}.")
            images[case], subjects[case] = image, subject
    if not images:
        raise UserError(f"{path}: holds no images; {again}.")
    return Images(path, facts["arm"], facts["dataset"], facts["unit"], images, subjects)


def _valid(image: np.ndarray) -> bool:
    return image.ndim == 2 and image.size > 0 and bool(np.isfinite(image).all()) and bool((image >= 0).all())
