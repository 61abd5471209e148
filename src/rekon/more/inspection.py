"""How test samples were routed, as arrays: for the paper's Fig. 2b, c, usage heat maps and numbers beside them.

Imports no torch, so that figures can be drawn without it. `rekon.more.inspect` fills this.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from rekon.errors import UserError
from rekon.files import atomic_path
from rekon.more.specialisation import collapsed, entropy, mutual_information


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
    def information_R(self) -> np.ndarray:
        """Normalised mutual information of each router's best expert with the modality, 0..1."""
        best_SRN = np.arange(self.gates_SRN.shape[2]) == self.gates_SRN.argmax(axis=2)[..., None]
        first_GRN = _by_group(best_SRN, self.labels_S, len(self.modalities))
        return np.array([mutual_information(first_GRN[:, r]) for r in range(first_GRN.shape[1])])

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


def write_routing(path: Path | str, routing: Routing) -> None:
    """Write an .npz of plain arrays, atomically."""
    arrays = {field.name: np.asarray(getattr(routing, field.name)) for field in fields(routing)}
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        np.savez_compressed(handle, allow_pickle=False, **arrays)


def read_routing(path: Path | str) -> Routing:
    """Read what `write_routing` wrote; UserError when the file is missing, damaged or incomplete."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {field.name: stored[field.name] for field in fields(Routing)}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; inspect the run first.") from None
    except KeyError as error:
        raise UserError(f"{path}: {error.args[0]!s}; delete the file and inspect the run again.") from None
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: not a readable .npz ({error}); delete it and inspect the run again.") from None
    named = {name: value if value.ndim else value.item() for name, value in arrays.items()}
    for name in ("volumes", "slices", "modalities"):
        named[name] = tuple(named[name].tolist())
    return Routing(**named)


def _by_group(marked_SRN: np.ndarray, labels_S: np.ndarray, groups: int) -> np.ndarray:
    """Marked samples of each group, float64 (G, R, N)."""
    return np.stack([marked_SRN[labels_S == group].sum(axis=0) for group in range(groups)]).astype(float)
