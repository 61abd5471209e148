"""The stroke study in sentences, with numbers measured here."""

from __future__ import annotations

from collections.abc import Iterable

from rekon.dpm.inspection import read_inspection
from rekon.reporting.comparisons import Comparison, compare
from rekon.reporting.figures.grid import Grid
from rekon.reporting.figures.posterior import coverage_at
from rekon.reporting.figures.samplers import milliseconds
from rekon.reporting.metrics import METRICS
from rekon.reporting.papers.base import Tables
from rekon.reporting.papers.dpm_results import (
    FEW,
    LOOP,
    OURS,
    RATES,
    START,
    STROKE_OURS,
    TOLERATED,
    cell_run,
    grid,
    sampling_ways,
    score,
    views_of,
)
from rekon.reporting.sources import Sources
from rekon.reporting.views import View

RIVALS = (FEW, "joint", "flair", "full")  # methods 5, 6, 3, 1
NRMSE, PSNR = METRICS["nrmse"], METRICS["psnr"]


def findings(sources: Sources, study: str, tables: Tables) -> list[str]:
    """Methods, the fine-tuning window, what sampling gains and costs, calibration, strokes; as far as measured."""
    sentences = [
        *_data(sources, study),
        *_methods(sources, study),
        *_window(sources, study),
        *_gains(sources, study),
        *_fastest(sources, study),
        *_calibration(sources, study),
        *_stroke(sources, study),
    ]
    return sentences if len(sentences) > 1 else []


def _data(sources: Sources, study: str) -> list[str]:
    simulated = [name for name in sources.datasets(study) if sources.dataset(name).source == "simulated"]
    if not simulated:
        return []
    real = "; no image of a patient is in these numbers" if len(simulated) == len(sources.datasets(study)) else ""
    return [f"Simulated here: {' and '.join(simulated)}{real}. The paper's comparisons are known to us in words only."]


def _methods(sources: Sources, study: str) -> list[str]:
    views = views_of(sources, study, OURS)
    scores = [one for view in views if (one := score(sources, study, OURS, view))]
    if not scores:
        return []
    values = " / ".join(NRMSE.text(one.mean) for one in scores)
    parts = [
        f"{sources.title(made.run)} {_interval(made)}"
        for run in RIVALS
        if (made := _pair(sources, study, OURS, run, views, "nrmse"))
    ]
    text = f"{sources.title(f'{study}/{OURS}')}: NRMSE {values} % at {_rs(views)}."
    if parts:
        text += (
            f" Its NRMSE minus that of others, in points over all R ({scores[0].subjects} subjects, 95 %): "
            f"{'; '.join(parts)}. Negative: it is better."
        )
    return [text]


def _window(sources: Sources, study: str) -> list[str]:
    """Whether some rate first gains and then loses, and whether both are more than the subjects' scatter."""
    made = grid(sources, study)
    if made is None or made.start is None:
        return []
    told = [text for rate in RATES if (text := _rate(sources, study, made, rate))]
    if not told:
        return []
    best = min((cell.score.mean, place) for place, cell in made.cells.items() if cell.score)
    return [
        f"Fine-tuning grid at {made.view.part} (the paper's names; learning rate and steps taken here stand in the "
        f"figure): from {NRMSE.text(made.start.mean)} % before fine-tuning, {'; '.join(told)}. Lowest: "
        f"{NRMSE.text(best[0])} % at rate {best[1][0]}, {best[1][1]} epochs."
    ]


def _rate(sources: Sources, study: str, made: Grid, rate: str) -> str:
    """One rate's way over length in words; empty where only one length was run."""
    line = made.line(rate)
    if len(line) < 3:
        return ""
    runs = {length: cell_run(rate, length) if length else START for length in line}
    last, best = max(line), min(line, key=lambda length: line[length].mean)
    gain, loss = (
        _pair(sources, study, runs[after], runs[before], [made.view], "nrmse") if after != before else None
        for after, before in ((best, 0), (last, best))
    )
    text = f"at rate {rate} "
    if gain is None:
        text += "it only rises"
    elif loss is None:
        text += "it still falls at the longest"
    else:
        sure = gain.high < 0 < loss.low
        text += f"{'there is a window' if sure else 'a window is not resolved'}: down to {best} epochs, then up"
    changes = ((gain, f"{best} against none"), (loss, f"{last} against {best or 'none'}"))
    return f"{text} ({', '.join(f'{what} {_interval(change)}' for change, what in changes if change)})"


