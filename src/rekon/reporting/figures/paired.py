"""Paired differences of methods from one of them, with intervals and corrected tests: a panel per view."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from rekon.reporting.comparisons import Comparison, smallest_p
from rekon.reporting.figures.style import BLUE, GREY, INK, Drawn, look, write_svg
from rekon.reporting.metrics import METRICS
from rekon.reporting.scorecard import FEWEST_SUBJECTS


def draw(
    comparisons: Sequence[Comparison], titles: Mapping[str, str], reference: str, metric: str, where: str, path: Path
) -> Drawn:
    """Write the chart. comparisons: of one view each, p adjusted for all; titles: of the runs; reference: its title."""
    from matplotlib import pyplot
    from matplotlib.ticker import MaxNLocator

    shown = METRICS[metric]
    views = list(dict.fromkeys(one.views for one in comparisons))
    runs = list(dict.fromkeys(one.run for one in comparisons))
    with look():
        figure, axes = pyplot.subplots(
            1, len(views), figsize=(2.4 + 2.7 * len(views), 1.1 + 0.4 * len(runs)), sharex=True, sharey=True,
            squeeze=False, gridspec_kw={"wspace": 0.12},
        )  # fmt: skip
        for axis, view in zip(axes[0], views, strict=True):
            axis.axvline(0, color=INK, linewidth=1)
            for one in (one for one in comparisons if one.views == view):
                place, sure = runs.index(one.run), one.low > 0 or one.high < 0
                colour = BLUE if sure else GREY
                axis.plot([one.low, one.high], [place, place], color=colour, linewidth=5, alpha=0.4,
                          solid_capstyle="butt")  # fmt: skip
                axis.plot(one.mean, place, "o", color=colour, markersize=6.5)
                text = shown.text(one.mean, sign=True)
                text += "" if math.isnan(one.adjusted) else f", p = {number(one.adjusted)}"
                axis.annotate(text, (one.mean, place), (0, 7), textcoords="offset points", ha="center", fontsize=8,
                              bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5})  # fmt: skip
            axis.set_title(view[0].part)
            axis.xaxis.set_major_locator(MaxNLocator(5))
            axis.margins(x=0.22)
        low, high = axes[0][0].get_xlim()
        axes[0][0].set_xlim(min(low, -0.15 * high), max(high, -0.15 * low))
        axes[0][0].set_yticks(range(len(runs)), [titles[run] for run in runs])
        axes[0][0].set_ylim(len(runs) - 0.5, -0.8)
        figure.supxlabel(f"{shown.name} minus that of “{reference}” ({shown.points})", fontsize=10, y=-0.06)
        write_svg(figure, path)
    words = "; ".join(
        f"{titles[one.run]}, {one.views[0].part}: {shown.text(one.mean, sign=True)} ({shown.text(one.low, sign=True)} "
        f"to {shown.text(one.high, sign=True)}){'' if math.isnan(one.adjusted) else f', p = {number(one.adjusted)}'}"
        for one in comparisons
    )
    better = "left" if shown.higher_is_better else "right"
    return Drawn(
        path.name,
        "ladder",
        f"Differences from “{reference}”",
        f"{where}. Paired by slice, 95 % bootstrap interval over subjects; {better} of the line “{reference}” is "
        f"better, blue where the interval leaves out zero. {tested(comparisons)}",
        f"{shown.name} differences in {shown.points} from {reference}: {words}",
    )


def tested(comparisons: Sequence[Comparison]) -> str:
    """What was tested, or why nothing was, and what such tests can show at all."""
    counts = sorted({one.subjects for one in comparisons})
    n = f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}"
    made = [one for one in comparisons if not math.isnan(one.p)]
    if not made:
        return f"{n} subjects: no test is meaningful with fewer than {FEWEST_SUBJECTS}."
    text = (
        f"{n} subjects. p: Wilcoxon signed-rank over the subjects' means, two-sided, after Holm's correction for the "
        f"{len(made)} comparisons of this figure."
    )
    least = smallest_p(max(one.subjects for one in made), len(made))
    if least > 0.05:
        text += f" With so few subjects the clearest of them cannot get below p = {number(least)}: read the intervals."
    return text


def number(p: float) -> str:
    """A p value as people write it."""
    return "0.001" if 0.0005 <= p < 0.001 else f"{p:.2g}" if p >= 0.001 else f"{p:.0e}"
