"""Quality against runtime, one point per run, on average over the zero-shot sets (UEPS Fig. 1)."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd

from rekon.reporting.figures.style import LINES, MARKERS, Drawn, look, write_svg
from rekon.reporting.sources import AVERAGE, Sources
from rekon.reporting.tables import cells


def draw(sources: Sources, study: str, table: pd.DataFrame, path: Path, device: str) -> Drawn:
    """Write the chart. `table`: `rekon.reporting.tables.published_table`; `device`: what the runtimes were taken on."""
    from matplotlib import pyplot
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    rows = cells(table)
    learned = [run for run in sources.scored(study) if sources.learned(run)]
    with look():
        figure, axes = pyplot.subplots(1, 2, figsize=(10.5, 3.7), gridspec_kw={"wspace": 0.24})
        titles = {"mean": f"measured here, {device}", "paper": "paper, RTX 5090"}
        for axis, (key, title) in zip(axes, titles.items(), strict=True):
            for index, run in enumerate(learned):
                x, y = (rows[AVERAGE, metric, run][key] for metric in ("milliseconds", "psnr"))
                style = {"color": LINES[index % len(LINES)], "marker": MARKERS[index % len(MARKERS)]}
                if not (math.isnan(x) or math.isnan(y)):
                    axis.plot(x, y, linestyle="none", markersize=10, label=sources.title(run), **style)
            axis.set_title(title)
            axis.set_xscale("log")
            axis.xaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
            axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.xaxis.set_minor_formatter(NullFormatter())
            axis.set_xlabel("runtime per slice, all coils (ms)")
            axis.set_ylabel("PSNR (dB)")
            axis.margins(x=0.15, y=0.18)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="upper center", ncols=max(len(labels), 1), bbox_to_anchor=(0.5, 1.07))
        write_svg(figure, path)
    return Drawn(
        path.name,
        "ladder",
        "Quality against runtime",
        "Mean over the zero-shot sets. Left: measured here; right: the paper's Table 2. Up and to the left is better; "
        "runtimes of different machines do not compare, their order may.",
        "PSNR against runtime per slice, one point per run.",
    )
