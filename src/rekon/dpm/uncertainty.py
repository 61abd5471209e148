"""Several draws per slice: their mean, their spread, and whether the spread tells the true error.

All on magnitudes, which is what is read and scored.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEVELS = (0.5, 0.68, 0.8, 0.9, 0.95)  # of the intervals whose coverage is counted


@dataclass(frozen=True)
class Posterior:
    """A slice's draws in summary, float32 (H, W), in the reference's unit."""

    mean: np.ndarray
    std: np.ndarray  # over draws, unbiased (n - 1)
    target: np.ndarray
    draws: int

    @property
    def error(self) -> np.ndarray:
        """mean - target."""
        return self.mean - self.target

    @property
    def predicted(self) -> np.ndarray:
        """Standard deviation of `error` that the draws promise: that of the truth around the mean of n draws."""
        return self.std * np.sqrt(1 + 1 / self.draws)


@dataclass(frozen=True)
class Calibration:
    """Predicted standard deviation against true error.

    The bins hold equally many pixels, ordered by what was predicted; coverage is the share of pixels whose error is
    smaller than the Gaussian interval of a level is wide.
    """

    predicted: np.ndarray  # float64 (bins,), root mean square of the predicted deviation
    rmse: np.ndarray  # float64 (bins,)
    pixels: np.ndarray  # int64 (bins,)
    levels: np.ndarray  # float64, nominal
    coverage: np.ndarray  # float64, found

    @property
    def ratio(self) -> float:
        """Root mean square predicted deviation over that of the error, all pixels: 1 if calibrated, below: too sure."""
        weights = self.pixels / self.pixels.sum()
        return float(np.sqrt((weights * self.predicted**2).sum() / (weights * self.rmse**2).sum()))


def posterior(draws: np.ndarray, target: np.ndarray) -> Posterior:
    """Summary of magnitudes (draws, H, W), at least two, with their reference (H, W)."""
    assert draws.ndim == 3 and len(draws) > 1 and draws.shape[1:] == target.shape, (draws.shape, target.shape)
    exact = draws.astype(np.float64)
    mean, std = exact.mean(0), exact.std(0, ddof=1)
    return Posterior(mean.astype(np.float32), std.astype(np.float32), target.astype(np.float32), len(draws))


def calibration(slices: list[Posterior], bins: int = 10, floor: float = 0.0) -> Calibration:
    """Over all pixels of some slices whose reference exceeds `floor` of its slice's maximum (0: all pixels)."""
    assert slices and bins >= 1
    kept = [one.target > floor * one.target.max() if floor else np.ones(one.target.shape, bool) for one in slices]
    predicted = np.concatenate([one.predicted[keep] for one, keep in zip(slices, kept, strict=True)]).astype(np.float64)
    error = np.concatenate([one.error[keep] for one, keep in zip(slices, kept, strict=True)]).astype(np.float64)
    order = np.argsort(predicted, kind="stable")
    groups = np.array_split(order, min(bins, len(order)))
    within = np.array([_gaussian_width(level) for level in LEVELS])[:, None] * predicted
    return Calibration(
        np.array([np.sqrt(np.mean(predicted[group] ** 2)) for group in groups]),
        np.array([np.sqrt(np.mean(error[group] ** 2)) for group in groups]),
        np.array([len(group) for group in groups]),
        np.array(LEVELS),
        (np.abs(error) <= within).mean(1),
    )


def _gaussian_width(level: float) -> float:
    """Standard deviations either side of the mean that hold a share `level` of a Gaussian."""
    from scipy.special import ndtri

    return float(ndtri((1 + level) / 2))
