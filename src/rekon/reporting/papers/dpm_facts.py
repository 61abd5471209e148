"""Definitions that only the stroke study's numbers need: who is seen by which method, how posteriors are sampled."""

from __future__ import annotations

from rekon.config import MaskSettings, Recipe
from rekon.files import read_json
from rekon.reporting.figures.grid import Cell
from rekon.reporting.figures.samplers import describe
from rekon.reporting.papers.base import Facts
from rekon.reporting.papers.dpm_results import (
    CHOICE,
    END_TO_END,
    GRID,
    METHODS,
    OURS,
    SAMPLERS,
    STROKE_PRIORS,
    settings_of,
)
from rekon.reporting.sources import Sources

READINGS = "src/rekon/dpm/READINGS.md"  # what the paper leaves open, and what was taken


def methods(sources: Sources, study: str) -> Facts:
    """Reference, masks, scaling, ζ, subjects per method, the grid's real sizes, E2EVarNet's row, what is open."""
    facts = [
        (
            "Reference",
            "magnitude of the coil-combined fully sampled image on the networks' matrix; ESPIRiT maps from the 24 × 24 "
            "centre of fully sampled data, for every method that uses maps. k-space goes in as it was measured: none "
            "is made anew from the combined image.",
        ),
        ("NRMSE", "‖reconstruction − reference‖ / ‖reference‖ of magnitudes per slice, shown in per cent."),
        *_masks(sources, study),
        *_scaling(sources, study),
        *_zeta(sources, study),
        *_subjects(sources, study),
        *_grid(sources, study),
        *_samplers(sources, study),
        *_end_to_end(sources, study),
        (
            "Tests between methods",
            "Wilcoxon's signed-rank test on the subjects' mean differences, two-sided, with Holm's correction over all "
            "comparisons of a figure; none with fewer than six subjects.",
        ),
    ]
    return [
        *facts,
        (
            "What the paper leaves open",
            f"the readings taken stand in {READINGS}; numbers depend on them. Its tables are known to us in words "
            "only, so ours stand beside nothing. Method 2 has no description in our source: it is read as the "
            "pre-trained prior without fine-tuning.",
        ),
    ]


def seen(sources: Sources, recipe: Recipe) -> dict[str, int] | None:
    """Training subjects by contrast label; None while the set has no manifest."""
    path = sources.root / "runs" / sources.plan.scale.scale / "data" / recipe.data.train / "train.json"
    if not path.exists():
        return None
    volumes, counts = read_json(path)["volumes"], {}
    for label, contrasts in recipe.model["contrasts"].items():
        there = len({volume["subject"] for volume in volumes if volume["contrast"] in contrasts})
        wanted = recipe.data.select.get(label, 0) if recipe.data.select is not None else None
        counts[label] = there if wanted is None else wanted
    return {label: count for label, count in sorted(counts.items()) if count}


def _masks(sources: Sources, study: str) -> Facts:
    parts = []
    for run in (OURS, STROKE_PRIORS[1]):
        recipe = sources.plan.recipes.get((study, run))
        if recipe is None or not isinstance(recipe.mask, MaskSettings):
            continue
        width = recipe.data.size[1]
        rs = ", ".join(str(mask.acceleration) for mask in recipe.scored)
        parts.append(
            f"{' and '.join(recipe.data.test or sources.datasets(study))}: {recipe.mask.pattern.replace('_', ' ')} "
            f"lines, R = {rs}, of which {round(width * recipe.mask.center_fraction)} of {width} lines in the centre"
        )
    if not parts:
        return []
    return [("Masks", "; ".join(parts) + ". One mask per R, the same for all slices, subjects and methods.")]


def _scaling(sources: Sources, study: str) -> Facts:
    recipe = sources.plan.recipes.get((study, OURS))
    if recipe is None:
        return []
    if settings_of(recipe).scaling == "oracle":
        text = "by the largest magnitude of the fully sampled image, as the authors do, which no scanner knows."
    else:
        text = (
            "by the largest magnitude of the measured zero-filled image times a constant, the median over validation "
            "slices of what brings images to a maximum of 1. The authors divide by the maximum of the fully sampled "
            "image, which no scanner knows (`scaling: oracle`)."
        )
    return [("Scaling of the measured data", text)]


