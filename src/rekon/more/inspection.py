"""How test samples were routed, as arrays: for the paper's Fig. 2b, c, usage heat maps and numbers beside them.

Imports no torch, so that figures can be drawn without it. `rekon.more.inspect` fills these.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from rekon.errors import UserError
from rekon.files import atomic_path
from rekon.more.specialisation import by_chance, collapsed, entropy, joint, mutual_information


@dataclass(frozen=True)
class Routing:
    """Samples of one run through all of its routers: S samples, R routers, N experts, E embedding."""

    run: str
    dataset: str
    volumes: tuple[str, ...]  # (S,)
    slices: tuple[int, ...]  # (S,)
    modalities: tuple[str, ...]  # (G,) names, in order
    labels_S: np.ndarray  # int64: place of each sample's modality in `modalities`
    embedding_SRE: np.ndarray  # float32: F_r, what the gate sees
    gates_SRN: np.ndarray  # float32: softmax, each row summing to 1
    chosen_SRN: np.ndarray  # bool: experts that worked on the sample
    parameters: int  # learnable numbers of the network
    active: int  # of those, what one sample is reconstructed with

    @property
    def top_k(self) -> int:
        return int(self.chosen_SRN[0, 0].sum())

    @property
    def usage_GRN(self) -> np.ndarray:
        """Share of each modality's samples that an expert works on; NaN for modalities without samples."""
        counts = _by_group(self.chosen_SRN, self.labels_S, len(self.modalities))
        samples_G = np.bincount(self.labels_S, minlength=len(self.modalities)).astype(float)
        samples_G[samples_G == 0] = np.nan
        return counts / samples_G[:, None, None]

    @property
    def sets_SR(self) -> np.ndarray:
        """Which experts worked on a sample, as one number: bit n for expert n. int64."""
        return (self.chosen_SRN * 2 ** np.arange(self.chosen_SRN.shape[2])).sum(axis=2)

    @property
    def information_R(self) -> np.ndarray:
        """Normalised mutual information of each router's chosen experts, as a set, with the modality, 0..1."""
        return np.array([float(mutual_information(joint(self.labels_S, sets_S))) for sets_S in self.sets_SR.T])

    @property
    def chance_R(self) -> np.ndarray:
        """What `information_R` would be by chance: its mean where modalities are dealt out to volumes at random."""
        volumes, first_V = np.unique(self.volumes, return_index=True)
        modality_V = self.labels_S[first_V]
        number_S = np.searchsorted(volumes, self.volumes)
        assert (modality_V[number_S] == self.labels_S).all(), "a volume is of one modality"
        return np.array([by_chance(modality_V, joint(number_S, sets_S)) for sets_S in self.sets_SR.T])

    @property
    def gate_entropy_R(self) -> np.ndarray:
        """Entropy of a sample's gates in nats, mean over samples."""
        return entropy(self.gates_SRN).mean(axis=0)

    @property
    def load_entropy_R(self) -> np.ndarray:
        """Entropy of the experts' loads over ln N: 1 where all work alike, 0 where one does everything."""
        return entropy(self.chosen_SRN.sum(axis=0)) / np.log(self.chosen_SRN.shape[2])

    @property
    def collapsed_R(self) -> np.ndarray:
        """Routers that send more than 90 % of the samples to one expert, bool."""
        return collapsed(self.chosen_SRN.sum(axis=0)[None], len(self.labels_S), self.top_k)


@dataclass(frozen=True)
class Sizes:
    """Learnable numbers of some networks."""

    runs: tuple[str, ...]
    parameters: np.ndarray  # int64
    active: np.ndarray  # int64: of those, what one sample is reconstructed with


@dataclass(frozen=True)
class Inspection:
    """What was seen of a study's runs; without `routing` where this scale trains no network that routes."""

    sizes: Sizes
    routing: Routing | None = None
    points_S2: np.ndarray | None = None  # float32: the last router's embeddings in a plane (t-SNE)


def write_inspection(path: Path | str, inspection: Inspection) -> None:
    """Write an .npz of plain arrays, atomically."""
    arrays = _flat("sizes", inspection.sizes)
    if inspection.routing is not None:
        assert inspection.points_S2 is not None, "what is routed is drawn"
        arrays |= _flat("routing", inspection.routing) | {"points": inspection.points_S2}
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        np.savez_compressed(handle, allow_pickle=False, **arrays)  # type: ignore[arg-type]


def read_inspection(path: Path | str) -> Inspection:
    """Read what `write_inspection` wrote; UserError when the file is missing, damaged or incomplete."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        sizes = _made(Sizes, "sizes", arrays)
        if "points" not in arrays:
            return Inspection(sizes)
        return Inspection(sizes, _made(Routing, "routing", arrays), arrays["points"])
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the rule inspect_more.") from None
    except KeyError as error:
        raise UserError(f"{path}: array {error} is missing; delete the file and run inspect_more again.") from None
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: not a readable .npz ({error}); delete it and run inspect_more again.") from None


def _flat(prefix: str, part: Any) -> dict[str, np.ndarray]:
    return {f"{prefix}.{field.name}": np.asarray(getattr(part, field.name)) for field in fields(part)}


def _made(kind: Any, prefix: str, arrays: dict[str, np.ndarray]) -> Any:
    """The inverse of `_flat`: scalars and tuples get their Python types back."""
    values = {field.name: arrays[f"{prefix}.{field.name}"] for field in fields(kind)}
    plain = {name: value if value.ndim else value.item() for name, value in values.items()}
    for name in {"runs", "volumes", "slices", "modalities"} & set(plain):
        plain[name] = tuple(plain[name].tolist())
    return kind(**plain)


def _by_group(marked_SRN: np.ndarray, labels_S: np.ndarray, groups: int) -> np.ndarray:
    """Marked samples of each group, float64 (G, R, N)."""
    return np.stack([marked_SRN[labels_S == group].sum(axis=0) for group in range(groups)]).astype(float)
