"""One slice's pictures per sampling, kept beside an evaluation's rows: what the report shows of a run on a data set."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rekon.errors import UserError
from rekon.evaluation.metrics import Score
from rekon.files import atomic_path


@dataclass(frozen=True)
class Panel:
    """Pictures of one slice, float32 magnitude (h, w), after the evaluation's crop; and its metrics."""

    volume: str
    slice: int
    reconstruction: np.ndarray
    zero_filled: np.ndarray
    data_range: float
    target: np.ndarray | None = None  # None: no reference exists
    score: Score | None = None


def panel_key(pattern: str, acceleration: int | None) -> str:
    """Name of the panel of a sampling: "es-x-R32"; "as-acquired" where there is no nominal acceleration."""
    name = pattern.replace(" ", "-")
    return name if acceleration is None else f"{name}-R{acceleration}"


def write_panels(path: Path | str, panels: Mapping[str, Panel]) -> None:
    """Write an .npz of plain arrays (no pickled objects), named `<key>/<field>`, atomically."""
    arrays = {f"{key}/{name}": array for key, panel in panels.items() for name, array in _arrays(panel).items()}
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        np.savez_compressed(handle, allow_pickle=False, **arrays)  # type: ignore[arg-type]


def read_panels(path: Path | str) -> dict[str, Panel]:
    """Read what `write_panels` wrote, in its order; UserError when the file is missing, damaged or incomplete."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the evaluation again.") from None
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: not a readable .npz ({error}); delete it and run the evaluation again.") from None
    groups: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        key, _, field = name.rpartition("/")
        groups.setdefault(key, {})[field] = array
    if not groups:
        raise UserError(f"{path}: holds no pictures; delete the file and run the evaluation again.")
    return {key: _panel(path, key, fields) for key, fields in groups.items()}


def _arrays(panel: Panel) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {
        "volume": np.array(panel.volume),
        "slice": np.array(panel.slice),
        "data_range": np.array(panel.data_range, dtype=np.float64),
        "reconstruction": np.asarray(panel.reconstruction, dtype=np.float32),
        "zero_filled": np.asarray(panel.zero_filled, dtype=np.float32),
    }
    if panel.target is not None:
        arrays["target"] = np.asarray(panel.target, dtype=np.float32)
    if panel.score is not None:
        arrays |= {name: np.array(value, dtype=np.float64) for name, value in panel.score._asdict().items()}
    return arrays


def _panel(path: Path | str, key: str, arrays: dict[str, np.ndarray]) -> Panel:
    for name in ("volume", "slice", "data_range", "reconstruction", "zero_filled"):
        if not key or name not in arrays:
            raise UserError(
                f"{path}: array '{key or '<sampling>'}/{name}' is missing; delete the file and run the evaluation "
                "again."
            )
    scored = all(name in arrays for name in Score._fields)
    return Panel(
        volume=str(arrays["volume"]),
        slice=int(arrays["slice"]),
        reconstruction=arrays["reconstruction"],
        zero_filled=arrays["zero_filled"],
        data_range=float(arrays["data_range"]),
        target=arrays.get("target"),
        score=Score(*(float(arrays[name]) for name in Score._fields)) if scored else None,
    )
