"""What was seen inside the trained networks, as arrays: for the figures that the paper prints as Figs. 3, 4 and 6.

Imports no torch, so that figures can be drawn without it. `rekon.ueps.inspect` fills these.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from rekon.errors import UserError
from rekon.files import atomic_path


@dataclass(frozen=True)
class CoilMaps:
    """Coil sensitivity maps of one slice, of a few of its coils (UEPS Fig. 3)."""

    dataset: str
    volume: str
    slice: int
    coils: int  # of the slice
    shown: tuple[int, ...]  # numbers of those that the arrays hold, from 0
    image: np.ndarray  # float32 (h, w): the reference image
    reference: np.ndarray  # complex64 (coil, h, w): ESPIRiT, from fully sampled data
    estimate: np.ndarray  # complex64 (coil, h, w): E2EVarNet, from the undersampled data
    similarity: np.ndarray  # float32 (h, w): |<reference, estimate>| over all coils, both normalised; NaN where no map


@dataclass(frozen=True)
class Attention:
    """Where query patches of UE-ViT look (UEPS Fig. 4), mean over heads, coils and layers of the last cascade."""

    dataset: str
    volume: str
    slice: int
    image: np.ndarray  # float32 (h, w)
    queries: np.ndarray  # int (query, 2): token row and column
    scores: np.ndarray  # float32 (query, token rows, tokens per row), each summing to one
    rows: (
        np.ndarray
    )  # float32 (layer,): share of attention on the query's own and adjacent token rows, mean over queries
    columns: np.ndarray  # float32 (layer,): the same for its columns
    uniform: np.ndarray  # float32 (2,): both shares if attention were spread evenly


@dataclass(frozen=True)
class Runtime:
    """Forward time of one coil image against the number of patches (UEPS Fig. 6)."""

    models: tuple[str, ...]
    size: tuple[int, int]  # matrix
    patches: np.ndarray  # int (point,): patches per image at full resolution
    milliseconds: np.ndarray  # float64 (model, point); NaN where it would have taken too long
    device: str


@dataclass(frozen=True)
class Inspection:
    """All of it; parts that could not be made (a run is not in the scale) are absent."""

    maps: tuple[CoilMaps, ...] = ()
    attention: Attention | None = None
    runtime: Runtime | None = None


def write_inspection(path: Path | str, inspection: Inspection) -> None:
    """Write an .npz of plain arrays, atomically."""
    arrays: dict[str, Any] = {}
    for index, maps in enumerate(inspection.maps):
        arrays |= _arrays(f"maps{index}.", maps)
    for name in ("attention", "runtime"):
        if (part := getattr(inspection, name)) is not None:
            arrays |= _arrays(f"{name}.", part)
    arrays["parts"] = np.array(len(inspection.maps))
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        np.savez_compressed(handle, allow_pickle=False, **arrays)


def read_inspection(path: Path | str) -> Inspection:
    """Read what `write_inspection` wrote; UserError when the file is missing, damaged or incomplete."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        maps = tuple(_part(CoilMaps, f"maps{index}.", arrays) for index in range(int(arrays["parts"])))
        return Inspection(
            maps,
            _part(Attention, "attention.", arrays) if "attention.scores" in arrays else None,
            _part(Runtime, "runtime.", arrays) if "runtime.patches" in arrays else None,
        )
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the rule inspect_ueps.") from None
    except KeyError as error:
        raise UserError(f"{path}: array {error} is missing; delete the file and run inspect_ueps again.") from None
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: not a readable .npz ({error}); delete it and run inspect_ueps again.") from None


def _arrays(prefix: str, part: Any) -> dict[str, np.ndarray]:
    return {prefix + field.name: np.asarray(getattr(part, field.name)) for field in fields(part)}


def _part(kind: Any, prefix: str, arrays: dict[str, np.ndarray]) -> Any:
    """A part from its arrays; scalars and tuples get their Python types back."""
    values: dict[str, Any] = {}
    for field in fields(kind):
        value = arrays[prefix + field.name]
        if str(field.type).startswith("tuple"):
            values[field.name] = tuple(value.tolist())
        else:
            values[field.name] = value.item() if value.ndim == 0 else value
    return kind(**values)