def _zeta(sources: Sources, study: str) -> Facts:
    tuned = [run for of, run in sources.plan.recipes if of == study and sources.plan.tuned(study, run)]
    records = [path for run in tuned if (path := sources.record(f"{study}/{run}", "zeta.json")).exists()]
    if not records:
        return []
    contents = [read_json(path) for path in records]
    slices = {row["slices"] for content in contents for row in content["rows"]}
    subjects = {subject for content in contents for subject in content.get("subjects", ())}
    who = f" of {len(subjects)} validation subjects" if subjects else " of validation subjects"
    count = " to ".join(str(n) for n in sorted({min(slices), max(slices)}))
    return [
        (
            "ζ",
            f"for every run and R on its own: the weight with the lowest mean NRMSE on {count} slices{who}, who are in "
            "no training, no fine-tuning and no test.",
        )
    ]


def _subjects(sources: Sources, study: str) -> Facts:
    facts = []
    for term, runs in (("Training subjects", METHODS), ("Training subjects, strokes", STROKE_PRIORS)):
        recipes = [recipe for run in runs if (recipe := sources.plan.recipes.get((study, run))) and recipe.training]
        parts = []
        for recipe in recipes:
            counts, base = seen(sources, recipe), recipe.parents.get("base")
            if counts is None:
                continue
            text = ", ".join(f"{label} {count}" for label, count in counts.items())
            after = f" after {sources.title(f'{study}/{base}')}" if base else ""
            assert recipe.training is not None
            parts.append(f"{recipe.title}: {text}{after} ({Cell(recipe, None).length}, batch {recipe.training.batch})")
        if parts:
            facts.append(
                (term, f"by contrast label. {'; '.join(parts)}. Where the paper has 20, this scale has so many.")
            )
    return facts


def _grid(sources: Sources, study: str) -> Facts:
    parts = []
    for run in (OURS, *GRID):
        recipe = sources.plan.recipes.get((study, run))
        if recipe and recipe.training:
            name = f"{CHOICE[0]}, {CHOICE[1]} epochs" if run == OURS else recipe.title
            cell = Cell(recipe, None)
            parts.append(f"“{name}” is rate {cell.rate}, {cell.length}")
    if not parts:
        return []
    return [("Fine-tuning grid", f"rates and lengths carry the paper's names; here {'; '.join(parts)}.")]


def _samplers(sources: Sources, study: str) -> Facts:
    recipes = [recipe for run in (OURS, *SAMPLERS) if (recipe := sources.plan.recipes.get((study, run)))]
    if not recipes:
        return []
    own, *others = [f"{describe(settings_of(recipe))}" for recipe in recipes]
    names = [recipe.title for recipe in recipes[1:]]
    arms = "; ".join(f"{name}: {text}" for name, text in zip(names, others, strict=True))
    return [
        (
            "Sampling",
            f"methods and grid: {own}. With the prior of {recipes[0].title}, otherwise: {arms or 'nothing else here'}. "
            "An image is the mean magnitude of the draws, one per slice unless said otherwise.",
        )
    ]


def _end_to_end(sources: Sources, study: str) -> Facts:
    recipe = sources.plan.recipes.get((study, END_TO_END[0]))
    if recipe is None or "weights" not in recipe.parents:
        return []
    trained = sources.plan.recipes[recipe.parent("weights")]
    mask = f"{trained.mask.pattern} lines, R = {trained.mask.acceleration}, " if trained.mask else ""
    height, width = trained.data.size
    return [
        (
            recipe.title,
            f"the weights that {recipe.parents['weights']} has, as they are: trained on {trained.data.train}, all "
            f"contrasts, {mask}matrix {height} × {width}, for root-sum-of-squares images. It meets other masks, "
            "another matrix and another reference here, which is no fair match; that networks are bound to their "
            "sampling is the paper's point.",
        )
    ]
