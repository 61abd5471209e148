"""Stroke MRI: a diffusion prior, pre-trained on other contrasts, fine-tuned on few subjects, and its posteriors."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rekon.dpm.inspection import Inspection, read_inspection
from rekon.reporting.comparisons import compare, corrected
from rekon.reporting.figures import errors, paired, posterior, priors, samplers, zeta
from rekon.reporting.figures import grid as fine_tuning
from rekon.reporting.figures.curves import Group
from rekon.reporting.figures.panel import title
from rekon.reporting.figures.style import Drawn
from rekon.reporting.papers.base import Paper, Tables
from rekon.reporting.papers.dpm_facts import methods
from rekon.reporting.papers.dpm_findings import findings
from rekon.reporting.papers.dpm_results import (
    CHOICE,
    END_TO_END,
    GRID,
    METHODS,
    OURS,
    SAMPLERS,
    STROKE_OURS,
    STROKE_PRIORS,
    STROKE_UNTRAINED,
    UNTRAINED,
    grid,
    sampling_ways,
    score,
    settings_of,
    views_of,
)
from rekon.reporting.papers.ueps import device
from rekon.reporting.sources import Sources


def figures(sources: Sources, study: str, tables: Tables, out: Path) -> list[Drawn]:
    """Methods, their differences, the grid, samplers, ζ, then what the inspection found; each only if it has input."""
    groups = {"without training": UNTRAINED, "end to end, as UEPS trained it": END_TO_END, "diffusion prior": METHODS}
    stroke = {"without training": STROKE_UNTRAINED, "diffusion prior": STROKE_PRIORS}
    inspection = sources.inspection(study)
    drawn = [
        _errors(sources, study, groups, OURS, "Methods", out / f"{study}-methods.svg"),
        _differences(sources, study, METHODS, OURS, out / f"{study}-differences.svg"),
        _errors(sources, study, stroke, STROKE_OURS, "Stroke experiment", out / f"{study}-stroke.svg"),
        _grid(sources, study, out / f"{study}-fine-tuning.svg"),
        _samplers(sources, study, out / f"{study}-samplers.svg"),
        _zeta(sources, study, out / f"{study}-zeta.svg"),
    ]
    found = read_inspection(inspection) if inspection.exists() else Inspection()
    if found.cases:
        drawn.append(posterior.draw_pictures(found.cases, out / f"{study}-posterior.webp"))
        drawn.append(posterior.draw_calibration(found.cases, out / f"{study}-calibration.svg"))
    if found.prior is not None:
        titles = {run: sources.title(f"{study}/{run}") for run in found.prior.runs}
        drawn.append(priors.draw(found.prior, titles, out / f"{study}-priors.webp"))
    return [figure for figure in drawn if figure is not None]


def _errors(
    sources: Sources, study: str, groups: dict[str, tuple[str, ...]], ours: str, heading: str, path: Path
) -> Drawn | None:
    views = [view for view in views_of(sources, study, ours) if score(sources, study, ours, view)]
    if not views:
        return None
    values = {
        group: {
            sources.title(f"{study}/{run}"): [score(sources, study, run, view) for view in views]
            for run in runs
            if (study, run) in sources.plan.recipes
        }
        for group, runs in groups.items()
    }
    subjects = max(one.subjects for one in values["diffusion prior"][sources.title(f"{study}/{ours}")] if one)
    caption = (
        f"NRMSE of {views[0].dataset}, {subjects} subjects: mean over slices, 95 % bootstrap interval over subjects. "
        "In bold the paper's method. Intervals may overlap though the paired difference is clear; see there."
    )
    panels = [view.part for view in views]
    return errors.draw(values, panels, sources.title(f"{study}/{ours}"), heading, caption, path)


def _differences(sources: Sources, study: str, runs: Iterable[str], ours: str, path: Path) -> Drawn | None:
    others, views = [run for run in runs if run != ours], views_of(sources, study, ours)
    made = [
        compare(sources, study, f"{study}/{run}", f"{study}/{ours}", [view], "nrmse")
        for run in others
        for view in views
    ]
    known = corrected([one for one in made if one is not None])
    if not known:
        return None
    titles = {one.run: sources.title(one.run) for one in known}
    return paired.draw(known, titles, sources.title(f"{study}/{ours}"), "nrmse", known[0].views[0].dataset, path)


def _grid(sources: Sources, study: str, path: Path) -> Drawn | None:
    made = grid(sources, study)
    return fine_tuning.draw(made, CHOICE, title(made.view), path) if made else None


def _samplers(sources: Sources, study: str, path: Path) -> Drawn | None:
    ways = sampling_ways(sources, study)
    if not ways:
        return None
    titles = {one.run: sources.title(f"{study}/{one.run}") for one in ways}
    if OURS in titles:
        titles[OURS] = f"{sources.plan.scale.scale}'s choice"
    where = title(views_of(sources, study, ways[0].run)[0])
    return samplers.draw(ways, titles, where, device(sources, study), path)


def _zeta(sources: Sources, study: str, path: Path) -> Drawn | None:
    """Sweeps of `OURS` and of the other ways of sampling with its prior."""
    names = [run for run in (OURS, *SAMPLERS) if (study, run) in sources.plan.recipes]
    names = [run for run in names if sources.record(f"{study}/{run}", "zeta.json").exists()]
    if not names:
        return None
    from rekon.dpm.tuning import read_rows, read_tuned  # which needs torch

    sweeps = {}
    for run in names:
        record, recipe = sources.record(f"{study}/{run}", "zeta.json"), sources.plan.recipes[study, run]
        sweep = zeta.Sweep(settings_of(recipe).method, read_rows(record), read_tuned(record).zeta)
        sweeps[sources.title(f"{study}/{run}")] = sweep
    return zeta.draw(sweeps, path)


LOSS = "EDM's loss per pixel"
PAPER = Paper(
    figures,
    findings,
    methods,
    short="Stroke DPM",
    pictured=("zero-filled", "sense", "few", "joint", "fine-tuned", "full", *STROKE_UNTRAINED, *STROKE_PRIORS),
    curves=(
        Group("Training: priors of methods 1 to 6", ("diffusion",), LOSS, LOSS, runs=METHODS, name="methods"),
        Group("Training: the fine-tuning grid", ("diffusion",), LOSS, LOSS, runs=(OURS, *GRID), name="fine-tuning"),
        Group(
            "Training: priors of the stroke experiment", ("diffusion",), LOSS, LOSS, runs=STROKE_PRIORS, name="stroke"
        ),
    ),
    tables=("methods", "fine-tuning", "samplers", "stroke"),
    words={
        "methods": {
            "full": "best",
            "flair": "near best",
            "fine-tuned": "comparable",
            "few": "significantly worse",
            "joint": "worse",
        },
        "fine-tuning": {
            "tune-5e-4-650": "moderate",
            "tune-5e-4-1250": "overfitting",
            "tune-5e-4-2500": "severe overfitting",
            "tune-1e-4-650": "good",
            "tune-1e-4-1250": "slight overfitting",
            "tune-1e-4-2500": "overfitting",
            "tune-5e-5-650": "good",
            "tune-5e-5-1250": "good",
            "tune-5e-5-2500": "slight overfitting",
            "fine-tuned": "best",
            "tune-1e-5-1250": "good",
            "tune-1e-5-2500": "slightly worse",
        },
        "stroke": {"stroke-tuned": "readers: no significant difference from the standard of care"},
    },
)
