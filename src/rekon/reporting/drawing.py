"""All figures of a report, by study: pictures, the paper's own figures, training curves."""

from __future__ import annotations

from pathlib import Path

from rekon.files import write_json
from rekon.reporting.figures import curves, panel
from rekon.reporting.figures.style import Drawn
from rekon.reporting.papers import paper
from rekon.reporting.papers.base import Tables
from rekon.reporting.sources import Sources
from rekon.reporting.tables import slug
from rekon.reporting.views import View


def build_figures(sources: Sources, study: str, tables: Tables, out: Path) -> list[Drawn]:
    """Draw every figure of a study that its results allow into `out`, and list them in <study>.json there.

    Returns them in the report's order. Figures without their input (nothing evaluated, no inspection) are left out.
    """
    drawn = [
        panel.draw(pictures, out / f"{study}-panel-{slug(str(pictures.view))}.webp")
        for pictures in strips(sources, study)
    ]
    drawn += paper(study).figures(sources, study, tables, out)
    drawn += training(sources, study, out)
    write_json(out / f"{study}.json", [vars(figure) for figure in drawn])
    return drawn


def strips(sources: Sources, study: str) -> list[panel.Strip]:
    """The picture panels of a study: one per view."""
    chosen = paper(study).pictured
    planned = sources.scored(study)
    runs = [run for name in chosen if (run := f"{study}/{name}") in planned] if chosen else planned
    views: list[View] = sources.pictured(study)
    return [found for view in views if (found := panel.strip(sources, runs, view)) is not None]


def training(sources: Sources, study: str, out: Path) -> list[Drawn]:
    """Training curves: a chart per group of runs whose losses compare."""
    groups = paper(study).curves
    drawn = []
    for group in groups:
        recipes = {f"{of}/{run}": recipe for (of, run), recipe in sources.plan.recipes.items() if of == study}
        runs = [run for run, recipe in recipes.items() if recipe.kind in group.kinds]
        if group.runs:
            runs = [run for name in group.runs if (run := f"{study}/{name}") in runs]
        histories = {sources.title(run): rows for run in runs if (rows := sources.history(run))}
        if histories:
            part = slug(group.name or group.kinds[0])
            name = f"{study}-curves-{part}.svg" if len(groups) > 1 else f"{study}-curves.svg"
            drawn.append(curves.draw(histories, out / name, group))
    return drawn
