"""Training and validation loss of runs whose losses compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rekon.reporting.figures.style import LINES, MARKERS, Drawn, look, write_svg

POINTS = 150  # of a smoothed curve: what a chart this size can show


@dataclass(frozen=True)
class Group:
    """A chart: runs of some kinds, and what of their metrics.jsonl it shows."""

    title: str
    kinds: tuple[str, ...]
    left: str  # what is trained on, with its unit
    right: str  # what is validated
    loss: str = "loss"  # keys
    validation: str = "val_loss"
    runs: tuple[str, ...] = ()  # of those kinds; all of them, if empty
    name: str = ""  # part of the file's name; that of the first kind, if empty


def draw(histories: Mapping[str, Sequence[Mapping[str, Any]]], path: Path, group: Group) -> Drawn:
    """Write the chart. histories: title -> lines of metrics.jsonl."""
    from matplotlib import pyplot

    with look():
        figure, (left, right) = pyplot.subplots(1, 2, figsize=(10.5, 3.7), gridspec_kw={"wspace": 0.24})
        for index, (title, rows) in enumerate(histories.items()):
            colour, marker = LINES[index % len(LINES)], MARKERS[index % len(MARKERS)]
            dashes = "-" if index < len(LINES) else "--"
            steps, values = series(rows, group.loss)
            left.plot(*thinned(steps, values), dashes, color=colour, linewidth=1.4, label=title)
            steps, values = series(rows, group.validation)
            right.plot(steps, values, dashes, color=colour, marker=marker, markersize=5, markeredgecolor="white",
                       label=title)  # fmt: skip
            if values.size and np.isfinite(values).any():
                best = int(np.nanargmin(values))
                right.plot(
                    steps[best], values[best], marker=marker, markersize=10, color="none", markeredgecolor=colour,
                    markeredgewidth=1.6,
                )  # fmt: skip
        for axis, title in ((left, "training"), (right, "validation")):
            axis.set_yscale("log")
            axis.set_xlabel("optimiser step")
            axis.set_title(title)
            axis.grid(True, which="minor", linewidth=0.4)
        left.set_ylabel(group.left)
        right.set_ylabel(group.right)
        handles, labels = right.get_legend_handles_labels()
        figure.legend(
            handles,
            labels,
            loc="upper center",
            ncols=min(max(len(labels), 1), 5),
            bbox_to_anchor=(0.5, 1.06),
            fontsize=9,
        )
        write_svg(figure, path)
    return Drawn(
        path.name,
        "training",
        group.title,
        "Left: training loss, running mean. Right: loss on the validation subjects; the ring marks the kept weights. "
        "Both axes of values are logarithmic.",
        "Loss against optimiser step for " + ", ".join(histories),
    )


def series(rows: Sequence[Mapping[str, Any]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of a metric, where it was logged."""
    found = {int(row["step"]): float(row[key]) for row in rows if isinstance(row.get(key), int | float)}
    steps = sorted(found)
    return np.array(steps), np.array([found[step] for step in steps])


def thinned(steps: np.ndarray, values: np.ndarray, points: int = POINTS) -> tuple[np.ndarray, np.ndarray]:
    """At most `points` means of neighbouring values, each at its mean step."""
    if len(steps) <= points:
        return steps, values
    groups = np.array_split(np.arange(len(steps)), points)
    return np.array([steps[g].mean() for g in groups]), np.array([values[g].mean() for g in groups])
