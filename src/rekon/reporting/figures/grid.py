"""The fine-tuning grid: the error of every rate and length as a heat map, and over length, a line per rate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rekon.config import Recipe
from rekon.reporting.figures.errors import Score
from rekon.reporting.figures.style import BLACK, GREEN, GREY, INK, LINES, MARKERS, PAPER, Drawn, look, write_svg
from rekon.reporting.views import View

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Cell:
    """Fine-tuning at one of the paper's rates for one of its lengths."""

    recipe: Recipe | None  # None: not run at this scale
    score: Score | None  # NRMSE, %; None: not evaluated

    @property
    def length(self) -> str:
        """How long it is really trained; empty where it is not."""
        training = self.recipe.training if self.recipe else None
        if training is None:
            return ""
        return f"{training.steps} steps" if training.steps else f"{training.epochs} epochs"

    @property
    def rate(self) -> str:
        """The learning rate that is really taken."""
        training = self.recipe.training if self.recipe else None
        return f"{training.learning_rate:g}".replace("e-0", "e-") if training else ""


@dataclass(frozen=True)
class Grid:
    """The fine-tuning grid in one view. Rates fall, lengths rise."""

    view: View
    rates: tuple[str, ...]
    lengths: tuple[int, ...]  # epochs
    cells: dict[tuple[str, int], Cell]
    start: Score | None  # the prior that fine-tuning starts from: length 0
    few: Score | None  # the same images from scratch

    def line(self, rate: str) -> dict[int, Score]:
        """NRMSE over length, from 0 on, as far as it was evaluated; empty where only the start was."""
        cells = {length: self.cells[rate, length].score for length in self.lengths}
        known = {length: score for length, score in cells.items() if score}
        return {0: self.start, **known} if known and self.start else known


def draw(grid: Grid, choice: tuple[str, int], where: str, path: Path) -> Drawn:
    """Write the chart. choice: the paper's cell (rate, length), framed."""
    from matplotlib import pyplot

    with look():
        figure, (left, right) = pyplot.subplots(
            1, 2, figsize=(11.5, 4.1), gridspec_kw={"wspace": 0.2, "width_ratios": [1.25, 1]}
        )
        _heat(left, grid, choice)
        _lines(right, grid)
        write_svg(figure, path)
    words = "; ".join(
        f"{rate} for {length}: {cell.score.mean:.2f} %"
        for (rate, length), cell in sorted(grid.cells.items(), key=lambda item: (-float(item[0][0]), item[0][1]))
        if cell.score
    )
    start = f" Before fine-tuning it is {grid.start.mean:.2f} %." if grid.start else ""
    few = f" From scratch, on the same images, {grid.few.mean:.2f} %." if grid.few else ""
    return Drawn(
        path.name,
        "ladder",
        "Fine-tuning: rate and length",
        f"Mean NRMSE, {where}. Rates and lengths are named as in the paper; what this scale really takes stands in "
        f"each cell. Orange frame: the paper's choice. Hatched: not run at this scale.{start}{few} A line that falls "
        "and rises again has a window between under- and over-adaptation.",
        f"NRMSE by fine-tuning rate and length in epochs: {words}",
    )


def _heat(axis: Axes, grid: Grid, choice: tuple[str, int]) -> None:
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    values = np.array([[_mean(grid, rate, length) for length in grid.lengths] for rate in grid.rates])
    low, high = np.nanmin(values), max(np.nanmax(values), np.nanmin(values) + 1e-6)
    axis.set_xlim(-0.5, len(grid.lengths) - 0.5)
    axis.set_ylim(len(grid.rates) - 0.5, -0.5)
    for row, rate in enumerate(grid.rates):
        for column, length in enumerate(grid.lengths):
            cell, corner, shade = grid.cells[rate, length], (column - 0.5, row - 0.5), 0.0
            if cell.score is None:
                axis.add_patch(
                    Rectangle(corner, 1, 1, facecolor="#f2f4f6", edgecolor="#c3cad1", hatch="///", linewidth=0)
                )
                why = "not run at\nthis scale" if cell.recipe is None else "not\nevaluated"
                axis.text(column, row, why, ha="center", va="center", fontsize=8.5, color=INK)
                continue
            shade = (cell.score.mean - low) / (high - low)
            ink = "white" if shade < 0.5 else BLACK
            axis.add_patch(Rectangle(corner, 1, 1, facecolor=colormaps["cividis"](shade), edgecolor="white"))
            axis.text(
                column, row - 0.12, f"{cell.score.mean:.2f} %", ha="center", va="center", weight="bold", color=ink
            )
            taken = f"rate {cell.rate}\n{cell.length}"
            axis.text(column, row + 0.22, taken, ha="center", va="center", fontsize=7.5, color=ink)
    place = (grid.lengths.index(choice[1]) - 0.5, grid.rates.index(choice[0]) - 0.5)
    axis.add_patch(Rectangle(place, 1, 1, fill=False, edgecolor=PAPER, linewidth=4, zorder=3))
    axis.set_xticks(range(len(grid.lengths)), [f"{length:,}".replace(",", " ") for length in grid.lengths])
    axis.set_yticks(range(len(grid.rates)), grid.rates)
    axis.set_xlabel("length in the paper (epochs)")
    axis.set_ylabel("learning rate in the paper")
    axis.set_title("NRMSE, and what this scale takes (dark: low)")
    axis.grid(False)


def _lines(axis: Axes, grid: Grid) -> None:
    places = {length: place for place, length in enumerate((0, *grid.lengths))}
    if grid.few:
        axis.axhline(grid.few.mean, color=GREY, linestyle="--", linewidth=1.4, label="few alone, from scratch")
    for index, rate in enumerate(grid.rates):
        line = grid.line(rate)
        if not line:
            continue
        xs, ys = [places[length] for length in line], [one.mean for one in line.values()]
        axis.plot(xs, ys, marker=MARKERS[index], color=LINES[index], markeredgecolor="white", label=f"rate {rate}")
    if grid.start:
        axis.plot(0, grid.start.mean, "*", color=GREEN, markersize=13, zorder=4, label="pre-trained only")
    axis.set_xlim(-0.3, len(places) - 0.7)
    names = [f"{length:,}".replace(",", " ") for length in places]
    axis.set_xticks(
        range(len(places)), [f"{name}\n{_steps(grid, length)}" for name, length in zip(names, places, strict=True)]
    )
    axis.set_xlabel("length of fine-tuning: epochs in the paper; here")
    axis.set_ylabel("NRMSE (%)")
    axis.set_title("error over length")
    axis.margins(y=0.12)
    axis.legend(fontsize=8.5, frameon=True, framealpha=0.85, edgecolor="none")


def _mean(grid: Grid, rate: str, length: int) -> float:
    score = grid.cells[rate, length].score
    return score.mean if score else float("nan")


def _steps(grid: Grid, length: int) -> str:
    """How long the cells of a column are really trained."""
    found = {cell.length for (_, of), cell in grid.cells.items() if of == length} - {""}
    return found.pop() if len(found) == 1 else "differs" if found else "none" if not length else ""
