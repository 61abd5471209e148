"""The search for the data's weight: error over zeta on validation slices, a chart per run, a line per acceleration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rekon.reporting.figures.style import LINES, MARKERS, Drawn, look, write_svg

MEANING = {
    "dps": "ζ: step down the gradient", "dps-heun": "ζ: step down the gradient",
    "dds": "ζ: weight of the data over the prior's estimate",
}  # fmt: skip
ACROSS = 3  # charts in a row, at most


class Row(Protocol):
    """One weight at one acceleration."""

    @property
    def acceleration(self) -> int: ...
    @property
    def zeta(self) -> float: ...
    @property
    def nrmse(self) -> float: ...
    @property
    def slices(self) -> int: ...


@dataclass(frozen=True)
class Sweep:
    """All weights tried for a run, and what `rekon.dpm.tuning` chose among them."""

    method: str  # key of MEANING
    rows: Sequence[Row]
    chosen: Mapping[int, float]  # by acceleration

    def line(self, acceleration: int) -> list[tuple[float, float]]:
        """(zeta, NRMSE in %) by zeta."""
        rows = (row for row in self.rows if row.acceleration == acceleration)
        return sorted((row.zeta, 100 * row.nrmse) for row in rows)


def draw(sweeps: Mapping[str, Sweep], path: Path) -> Drawn:
    """Write the chart. sweeps: by the run's title."""
    from matplotlib import pyplot
    from matplotlib.ticker import FuncFormatter, NullFormatter

    rows = -(-len(sweeps) // ACROSS)
    columns = -(-len(sweeps) // rows)
    accelerations = sorted({r for sweep in sweeps.values() for r in sweep.chosen})
    with look():
        figure, axes = pyplot.subplots(
            rows, columns, figsize=(0.8 + 3.4 * columns, 0.5 + 2.9 * rows), squeeze=False,
            gridspec_kw={"wspace": 0.28, "hspace": 0.55},
        )  # fmt: skip
        for axis in axes.flat[len(sweeps) :]:
            axis.set_axis_off()
        handles = {}
        for axis, (title, sweep) in zip(axes.flat, sweeps.items(), strict=False):
            for index, r in enumerate(accelerations):
                points = sweep.line(r)
                if not points:
                    continue
                colour, marker = LINES[index % len(LINES)], MARKERS[index % len(MARKERS)]
                (handles[r],) = axis.plot(*zip(*points, strict=True), marker=marker, color=colour, markersize=5)
                best = dict(points).get(sweep.chosen.get(r, float("nan")))
                if best is not None:
                    axis.plot(sweep.chosen[r], best, marker, markersize=11, color="none", markeredgecolor=colour,
                              markeredgewidth=1.7)  # fmt: skip
            tried = sorted({row.zeta for row in sweep.rows})
            axis.set_xscale("log")
            axis.set_xticks(tried, [f"{zeta:g}" for zeta in tried])
            axis.xaxis.set_minor_formatter(NullFormatter())
            axis.xaxis.set_minor_locator(pyplot.NullLocator())
            axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_title(title)
            axis.set_xlabel(MEANING[sweep.method], fontsize=8.5)
        for row in axes:
            row[0].set_ylabel("NRMSE (%)")
        figure.legend(
            list(handles.values()), [f"R = {r}" for r in handles], loc="lower center", ncols=len(handles),
            bbox_to_anchor=(0.5, 0.96 - 0.03 * (rows > 1)),  # above the titles
        )  # fmt: skip
        write_svg(figure, path)
    words = "; ".join(
        f"{title}: " + ", ".join(f"{zeta:g} at R = {r}" for r, zeta in sorted(sweep.chosen.items()))
        for title, sweep in sweeps.items()
    )
    slices = max(row.slices for sweep in sweeps.values() for row in sweep.rows)
    return Drawn(
        path.name,
        "inside",
        "Search for ζ",
        f"Mean NRMSE over {slices} slices of validation subjects, whom no prior was trained on and who are in no test; "
        f"the ring marks what is used. Chosen: {words}. A ring at an end of its line may have its optimum beyond. The "
        "paper says that higher R needs a larger ζ. ζ of DPS and of DDS are different quantities.",
        f"Chosen ζ by run: {words}",
        least=f"{min(200 * columns, 600)}px",
        most=f"{300 * columns}px",
    )
