"""Runtime of UE, UEP and UEPS against the number of patches (UEPS Fig. 6)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rekon.reporting.figures.style import LINES, MARKERS, Drawn, look, write_svg
from rekon.ueps.inspection import Runtime


def draw(runtime: Runtime, path: Path) -> Drawn:
    """Write the chart, both axes logarithmic."""
    from matplotlib import pyplot
    from matplotlib.ticker import FuncFormatter, NullFormatter

    with look():
        figure, axis = pyplot.subplots(figsize=(6.4, 3.9))
        for index, (model, times) in enumerate(zip(runtime.models, runtime.milliseconds, strict=True)):
            known = np.isfinite(times)
            axis.plot(
                runtime.patches[known], times[known], marker=MARKERS[index], color=LINES[index], label=model,
                markeredgecolor="white",
            )  # fmt: skip
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xticks(runtime.patches, [f"{n:,}".replace(",", " ") for n in runtime.patches])
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_xlabel(f"patches per image ({runtime.size[0]} × {runtime.size[1]} pixels)")
        axis.set_ylabel("forward time per coil image (ms)")
        axis.legend()
        write_svg(figure, path)
    lines = []
    for model, times in zip(runtime.models, runtime.milliseconds, strict=True):
        points = zip(runtime.patches, times, strict=True)
        lines.append(f"{model} " + ", ".join(f"{n}: {time:.0f}" for n, time in points if np.isfinite(time)))
    return Drawn(
        path.name,
        "inside",
        "Runtime against patches",
        f"One coil image, one forward pass, median of repeats after a warm-up, {runtime.device}. Smaller patches, more "
        "tokens; points that would take too long are left out. In the paper progressive resolution saves time at every "
        "count, and sparse attention where tokens are many.",
        "Forward time in ms against patches per image: " + "; ".join(lines),
        most="640px",
    )