def _gains(sources: Sources, study: str) -> list[str]:
    """Posterior sampling over zero-filled, at the lowest R."""
    views = views_of(sources, study, OURS)[:1]
    names = {LOOP: "the published loop", OURS: "this scale's sampler", "sense": "ESPIRiT-SENSE, without a prior,"}
    parts = [
        f"{name} {PSNR.text(made.mean, sign=True)} dB ({_range(made, 'psnr')})"
        for run, name in names.items()
        if (made := _pair(sources, study, run, "zero-filled", views, "psnr"))
    ]
    return [f"Over zero-filled at {_rs(views)}, PSNR with the fine-tuned prior: {'; '.join(parts)}."] if parts else []


def _fastest(sources: Sources, study: str) -> list[str]:
    """The cheapest way that is not worse than the published loop."""
    ways = {one.run: one for one in sampling_ways(sources, study)}
    if LOOP not in ways or len(ways) < 2:
        return []
    views = views_of(sources, study, LOOP)[:1]
    made = {run: _pair(sources, study, run, LOOP, views, "nrmse") for run in ways if run != LOOP}
    equal = [run for run, one in made.items() if one and one.high < TOLERATED]
    rule = f"(the interval of the difference stays below +{TOLERATED:g} points)"
    loop = ways[LOOP]
    if not equal:
        return [f"No sampler is shown to be as good as the published loop {rule} at {_rs(views)}."]
    run = min(equal, key=lambda name: ways[name].milliseconds.mean)
    one, difference = ways[run], made[run]
    assert difference is not None
    name = "the one that this scale uses" if run == OURS else sources.title(f"{study}/{run}")
    return [
        f"The fastest sampler at no worse NRMSE than the published loop {rule} at {_rs(views)} is {name}: "
        f"{one.evaluations} network evaluations and {milliseconds(one)} a slice instead of "
        f"{loop.evaluations}, all differentiated, and {milliseconds(loop)}; NRMSE: "
        f"{_interval(difference)} points."
    ]


def _calibration(sources: Sources, study: str) -> list[str]:
    path = sources.inspection(study)
    cases = read_inspection(path).cases if path.exists() else ()
    parts = [
        f"{100 * coverage_at(case):.0f} % on {case.dataset} at R = {case.acceleration} (predicted over found: "
        f"{case.calibration.ratio:.2f})"
        for case in cases
    ]
    if not parts:
        return []
    return [
        f"Of the true errors of a mean of {cases[0].posterior.draws} draws, {'; '.join(parts)} lie within one "
        "predicted standard deviation; 68 % would be right, fewer means too sure."
    ]


def _stroke(sources: Sources, study: str) -> list[str]:
    views = views_of(sources, study, STROKE_OURS)[:1]
    ours = score(sources, study, STROKE_OURS, views[0]) if views else None
    if ours is None:
        return []
    parts = [
        f"{sources.title(made.run)} {_interval(made)}"
        for run in ("stroke-few", "stroke-pretrained", "stroke-sense", "stroke-zero-filled")
        if (made := _pair(sources, study, STROKE_OURS, run, views, "nrmse"))
    ]
    against = f"; minus that of others, in points (95 %): {'; '.join(parts)}" if parts else ""
    return [
        f"Strokes ({views[0].dataset}) at {_rs(views)}: fine-tuned on the set, NRMSE {NRMSE.text(ours.mean)} "
        f"%{against}. Whether readers see a difference takes readers: “rekon reader-study” makes the kit."
    ]


def _pair(
    sources: Sources, study: str, run: str, reference: str, views: Iterable[View], metric: str
) -> Comparison | None:
    """`run` minus `reference`, but under the name of the reference: sentences compare one run with many."""
    made = compare(sources, study, f"{study}/{run}", f"{study}/{reference}", views, metric)
    return made._replace(run=f"{study}/{reference}") if made else None


def _interval(made: Comparison) -> str:
    return f"{NRMSE.text(made.mean, sign=True)} ({_range(made, 'nrmse')})"


def _range(made: Comparison, metric: str) -> str:
    return f"{METRICS[metric].text(made.low, sign=True)} … {METRICS[metric].text(made.high, sign=True)}"


def _rs(views: Iterable[View]) -> str:
    return "R = " + ", ".join(str(view.acceleration) for view in views)
