"""Raw files that have served: removed once they are converted, where a scale calls them temporary.

Only files that FETCHED.json names go, so nothing that somebody has put there by hand, and only when their conversion is
beyond doubt. RELEASED.json tells which went, or why none did, and every message about one of them how to bring it back.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rekon.data.constant import far_off
from rekon.data.download_set import RECORD, recorded
from rekon.errors import UserError
from rekon.files import read_json, write_json

RELEASED = "RELEASED.json"


def release(folder: Path | str, manifest: Path | str, published: float | None = None) -> str:
    """Remove the fetched files of a split below `folder`, now that `manifest` names the volumes made of them.

    All stay where conversion left one out, or where the manifest's constant is far from the `published` one: somebody
    has to look at them. Returns why they stay, or "". folder/RELEASED.json is written first, so that after a kill in
    between the rest goes with the next call. Raises UserError where the manifest names no volume.
    """
    folder, content = Path(folder), read_json(Path(manifest))
    if not content["volumes"]:
        raise UserError(f"{manifest}: key 'volumes' is empty, so the files below {folder} are not released.")
    found = recorded(folder)
    archives = {entry["from"] for entry in found.values()}  # gone already
    sizes = {name: entry["size"] for name, entry in found.items() if name not in archives}
    if kept := _doubt(content, published):
        gone = {name: size for name, size in sizes.items() if not (folder / name).is_file()}  # before there was a doubt
        write_json(folder / RELEASED, {"files": gone, "converted": str(manifest), "kept": kept})
        return kept
    write_json(folder / RELEASED, {"files": sizes, "converted": str(manifest)})
    for name in sizes:
        (folder / name).unlink(missing_ok=True)
    return ""


def _doubt(content: dict[str, Any], published: float | None) -> str:
    """Why the raw files of a manifest are still needed; "" when they are not."""
    if left_out := content.get("left_out"):
        name, why = next(iter(sorted(left_out.items())))
        return f"{len(left_out)} left out by the conversion; {name}: {why}"
    return far_off(content["mean_max"], published)


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
