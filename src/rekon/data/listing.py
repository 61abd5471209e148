"""Which files of a set lie below raw/: sorted, complete, and named in INDEX.txt."""

from __future__ import annotations

import os
from pathlib import Path

from rekon.config import Dataset
from rekon.errors import UserError
from rekon.files import write_text

SUFFIXES = {"matlab-kspace": (".mat",), "npz-image": (".npz",), "npy-kspace": (".npy",)}  # of formats; others are HDF5


def suffixes(dataset: Dataset) -> tuple[str, ...]:
    """What names of a set's raw files end in, in small letters."""
    return SUFFIXES.get(dataset.format, (".h5", ".hdf5"))


def raw_files(folder: Path, dataset: Dataset) -> list[str]:
    """Sorted names, relative to `folder`, of the raw files below it. Hidden ones are not complete and do not count."""
    # people link their archive's folders, so links are followed
    every = [Path(base, name) for base, _, names in os.walk(folder, followlinks=True) for name in names]
    shown = {path.relative_to(folder).as_posix(): path for path in every}
    endings = suffixes(dataset)
    return sorted(
        name
        for name, path in shown.items()
        if path.suffix.lower() in endings and not any(part.startswith(".") for part in name.split("/"))
    )


def check_manual(dataset_name: str, dataset: Dataset, split: str, folder: Path) -> list[str]:
    """List the files of a set that people fetch themselves: sorted names below `folder`, written to folder/INDEX.txt.

    Only files with the suffix of the set's format count, hidden ones do not. Raises UserError, with the catalogue's
    words on how to get access, when there are none.
    """
    folder = Path(folder)
    names = raw_files(folder, dataset)
    if not names:
        found = (path.name for _, _, names in os.walk(folder, followlinks=True) for path in map(Path, names))
        others = sum(not name.startswith(".") for name in found if name != "INDEX.txt")
        state = f"{others} files but none that ends in" if others else "no file that ends in"
        raise UserError(
            f"{folder}: holds {state} {' or '.join(suffixes(dataset))}; data set {dataset_name!r} has to be fetched by "
            f"hand and its {split} files put (unpacked) there: {(dataset.access or '').strip().rstrip('.')}."
        )
    try:
        write_text(folder / "INDEX.txt", "".join(f"{name}\n" for name in names))
    except OSError as error:
        raise UserError(
            f"{folder}: INDEX.txt cannot be written there ({error.strerror}); link the files instead of the folder."
        ) from None
    return names
