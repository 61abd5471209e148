"""What was seen of the priors, as arrays: images drawn from them, posteriors of test slices, and their calibration.

Imports no torch, so that figures can be drawn without it. `rekon.dpm.inspect` fills these.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np

from rekon.dpm.uncertainty import Calibration, Posterior
from rekon.errors import UserError
from rekon.files import atomic_path


@dataclass(frozen=True)
class PriorDraws:
    """Images from the priors alone, without a measurement. Draw k has the same noise for all runs and labels."""

    runs: tuple[str, ...]
    labels: tuple[str, ...]  # contrast labels that some run saw in training
    seen: np.ndarray  # bool (run, label): which run saw which
    images: np.ndarray  # float32 (run, label, draw, H, W): magnitude, in the unit where training images have maximum 1
    training: np.ndarray  # float32 (label, H, W): magnitude of a slice that was trained on
    steps: int  # second-order ones, of two evaluations each


@dataclass(frozen=True)
class Case:
    """Posteriors of a run on slices of a test set at one acceleration; one slice is kept as pictures."""

    run: str
    dataset: str
    acceleration: int
    volume: str
    slice: int
    posterior: Posterior  # of that slice
    slices: int  # behind the calibration
    floor: float  # of a slice's maximum: pixels with a darker reference do not count
    calibration: Calibration


@dataclass(frozen=True)
class Inspection:
    """All of it; what the scale does not train is absent."""

    prior: PriorDraws | None = None
    cases: tuple[Case, ...] = ()


def write_inspection(path: Path | str, inspection: Inspection) -> None:
    """Write an .npz of plain arrays, atomically."""
    arrays = {"cases": np.array(len(inspection.cases))}
    if inspection.prior is not None:
        arrays |= _flat("prior", inspection.prior)
    for number, case in enumerate(inspection.cases):
        arrays |= _flat(f"case{number}", case)
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        np.savez_compressed(handle, allow_pickle=False, **arrays)  # type: ignore[arg-type]


def read_inspection(path: Path | str) -> Inspection:
    """Read what `write_inspection` wrote; UserError when the file is missing, damaged or incomplete."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        prior = _made(PriorDraws, "prior", arrays) if any(name.startswith("prior.") for name in arrays) else None
        return Inspection(prior, tuple(_made(Case, f"case{number}", arrays) for number in range(int(arrays["cases"]))))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the rule inspect_dpm.") from None
    except KeyError as error:
        raise UserError(f"{path}: array {error} is missing; delete the file and run inspect_dpm again.") from None
    except (ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: not a readable .npz ({error}); delete it and run inspect_dpm again.") from None


def _flat(prefix: str, part: Any) -> dict[str, np.ndarray]:
    """Fields of a dataclass and of those inside it, by dotted name."""
    arrays: dict[str, np.ndarray] = {}
    for field in fields(part):
        name, value = f"{prefix}.{field.name}", getattr(part, field.name)
        arrays |= _flat(name, value) if is_dataclass(value) else {name: np.asarray(value)}
    return arrays


def _made(kind: Any, prefix: str, arrays: dict[str, np.ndarray]) -> Any:
    """The inverse of `_flat`: scalars and tuples get their Python types back."""
    values: dict[str, Any] = {}
    for name, hint in get_type_hints(kind).items():
        key = f"{prefix}.{name}"
        if is_dataclass(hint):
            values[name] = _made(hint, key, arrays)
        elif hint is np.ndarray:
            values[name] = arrays[key]
        elif hint in (int, float, str):
            values[name] = hint(arrays[key].item())
        else:
            values[name] = tuple(arrays[key].tolist())
    return kind(**values)
