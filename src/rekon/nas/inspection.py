"""What was seen inside the trained networks, as arrays: how tokens are used, predicted and corrected.

Imports no torch, so that figures can be drawn without it. `rekon.nas.inspect` fills these. Levels are those of the
hierarchy, from the highest R to the fully sampled image; scales are the levels that the transformer predicts, all but
the first. Means are over slices and patterns.
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
class Codebook:
    """How often the tokenizer uses each code at each level, on true images."""

    levels: tuple[str, ...]  # "32", ..., "2", "FS"
    usage: np.ndarray  # int64 (level, code): times chosen

    @property
    def vocabulary(self) -> int:
        return self.usage.shape[1]

    @property
    def used(self) -> np.ndarray:
        """int (level,): codes chosen at least once."""
        return np.count_nonzero(self.usage, axis=1)

    @property
    def perplexity(self) -> np.ndarray:
        """float64 (level,): exp of the entropy of a level's codes; the vocabulary's size if all were equally common."""
        return np.array([perplexity(counts) for counts in self.usage])


@dataclass(frozen=True)
class Accuracy:
    """Share of tokens predicted right, by argmax."""

    runs: tuple[str, ...]
    scales: tuple[str, ...]
    forced: np.ndarray  # float64 (run, scale): after the true tokens of all earlier levels
    rolled: np.ndarray  # float64 (run, scale): after the run's own tokens
    frequent: np.ndarray  # float64 (scale,): always naming the commonest token of the scale, known from these slices
    chance: float  # one over the vocabulary


@dataclass(frozen=True)
class Divergence:
    """How far a run is from the privileged teacher along its own sampled rollouts (Eq. 4), on held-out slices."""

    runs: tuple[str, ...]
    scales: tuple[str, ...]
    kl: np.ndarray  # float64 (run, scale): KL(run || teacher), nats per token


@dataclass(frozen=True)
class Ceiling:
    """What the tokenizer itself makes of the true tokens of all levels: no transformer behind it can do better."""

    patterns: tuple[str, ...]
    tokenizer: np.ndarray  # float64 (pattern,): PSNR of its magnitude image, dB
    zero_filled: np.ndarray  # float64 (pattern,): PSNR of the zero-filled image at the highest R, dB


@dataclass(frozen=True)
class Timing:
    """From the measured image to the reconstructed one: tokens of the measured level, rollout, decoder."""

    runs: tuple[str, ...]
    seconds: np.ndarray  # float64 (run,): per image, one image at a time, median
    device: str


@dataclass(frozen=True)
class Inspection:
    """All of it, for some slices of a test set; parts that could not be made are absent."""

    dataset: str
    slices: int  # that the tokenizer was shown: codebook, ceiling
    judged: int  # that the transformers were shown: accuracy, divergence
    codebook: Codebook | None = None
    accuracy: Accuracy | None = None
    divergence: Divergence | None = None
    ceiling: Ceiling | None = None
    timing: Timing | None = None


PARTS = {
    "codebook": Codebook, "accuracy": Accuracy, "divergence": Divergence, "ceiling": Ceiling, "timing": Timing,
}  # fmt: skip


def perplexity(counts: np.ndarray) -> float:
    """exp(-sum p log p) of counts; NaN where nothing was counted."""
    total = counts.sum()
    if total == 0:
        return float("nan")
    share = counts[counts > 0] / total
    return float(np.exp(-(share * np.log(share)).sum()))


def write_inspection(path: Path | str, inspection: Inspection) -> None:
    """Write an .npz of plain arrays, atomically."""
    arrays: dict[str, Any] = {name: np.array(getattr(inspection, name)) for name in ("dataset", "slices", "judged")}
    for name in PARTS:
        if (part := getattr(inspection, name)) is not None:
            arrays |= {f"{name}.{field.name}": np.asarray(getattr(part, field.name)) for field in fields(part)}
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        np.savez_compressed(handle, allow_pickle=False, **arrays)


def read_inspection(path: Path | str) -> Inspection:
    """Read what `write_inspection` wrote; UserError when the file is missing, damaged or incomplete."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        parts = {name: _part(kind, name, arrays) for name, kind in PARTS.items()}
        return Inspection(str(arrays["dataset"]), int(arrays["slices"]), int(arrays["judged"]), **parts)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the rule inspect_nas.") from None
    except KeyError as error:
        raise UserError(f"{path}: array {error} is missing; delete the file and run inspect_nas again.") from None
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: not a readable .npz ({error}); delete it and run inspect_nas again.") from None


def _part(kind: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """A part from its arrays, None if none of them is there; scalars and tuples get their Python types back."""
    if not any(key.startswith(f"{name}.") for key in arrays):
        return None
    values: dict[str, Any] = {}
    for field in fields(kind):
        value = arrays[f"{name}.{field.name}"]
        if str(field.type).startswith("tuple"):
            values[field.name] = tuple(value.tolist())
        else:
            values[field.name] = value.item() if value.ndim == 0 else value
    return kind(**values)
