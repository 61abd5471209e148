"""The ladder: PSNR of every rung with its interval, and what each rung gains over the first, beside the paper."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from rekon.evaluation.statistics import average, paired
from rekon.plan import CLASSICAL
from rekon.reporting.figures.style import BLUE, GREY, INK, PAPER, Drawn, look, write_svg
from rekon.reporting.sources import AVERAGE, Sources
from rekon.reporting.tables import cells

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Rows = dict[str, dict[str, Any]]  # run -> row of the table


def draw(sources: Sources, study: str, table: pd.DataFrame, path: Path) -> Drawn:
    """Write the chart. `table`: `rekon.reporting.tables.published_table` of the study."""
    from matplotlib import pyplot

    rows = {(name, run): row for (name, metric, run), row in cells(table).items() if metric == "psnr"}
    sets = list(dict.fromkeys(name for (name, _), row in rows.items() if not math.isnan(row["mean"])))
    rungs = [run for run in sources.scored(study) if sources.learned(run)]
    titles = [sources.title(run) for run in rungs]
    columns = max(len(sets), 1)
    with look():
        figure, axes = pyplot.subplots(
            2, columns, figsize=(2.35 * columns + 0.6, 5.6), squeeze=False, sharex=True,
            gridspec_kw={"wspace": 0.32, "hspace": 0.12},
        )  # fmt: skip
        for column, name in zip(axes.T, sets, strict=False):
            part = {run: row for (dataset, run), row in rows.items() if dataset == name}
            _absolute(column[0], part, rungs)
            _gains(column[1], sources, study, name, part, rungs)
            column[0].set_title(_heading(name), fontsize=9.5)
            column[1].set_xticks(
                range(len(rungs)), titles, rotation=55, ha="right", rotation_mode="anchor", fontsize=8.5
            )
        axes[0][0].set_ylabel("PSNR (dB)")
        axes[1][0].set_ylabel(f"gain over {titles[0]} (dB)" if titles else "gain (dB)")
        _legend(figure)
        write_svg(figure, path)
    return Drawn(
        path.name,
        "ladder",
        "The ladder, rung by rung",
        "Top: mean PSNR per rung with its 95 % bootstrap interval over subjects; dashed: zero-filled; dotted: SENSE. "
        "Bottom: paired gain over the first rung on the same slices, with its interval; diamonds are the paper's gains "
        "on its own data and at its own size. Vertical scales differ between sets.",
        _alt(rows, rungs, sets),
        least="860px",
        most="100%",
    )


def gain(sources: Sources, study: str, run: str, base: str, dataset: str) -> tuple[float, float, float]:
    """Paired PSNR gain (mean, low, high) of a run over another on a set, or on average over the zero-shot sets, dB."""
    settings = sources.settings(study)
    names = settings.ood if dataset == AVERAGE else (dataset,)
    tables = [paired(sources.scores(run, name), sources.scores(base, name), "psnr") for name in names]
    tables = [table for table in tables if len(table)]
    summary = average(tables, "psnr", aggregation=settings.aggregation, resamples=settings.bootstrap)
    return summary.mean, summary.low, summary.high


def _absolute(axis: Axes, part: Rows, rungs: list[str]) -> None:
    for run, style in ((f"{CLASSICAL}/zero-filled", "--"), (f"{CLASSICAL}/sense", ":")):
        if run in part and not math.isnan(part[run]["mean"]):
            axis.axhline(part[run]["mean"], color=GREY, linestyle=style, linewidth=1.4, zorder=1)
    for position, run in enumerate(rungs):
        _interval(axis, position, part[run]["mean"], part[run]["low"], part[run]["high"])
    axis.margins(x=0.12, y=0.12)


def _gains(axis: Axes, sources: Sources, study: str, name: str, part: Rows, rungs: list[str]) -> None:
    axis.axhline(0, color=INK, linewidth=0.9, zorder=1)
    for position, run in enumerate(rungs):
        theirs = part[run]["paper"] - part[rungs[0]]["paper"]
        if not math.isnan(theirs):
            axis.plot(position + 0.16, theirs, "D", color=PAPER, markeredgecolor="white", markersize=6.5, zorder=3)
        if position:
            _interval(axis, position - 0.1, *gain(sources, study, run, rungs[0], name))
        else:
            axis.plot(position - 0.1, 0, "o", color=BLUE, zorder=3)
    axis.margins(x=0.12, y=0.12)


def _interval(axis: Axes, x: float, mean: float, low: float, high: float) -> None:
    if math.isnan(mean):
        return
    if not math.isnan(low):
        axis.plot([x, x], [low, high], color=BLUE, linewidth=2.2, alpha=0.55, solid_capstyle="butt", zorder=2)
    axis.plot(x, mean, "o", color=BLUE, zorder=3)


def _legend(figure: Any) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=BLUE, marker="o", linewidth=2.2, label="measured here, 95 % interval"),
        Line2D([], [], color=PAPER, marker="D", linestyle="none", label="paper (other data, other size)"),
        Line2D([], [], color=GREY, linestyle="--", label="zero-filled"),
        Line2D([], [], color=GREY, linestyle=":", label="ESPIRiT-SENSE"),
    ]
    figure.legend(handles=handles, loc="upper center", ncols=4, bbox_to_anchor=(0.5, 1.0), fontsize=9)


def _heading(name: str) -> str:
    return "average, zero-shot" if name == AVERAGE else name


def _alt(rows: dict[tuple[str, str], dict[str, Any]], rungs: list[str], sets: list[str]) -> str:
    parts = []
    for name in sets:
        numbers = ", ".join(f"{run.split('/')[1]} {rows[name, run]['mean']:.2f}" for run in rungs)
        parts.append(f"{name}: {numbers}")
    return "PSNR in dB per rung. " + "; ".join(parts)
