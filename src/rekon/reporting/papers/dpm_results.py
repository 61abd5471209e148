"""What the stroke study's figures and sentences are made from: its runs by their part in it, and their results."""

from __future__ import annotations

from rekon.config.base import check
from rekon.config.dpm import DiffusionModel, SamplerSettings
from rekon.config.recipe import Recipe
from rekon.evaluation.statistics import Summary, summarise
from rekon.reporting.figures.errors import Score
from rekon.reporting.figures.grid import Cell, Grid
from rekon.reporting.figures.samplers import Sampler
from rekon.reporting.metrics import METRICS
from rekon.reporting.sources import Sources
from rekon.reporting.views import View

OURS, START, FEW = "fine-tuned", "pretrained", "few"
METHODS = ("full", "pretrained", "flair", "fine-tuned", "few", "joint")  # 1 to 6
UNTRAINED, END_TO_END = ("zero-filled", "sense", "l1-wavelet"), ("e2e-varnet",)
LOOP = "reference-loop"  # posterior sampling as published
SAMPLERS = (LOOP, "heun", "dds", "dds-warm")  # other ways down with the prior of `OURS`
STROKE_OURS = "stroke-tuned"
STROKE_UNTRAINED = ("stroke-zero-filled", "stroke-sense")
STROKE_PRIORS = ("stroke-pretrained", "stroke-tuned", "stroke-few")
RATES, LENGTHS = ("5e-4", "1e-4", "5e-5", "1e-5"), (650, 1250, 2500)  # of the grid; epochs
CHOICE = ("1e-5", 650)  # the paper's cell, which is `OURS` itself
GRID = tuple(f"tune-{rate}-{length}" for rate in RATES for length in LENGTHS if (rate, length) != CHOICE)
TOLERATED = 0.5  # points of NRMSE: what counts as equal, as in the study's claims


def views_of(sources: Sources, study: str, run: str) -> list[View]:
    """The views a run is scored in, on its first test set, by acceleration; none where the scale does not run it."""
    dataset = next((d for of, name, d in sources.plan.scored(study) if name == run), None)
    if dataset is None:
        return []
    recipe = sources.plan.recipes[study, run]
    return [View(dataset, f"R{r}") for r in sorted({mask.acceleration for mask in recipe.scored})]


def score(sources: Sources, study: str, run: str, view: View, metric: str = "nrmse") -> Score | None:
    """A run's mean in a view with its interval; None where it was not evaluated."""
    settings, factor = sources.settings(study), METRICS[metric].factor
    rows = sources.scores(f"{study}/{run}", view, study)
    found: Summary = summarise(rows, metric, aggregation=settings.aggregation, resamples=settings.bootstrap)
    if not found.slices:
        return None
    return Score(factor * found.mean, factor * found.low, factor * found.high, found.subjects)


def cell_run(rate: str, length: int) -> str:
    """Name of the run in a cell of the grid."""
    return OURS if (rate, length) == CHOICE else f"tune-{rate}-{length}"


def grid(sources: Sources, study: str) -> Grid | None:
    """The grid at the lowest R that `OURS` is scored at; None where that was not evaluated."""
    views = views_of(sources, study, OURS)
    if not views or score(sources, study, OURS, views[0]) is None:
        return None
    cells = {}
    for rate in RATES:
        for length in LENGTHS:
            run = cell_run(rate, length)
            cells[rate, length] = Cell(sources.plan.recipes.get((study, run)), score(sources, study, run, views[0]))
    start, few = (score(sources, study, run, views[0]) for run in (START, FEW))
    return Grid(views[0], RATES, LENGTHS, cells, start, few)


def settings_of(recipe: Recipe) -> SamplerSettings:
    """How a run samples."""
    return check(DiffusionModel, recipe.model, f"recipe of {recipe.study}/{recipe.run}, section 'model'").sampler


def sampling_ways(sources: Sources, study: str) -> list[Sampler]:
    """Every way of sampling with the prior of `OURS` that was evaluated, at its lowest R, the published loop first."""
    found = []
    for run in (LOOP, OURS, *(name for name in SAMPLERS if name != LOOP)):
        recipe, views = sources.plan.recipes.get((study, run)), views_of(sources, study, run)
        if recipe is None or not views:
            continue
        nrmse, milliseconds = (score(sources, study, run, views[0], metric) for metric in ("nrmse", "milliseconds"))
        if nrmse and milliseconds:
            settings = settings_of(recipe)
            found.append(Sampler(run, settings, *costs(settings), nrmse, milliseconds))
    return found


def costs(settings: SamplerSettings) -> tuple[int, int]:
    """Network evaluations a slice takes, and how many of them are differentiated through."""
    a_draw = 2 * settings.steps - 1 if settings.method == "dps-heun" else settings.steps  # the last step has one
    return settings.samples * a_draw, settings.samples * settings.steps * settings.method.startswith("dps")
