"""Raw files that have served: removed once they are converted, where a scale calls them temporary.

Only files that FETCHED.json names go, so nothing that somebody has put there by hand. RELEASED.json tells which, and
every message about one of them how to bring it back.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rekon.data.download_set import RECORD, recorded
from rekon.errors import UserError
from rekon.files import read_json, write_json

RELEASED = "RELEASED.json"


def release(folder: Path | str, manifest: Path | str) -> None:
    """Remove the fetched files of a split below `folder`, now that `manifest` names the volumes made of them.

    Files that conversion left out stay, for somebody to look at. folder/RELEASED.json is written first, so that after a
    kill in between the rest goes with the next call. Raises UserError where the manifest names no volume.
    """
    folder, content = Path(folder), read_json(Path(manifest))
    if not content["volumes"]:
        raise UserError(f"{manifest}: key 'volumes' is empty, so the files below {folder} are not released.")
    found = recorded(folder)
    stay = set(content.get("left_out", {})) | {entry["from"] for entry in found.values()}  # archives are gone already
    sizes = {name: entry["size"] for name, entry in found.items() if name not in stay}
    write_json(folder / RELEASED, {"files": sizes, "converted": str(manifest)})
    for name in sizes:
        (folder / name).unlink(missing_ok=True)


def released(folder: Path | str) -> dict[str, int]:
    """Name -> bytes of the files that were removed from a folder after conversion."""
    path = Path(folder) / RELEASED
    files: dict[str, int] = read_json(path)["files"] if path.exists() else {}
    return files


def require(folder: Path | str, names: Iterable[str]) -> None:
    """Raise UserError, with the remedy, where one of these files of a folder was released and is not back."""
    folder = Path(folder)
    gone = released(folder)
    for name in names:
        if name in gone and not (folder / name).is_file():
            raise UserError(
                f"{folder / name}: removed after its conversion, as 'temporary' in the file of the scale says; the "
                f"same command with --forcerun {folder / RECORD} fetches it again."
            )
