"""Agreement of two readings on an ordinal scale: weighted kappa (Cohen, Psychol. Bull. 70:213, 1968)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from rekon.randomness import generator

RESAMPLES = 2000
UNDEFINED = "undefined"
# Landis and Koch, Biometrics 33:159 (1977), Table 2: largest kappa that the word covers
WORDS = ((0.2, "slight"), (0.4, "fair"), (0.6, "moderate"), (0.8, "substantial"), (1.0, "almost perfect"))


class Kappa(NamedTuple):
    """Weighted kappa with its bootstrap interval over subjects, and Landis and Koch's word for it."""

    kappa: float
    low: float
    high: float
    word: str


class Agreement(NamedTuple):
    """Two readings of the same images. identical: share of images scored the same."""

    images: int
    subjects: int
    identical: float
    linear: Kappa
    quadratic: Kappa


def weighted_kappa(table: ArrayLike, power: int) -> np.ndarray:
    """1 - sum(w o) / sum(w e), w = |i - j|^power: linear weights for power 1, quadratic ones for 2.

    table: counts (..., k, k), of category i in one reading and j in the other; o are their shares, e those expected
    from the margins alone. Returns float64 (...); NaN where e leaves no disagreement to expect: both readings put
    every image into the same category.
    """
    observed = np.asarray(table, dtype=np.float64)
    size = observed.shape[-1]
    weight = np.abs(np.subtract.outer(np.arange(size), np.arange(size))).astype(np.float64) ** power
    rows, columns, total = observed.sum(-1), observed.sum(-2), observed.sum((-2, -1))
    expected = np.einsum("...i,ij,...j->...", rows, weight, columns)
    disagreement = (weight * observed).sum((-2, -1)) * total
    return 1 - np.divide(disagreement, expected, out=np.full(expected.shape, np.nan), where=expected > 0)


def landis_koch(kappa: float) -> str:
    """Landis and Koch's word for a kappa: "poor" below 0, then slight, fair, moderate, substantial, almost perfect."""
    if np.isnan(kappa):
        return UNDEFINED
    if kappa < 0:
        return "poor"
    return next(word for largest, word in WORDS if kappa <= largest + 1e-9)


def agreement(
    first: ArrayLike, second: ArrayLike, subjects: ArrayLike, *, categories: int = 5, alpha: float = 0.05, seed: int = 0
) -> Agreement:
    """Two readings of n images on the scale 1 ... categories, each (n,), without gaps; subjects: whose image it is.

    The interval has confidence 1 - alpha, two-sided, and resamples subjects with all their images. It is NaN with
    fewer than two subjects or where kappa is undefined.
    """
    one, two = np.asarray(first, dtype=np.int64) - 1, np.asarray(second, dtype=np.int64) - 1
    names, owner = np.unique(np.asarray(subjects, dtype=str), return_inverse=True)
    assert one.shape == two.shape == owner.shape and one.ndim == 1, (one.shape, two.shape, owner.shape)
    counts = np.zeros((len(names), categories, categories))  # a table per subject
    np.add.at(counts, (owner, one, two), 1)
    nan = float("nan")
    if not len(one):
        return Agreement(0, 0, nan, *2 * (Kappa(nan, nan, nan, UNDEFINED),))
    drawn = generator(seed, "reader-study agreement").multinomial(
        len(names), np.full(len(names), 1 / len(names)), RESAMPLES
    )
    resampled = np.tensordot(drawn.astype(np.float64), counts, 1)
    return Agreement(
        len(one), len(names), float((one == two).mean()),
        *(_kappa(counts.sum(0), resampled, power, alpha, len(names)) for power in (1, 2)),
    )  # fmt: skip


def _kappa(table: np.ndarray, resampled: np.ndarray, power: int, alpha: float, subjects: int) -> Kappa:
    kappa = float(weighted_kappa(table, power))
    low = high = float("nan")
    if subjects > 1 and not np.isnan(kappa):
        # a resample in which both readings are constant has no kappa
        low, high = (float(q) for q in np.nanquantile(weighted_kappa(resampled, power), [alpha / 2, 1 - alpha / 2]))
    return Kappa(kappa, low, high, landis_koch(kappa))
