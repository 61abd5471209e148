"""Several draws of a slice: mean, error and standard deviation as pictures; whether the deviation tells the error."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rekon.dpm.inspection import Case
from rekon.reporting.figures.style import GREY, INK, LINES, MARKERS, Drawn, look, write_svg, write_webp

BRIGHTEST = 99.8  # percentile shown as full scale, so that one pixel does not darken the rest
COLUMNS = ("reference", "posterior mean", "|error| of the mean", "standard deviation")
SIGMA = 0.68  # level of the interval that is one standard deviation wide


def draw_pictures(cases: Sequence[Case], path: Path) -> Drawn:
    """Write the picture: a row per case; error and deviation share a scale."""
    from matplotlib import pyplot

    with look():
        figure, axes = pyplot.subplots(
            len(cases), 7, figsize=(10.4, 2.35 * len(cases)), squeeze=False,
            gridspec_kw={"wspace": 0.06, "hspace": 0.07, "width_ratios": [1, 1, 0.05, 0.2, 1, 1, 0.05]},
        )  # fmt: skip
        for row, case in zip(axes, cases, strict=True):
            one = case.posterior
            full = float(np.percentile(one.target, BRIGHTEST)) or 1.0
            images = [100 * image / full for image in (one.target, one.mean, np.abs(one.error), one.predicted)]
            wide = max(float(np.percentile(np.stack(images[2:]), BRIGHTEST)), 1e-6)
            first, second, bar, gap, third, fourth, other_bar = row
            gap.set_axis_off()
            for axis, image, name in zip((first, second, third, fourth), images, COLUMNS, strict=True):
                grey = axis in (first, second)
                drawn = axis.imshow(image, cmap="gray" if grey else "inferno", vmin=0, vmax=100 if grey else wide,
                                    interpolation="nearest")  # fmt: skip
                axis.set_xticks([])
                axis.set_yticks([])
                axis.grid(False)
                axis.set_title(name if case is cases[0] else "")
                if axis in (second, fourth):
                    scale = figure.colorbar(drawn, cax=bar if grey else other_bar)
                    scale.ax.tick_params(labelsize=8)
                    scale.set_label("% of white", fontsize=8.5)
            first.set_ylabel(f"{case.dataset}\nR = {case.acceleration}", fontsize=9.5)
        write_webp(figure, path)
    words = "; ".join(
        f"{_name(case)}, volume {case.volume}, slice {case.slice}: NRMSE of the mean "
        f"{100 * np.linalg.norm(case.posterior.error) / np.linalg.norm(case.posterior.target):.1f} %"
        for case in cases
    )
    draws = cases[0].posterior.draws
    return Drawn(
        path.name,
        "inside",
        "Posterior: mean and uncertainty",
        f"{draws} draws of one slice each. {words}. White is the reference's {BRIGHTEST} percentile; error and "
        "deviation of a row share one scale, in per cent of it. The deviation is what the draws promise for the error "
        f"of their mean: that over draws times √(1 + 1/{draws}).",
        f"Reference, posterior mean, absolute error and standard deviation. {words}",
    )


def draw_calibration(cases: Sequence[Case], path: Path) -> Drawn:
    """Write the chart: true error against predicted deviation, and the coverage of intervals."""
    from matplotlib import pyplot

    with look():
        figure, (left, right) = pyplot.subplots(1, 2, figsize=(9.6, 3.9), gridspec_kw={"wspace": 0.26})
        scales = [float(np.percentile(case.posterior.target, BRIGHTEST)) or 1.0 for case in cases]
        for index, (case, full) in enumerate(zip(cases, scales, strict=True)):
            found, style = case.calibration, {"marker": MARKERS[index], "color": LINES[index], "markersize": 5}
            left.plot(100 * found.predicted / full, 100 * found.rmse / full, label=_name(case), **style)
            right.plot(100 * found.levels, 100 * found.coverage, label=_name(case), **style)
        top = max(max(left.get_xlim()[1], left.get_ylim()[1]), 1e-6)
        left.plot([0, top], [0, top], color=GREY, linestyle="--", linewidth=1.2)
        left.annotate("calibrated", (0.88 * top, 0.88 * top), (-4, 6), textcoords="offset points", ha="right",
                      fontsize=8.5, color=INK)  # fmt: skip
        left.set_xlim(0, top)
        left.set_ylim(0, top)
        left.set_xlabel("predicted standard deviation (% of white)")
        left.set_ylabel("error found, root mean square (% of white)")
        left.set_title("tenths of the pixels, by predicted deviation")
        right.plot([40, 100], [40, 100], color=GREY, linestyle="--", linewidth=1.2)
        right.set_xlim(45, 100)
        right.set_ylim(0, 102)
        right.set_xlabel("interval promised (%)")
        right.set_ylabel("errors inside it (%)")
        right.set_title("coverage")
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="lower center", ncols=len(labels), bbox_to_anchor=(0.5, 0.93), fontsize=9)
        write_svg(figure, path)
    words = "; ".join(
        f"{_name(case)}: {100 * coverage_at(case):.0f} % of errors within one predicted standard deviation "
        f"({case.slices} slices)"
        for case in cases
    )
    floor = 100 * cases[0].floor
    return Drawn(
        path.name,
        "inside",
        "Do posteriors know their error?",
        f"{words}; a Gaussian that is right has 68 %. Above the dashed line on the left, below it on the right: too "
        f"sure. Pixels whose reference exceeds {floor:g} % of the slice's maximum. Draws know what the prior leaves "
        "open, not that the prior may be wrong; samplers that add no noise on their way may also spread less than the "
        "posterior.",
        f"Calibration: {words}",
    )


def coverage_at(case: Case, level: float = SIGMA) -> float:
    """Share of errors inside the interval of a level."""
    return float(case.calibration.coverage[np.argmin(np.abs(case.calibration.levels - level))])


def _name(case: Case) -> str:
    return f"{case.dataset}, R = {case.acceleration}"
