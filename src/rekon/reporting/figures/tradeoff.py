"""Quality against runtime, one point per run, on average over the zero-shot sets (UEPS Fig. 1)."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd

from rekon.reporting.figures.style import BLACK, GREY, LINES, MARKERS, PAPER, Drawn, look, write_svg
from rekon.reporting.sources import AVERAGE, CLASSICAL, Sources
from rekon.reporting.tables import cells


def draw(sources: Sources, study: str, table: pd.DataFrame, path: Path, device: str) -> Drawn:
    """Write the chart. `table`: `rekon.reporting.tables.published_table`; `device`: what the runtimes were taken on."""
    from matplotlib import pyplot

    rows = cells(table)
    runs = sources.runs(study)
    learned = [run for run in runs if not run.startswith(f"{CLASSICAL}/")]
    with look():
        figure, (left, right) = pyplot.subplots(1, 2, figsize=(10.5, 3.9), gridspec_kw={"wspace": 0.24})
        for run in runs:
            x, y = (rows[AVERAGE, metric, run] for metric in ("milliseconds", "psnr"))
            if math.isnan(x["mean"]) or math.isnan(y["mean"]):
                continue
            own = learned.index(run) if run in learned else None
            colour = GREY if own is None else LINES[own % len(LINES)]
            marker = "x" if own is None else MARKERS[own % len(MARKERS)]
            left.plot(x["mean"], y["mean"], marker, color=colour, markersize=9, zorder=3)
            _label(left, x["mean"], y["mean"], sources.title(run))
        for run in learned:
            x, y = rows[AVERAGE, "milliseconds", run]["paper"], rows[AVERAGE, "psnr", run]["paper"]
            if not (math.isnan(x) or math.isnan(y)):
                right.plot(x, y, "D", color=PAPER, markersize=8, zorder=3)
                _label(right, x, y, sources.title(run))
        left.set_title(f"measured here, {device}")
        right.set_title("paper, RTX 5090")
        for axis in (left, right):
            axis.set_xscale("log")
            axis.set_xlabel("runtime per slice, all coils (ms)")
            axis.set_ylabel("PSNR (dB)")
            axis.margins(x=0.22, y=0.18)
        write_svg(figure, path)
    return Drawn(
        path.name,
        "ladder",
        "Quality against runtime",
        "Mean over the zero-shot sets. Left: measured here; right: the paper's Table 2. Up and to the left is better; "
        "runtimes of different machines do not compare, their order may.",
        "PSNR against runtime per slice, one point per run.",
    )


def _label(axis: object, x: float, y: float, text: str) -> None:
    axis.annotate(text, (x, y), (7, 5), textcoords="offset points", fontsize=8.5, color=BLACK)  # type: ignore[attr-defined]
