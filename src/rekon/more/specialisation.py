"""What experts have come to be for: their load, and how much an expert tells of the modality. NumPy only.

Tables count samples: (G, R, N) for G modalities, R routers, N experts; (V, R, C) for V volumes, C sets of experts.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from rekon.randomness import generator

COLLAPSED = 0.9  # of all samples: a router that sends more than this to one expert has not learned to choose


def entropy(share: np.ndarray) -> np.ndarray:
    """Shannon entropy in nats of distributions along the last axis; counts will do."""
    whole = share.sum(axis=-1, keepdims=True)
    p = share / np.where(whole > 0, whole, 1)
    return -(p * np.log(np.where(p > 0, p, 1))).sum(axis=-1)


def mutual_information(table: np.ndarray) -> np.ndarray:
    """Normalised mutual information of two labels from their joint counts (..., G, N): 2 I / (H_rows + H_columns).

    0..1, and 0 where one of them is always the same: it then tells nothing of the other.
    """
    rows, columns = entropy(table.sum(axis=-1)), entropy(table.sum(axis=-2))
    whole = rows + columns
    joint = entropy(table.reshape(*table.shape[:-2], -1))
    shared = 2 * (whole - joint) / np.where(whole > 0, whole, 1)
    return np.where((rows == 0) | (columns == 0), 0.0, shared.clip(0, 1))


def joint(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Joint counts of two labels (S,) of any numbers: float64, a row for each that occurs in `one`."""
    (rows, first), (columns, second) = (np.unique(labels, return_inverse=True) for labels in (one, other))
    table = np.zeros((len(rows), len(columns)))
    np.add.at(table, (first, second), 1)
    return table


def by_chance(modality_V: np.ndarray, table_VN: np.ndarray, draws: int = 200) -> float:
    """Mean `mutual_information` where modalities are dealt out to volumes at random: above 0 where volumes are few.

    table: counts of the other label in each volume. Slices of a volume keep together: they are alike, so whatever tells
    volumes apart seems to tell of modalities as well.
    """
    rng = generator(0, "mutual information by chance")
    dealt_DV = rng.permuted(np.tile(modality_V, (draws, 1)), axis=1)
    of_DGV = dealt_DV[:, None] == np.unique(modality_V)[:, None]
    return float(mutual_information(of_DGV.astype(float) @ table_VN).mean())


def sets(experts: int, top_k: int) -> np.ndarray:
    """Every set of `top_k` experts, bool (sets, experts)."""
    members = np.zeros((math.comb(experts, top_k), experts), bool)
    for row, chosen in zip(members, itertools.combinations(range(experts), top_k), strict=True):
        row[list(chosen)] = True
    return members


def collapsed(chosen_GRN: np.ndarray, samples: int, top_k: int) -> np.ndarray:
    """Routers that send more than 90 % of all samples to one expert, bool (R,); none where every expert always works.

    chosen: samples that chose an expert, `top_k` experts each.
    """
    share_RN = chosen_GRN.sum(axis=0) / samples
    return share_RN.max(axis=1) > COLLAPSED if top_k < share_RN.shape[1] else np.zeros(len(share_RN), bool)


def routing_metrics(
    names: Sequence[str], modality_V: np.ndarray, table_VRC: np.ndarray, gate_entropy_R: np.ndarray,
    members_CN: np.ndarray,
) -> dict[str, float]:  # fmt: skip
    """What a validation reports of the routing.

    table: samples of each of V volumes by the set of experts that worked on them, of C `sets`, which have the members
    `members`; modality: of each volume; gate_entropy: sum over samples, nats.

    val_collapsed                 1 if any router has collapsed: the flag; val_collapsed_routers: how many
    val_largest_share             largest share of all samples that one expert of any router works on
    val_routing_entropy           of a sample's gates, in nats: 0 sure, ln N undecided; mean over routers
    val_load_entropy              of the experts' loads, over ln N: 1 all alike, 0 one does everything; likewise
    val_nmi                       of the chosen experts, as a set, with the modality; likewise
    val_nmi_chance                what chance makes of that with these volumes; likewise
    val_favourite_<modality>      share of its samples that its commonest expert works on; likewise
    val_usage_<router>_<expert>   share of all samples that the expert works on, counted from 0
    """
    samples, top_k = int(table_VRC[:, 0].sum()), int(members_CN[0].sum())
    table_GRC = np.stack([table_VRC[modality_V == group].sum(axis=0) for group in range(len(names))])
    chosen_GRN = table_GRC @ members_CN
    usage_RN = chosen_GRN.sum(axis=0) / samples
    fallen = collapsed(chosen_GRN, samples, top_k)
    chance = [by_chance(modality_V, table_VC) for table_VC in table_VRC.swapaxes(0, 1)]
    metrics = {
        "val_collapsed": float(fallen.any()),
        "val_collapsed_routers": float(fallen.sum()),
        "val_largest_share": float(usage_RN.max()),
        "val_routing_entropy": float(gate_entropy_R.mean() / samples),
        "val_load_entropy": float(entropy(usage_RN).mean() / np.log(usage_RN.shape[1])),
        "val_nmi": float(mutual_information(table_GRC.swapaxes(0, 1)).mean()),
        "val_nmi_chance": float(np.mean(chance)),
    }
    for name, table_RC, chosen_RN in zip(names, table_GRC, chosen_GRN, strict=True):
        if table_RC.any():
            metrics[f"val_favourite_{name}"] = float((chosen_RN.max(axis=1) / table_RC.sum(axis=1)).mean())
    for (router, expert), share in np.ndenumerate(usage_RN):
        metrics[f"val_usage_{router}_{expert}"] = float(share)
    return metrics
