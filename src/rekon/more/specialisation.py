"""What experts have come to be for: their load, and how much an expert tells of the modality. NumPy only.

Tables count samples: (G, R, N) for G modalities, R routers, N experts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rekon.randomness import generator

COLLAPSED = 0.9  # of all samples: a router that sends more than this to one expert has not learned to choose


def entropy(share: np.ndarray) -> np.ndarray:
    """Shannon entropy in nats of distributions along the last axis; counts will do."""
    whole = share.sum(axis=-1, keepdims=True)
    p = share / np.where(whole > 0, whole, 1)
    return -(p * np.log(np.where(p > 0, p, 1))).sum(axis=-1)


def mutual_information(table: np.ndarray) -> float:
    """Normalised mutual information of two labels from their joint counts (G, N): 2 I / (H_rows + H_columns), 0..1.

    0 where one of them is always the same: it then tells nothing of the other.
    """
    rows, columns = float(entropy(table.sum(axis=1))), float(entropy(table.sum(axis=0)))
    if rows == 0 or columns == 0:
        return 0.0
    joint = float(entropy(table.reshape(-1)))
    return min(max(2 * (rows + columns - joint) / (rows + columns), 0.0), 1.0)


def joint(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Joint counts of two labels (S,) of any numbers: float64, a row for each that occurs in `one`."""
    (rows, first), (columns, second) = (np.unique(labels, return_inverse=True) for labels in (one, other))
    table = np.zeros((len(rows), len(columns)))
    np.add.at(table, (first, second), 1)
    return table


def by_chance(one: np.ndarray, other: np.ndarray, draws: int = 200) -> float:
    """Mean `mutual_information` of two labels (S,) whose pairing is drawn at random: above 0 where samples are few."""
    rng = generator(0, "mutual information by chance")
    return float(np.mean([mutual_information(joint(rng.permutation(one), other)) for _ in range(draws)]))


def collapsed(chosen_GRN: np.ndarray, samples: int, top_k: int) -> np.ndarray:
    """Routers that send more than 90 % of all samples to one expert, bool (R,); none where every expert always works.

    chosen: samples that chose an expert, `top_k` experts each.
    """
    share_RN = chosen_GRN.sum(axis=0) / samples
    return share_RN.max(axis=1) > COLLAPSED if top_k < share_RN.shape[1] else np.zeros(len(share_RN), bool)


def routing_metrics(
    names: Sequence[str], first_GRN: np.ndarray, chosen_GRN: np.ndarray, gate_entropy_R: np.ndarray
) -> dict[str, float]:
    """What a validation reports of the routing.

    first: samples by their best expert; chosen: by all that worked on them; gate_entropy: sum over samples, nats.

    val_collapsed                 1 if any router has collapsed: the flag; val_collapsed_routers: how many
    val_largest_share             largest share of all samples that one expert of any router works on
    val_routing_entropy           of a sample's gates, in nats: 0 sure, ln N undecided; mean over routers
    val_load_entropy              of the experts' loads, over ln N: 1 all alike, 0 one does everything; likewise
    val_nmi                       of the best expert with the modality; likewise
    val_favourite_<modality>      share of its samples that go to its commonest expert; likewise
    val_usage_<router>_<expert>   share of all samples that the expert works on, counted from 0
    """
    samples = int(first_GRN[:, 0].sum())
    top_k = round(chosen_GRN[:, 0].sum() / samples)
    usage_RN = chosen_GRN.sum(axis=0) / samples
    fallen = collapsed(chosen_GRN, samples, top_k)
    metrics = {
        "val_collapsed": float(fallen.any()),
        "val_collapsed_routers": float(fallen.sum()),
        "val_largest_share": float(usage_RN.max()),
        "val_routing_entropy": float(gate_entropy_R.mean() / samples),
        "val_load_entropy": float(entropy(usage_RN).mean() / np.log(usage_RN.shape[1])),
        "val_nmi": float(np.mean([mutual_information(first_GRN[:, r]) for r in range(first_GRN.shape[1])])),
    }
    for name, table_RN in zip(names, first_GRN, strict=True):
        if table_RN.any():
            metrics[f"val_favourite_{name}"] = float((table_RN.max(axis=1) / table_RN.sum(axis=1)).mean())
    for (router, expert), share in np.ndenumerate(usage_RN):
        metrics[f"val_usage_{router}_{expert}"] = float(share)
    return metrics
