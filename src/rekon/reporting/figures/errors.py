"""A metric of many methods side by side, with intervals: a panel per view, a row per method, by groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rekon.reporting.figures.style import BLUE, GREY, INK, MARKERS, PURPLE, Drawn, look, write_svg

COLOURS = {1: (BLUE,), 2: (GREY, BLUE), 3: (GREY, PURPLE, BLUE)}  # of the groups, by their number


class Score(NamedTuple):
    """A run's metric in a view, in the shown unit."""

    mean: float
    low: float  # 95 % bootstrap over subjects
    high: float
    subjects: int


def draw(
    groups: Mapping[str, Mapping[str, Sequence[Score | None]]],
    panels: Sequence[str],
    marked: str,
    heading: str,
    caption: str,
    path: Path,
    label: str = "NRMSE (%)",
) -> Drawn:
    """Write the chart. groups: name -> method -> a value per panel; marked: the method that is set in bold."""
    from matplotlib import pyplot
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    places, rows = {}, 0.0
    for methods in groups.values():
        for name in methods:
            places[name], rows = rows, rows + 1
        rows += 0.5  # between groups
    with look():
        figure, axes = pyplot.subplots(
            1, len(panels), figsize=(2.4 + 2.7 * len(panels), 0.9 + 0.34 * rows), sharex=True, sharey=True,
            squeeze=False, gridspec_kw={"wspace": 0.08},
        )  # fmt: skip
        for number, (axis, panel) in enumerate(zip(axes[0], panels, strict=True)):
            for colour, marker, (group, methods) in zip(COLOURS[len(groups)], MARKERS, groups.items(), strict=False):
                known = {name: values[number] for name, values in methods.items()}
                handle = None
                for name, value in known.items():
                    if value is None:
                        axis.text(0.02, places[name], "no result", transform=axis.get_yaxis_transform(), va="center",
                                  color=GREY, fontsize=8.5)  # fmt: skip
                        continue
                    axis.plot([value.low, value.high], [places[name]] * 2, color=colour, linewidth=5, alpha=0.35,
                              solid_capstyle="butt")  # fmt: skip
                    (handle,) = axis.plot(value.mean, places[name], marker, color=colour, markersize=7)
                    axis.annotate(f"{value.mean:.2f}", (value.mean, places[name]), (0, 6), color=INK,
                                  textcoords="offset points", ha="center", fontsize=8)  # fmt: skip
                if handle and not number:
                    handle.set_label(group)
            axis.set_title(panel)
            axis.set_xscale("log")
            axis.xaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 3, 4, 5, 7)))
            axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.xaxis.set_minor_formatter(NullFormatter())
            axis.set_xlabel(label)
            axis.margins(x=0.14)
        first = axes[0][0]
        first.set_yticks(list(places.values()), list(places))
        for text in first.get_yticklabels():
            if text.get_text() == marked:
                text.set_fontweight("bold")
        first.set_ylim(rows - 0.8, -0.8)
        if len(groups) > 1:
            figure.legend(loc="lower center", ncols=len(groups), bbox_to_anchor=(0.5, 0.97), fontsize=9)
        write_svg(figure, path)
    words = "; ".join(
        f"{name} " + ", ".join(f"{value.mean:.2f} ({value.low:.2f} to {value.high:.2f})" for value in values if value)
        for methods in groups.values()
        for name, values in methods.items()
        if any(values)
    )
    return Drawn(
        path.name,
        "ladder",
        heading,
        caption,
        f"{label} at {', '.join(panels)}, with 95 % intervals: {words}",
        most="900px" if len(panels) > 1 else "560px",
    )
