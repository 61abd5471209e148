"""Ways of sampling with the same prior: error against network evaluations and against time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rekon.config.dpm import SamplerSettings
from rekon.reporting.figures.errors import Score
from rekon.reporting.figures.style import LINES, MARKERS, Drawn, look, write_svg

START = {"noise": "", "zero-filled": "the zero-filled image and ", "sense": "the SENSE image and "}
METHODS = {"dps": "DPS", "dps-heun": "DPS, second order", "dds": "DDS"}


class Sampler(NamedTuple):
    """A way of sampling: what it costs a slice, and what it reaches."""

    run: str
    settings: SamplerSettings
    evaluations: int  # of the network
    differentiated: int  # of those
    nrmse: Score  # %
    milliseconds: Score


def draw(samplers: Sequence[Sampler], titles: Mapping[str, str], where: str, device: str, path: Path) -> Drawn:
    """Write the chart. titles: of the runs; device: what the times were taken on."""
    from matplotlib import pyplot
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    with look():
        figure, axes = pyplot.subplots(1, 2, figsize=(10.5, 3.7), sharey=True, gridspec_kw={"wspace": 0.08})
        for index, one in enumerate(samplers):
            colour, marker = LINES[index % len(LINES)], MARKERS[index % len(MARKERS)]
            equal = sum(other.evaluations == one.evaluations for other in samplers[:index])
            for axis, cost in zip(axes, (one.evaluations * 1.1**equal, one.milliseconds.mean), strict=True):
                axis.plot([cost, cost], [one.nrmse.low, one.nrmse.high], color=colour, linewidth=4, alpha=0.35,
                          solid_capstyle="butt")  # fmt: skip
                filled = colour if one.differentiated else "white"
                axis.plot(cost, one.nrmse.mean, marker, color=colour, markerfacecolor=filled, markersize=9,
                          markeredgewidth=1.8, linestyle="none", label=titles[one.run])  # fmt: skip
        labels = ("network evaluations per slice", f"time per slice (ms), {device}")
        for axis, label in zip(axes, labels, strict=True):
            axis.set_xscale("log")
            axis.xaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
            axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.xaxis.set_minor_formatter(NullFormatter())
            axis.set_xlabel(label)
            axis.margins(x=0.15, y=0.15)
        axes[0].set_ylabel("NRMSE (%)")
        handles, names = axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="lower center", ncols=max(len(names), 1), bbox_to_anchor=(0.5, 0.9))
        write_svg(figure, path)
    words = "; ".join(
        f"{titles[one.run]} ({describe(one.settings)}): {one.evaluations} evaluations, {milliseconds(one)}, "
        f"NRMSE {one.nrmse.mean:.2f} %"
        for one in samplers
    )
    return Drawn(
        path.name,
        "ladder",
        "Samplers: error against cost",
        f"The same prior, each way with its own ζ from validation subjects; {where}. Down and to the left is better. "
        "Filled: each step also differentiates through the network, which makes an evaluation cost about three; "
        f"hollow: never. Second-order steps take two evaluations; equal counts stand side by side. {words}. Intervals: "
        "95 %, over subjects, whom all have in common.",
        f"NRMSE against cost per slice: {words}",
    )


def milliseconds(sampler: Sampler) -> str:
    """Time per slice in words: three digits, or whole milliseconds."""
    value = sampler.milliseconds.mean
    return f"{value:.0f} ms" if value >= 100 else f"{value:.3g} ms"


def describe(settings: SamplerSettings) -> str:
    """A sampler in short."""
    start = f"{START[settings.start]}noise of σ = {settings.sigma_max:g}"
    return f"{METHODS[settings.method]}, {settings.steps} steps from {start}"
