"""NAS: reconstruction as prediction of tokens, scored under four sampling patterns at R = 32."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

from rekon.config.sampling import ExactMaskSettings, SamplingSettings
from rekon.evaluation.statistics import summarise
from rekon.nas.inspection import Inspection, read_inspection
from rekon.physics.patterns import read_exact_mask
from rekon.plan import PERCEPTUAL
from rekon.reporting.figures import masks, tokens
from rekon.reporting.figures.curves import Group
from rekon.reporting.figures.style import Drawn
from rekon.reporting.metrics import METRICS
from rekon.reporting.papers.base import Facts, Paper, Tables
from rekon.reporting.sources import Sources
from rekon.reporting.tables import why_empty
from rekon.reporting.views import PATTERNS

TOKENIZER, BASE, DISTILLED = "aqvae", "base", "distilled"
COMPARED = ("zero-filled", "unet", "e2e-varnet", DISTILLED)  # in the findings, as in Tables 1-3
READINGS = "src/rekon/nas/READINGS.md"  # what the paper leaves open, and what was taken


# --- figures ----------------------------------------------------------------------------------------------------
def figures(sources: Sources, study: str, tables: Tables, out: Path) -> list[Drawn]:
    """Masks, then what the inspection found; those without their input are left out."""
    drawn: list[Drawn] = []
    sampling, size = _sampling(sources, study)
    paths = {mask: sources.root / mask.path(size) for mask in sampling.masks}
    if all(path.exists() for path in paths.values()):
        made = {(mask.pattern, mask.acceleration): read_exact_mask(path) for mask, path in paths.items()}
        drawn.append(masks.draw(made, out / f"{study}-masks.webp"))
    path = sources.inspection(study)
    inspection = read_inspection(path) if path.exists() else Inspection("", 0, 0)
    where, judged = (
        f"{count} slices of {inspection.dataset}, all patterns" for count in (inspection.slices, inspection.judged)
    )
    if inspection.codebook:
        drawn.append(tokens.draw_codebook(inspection.codebook, where, out / f"{study}-codebook.svg"))
    if inspection.accuracy:
        drawn.append(tokens.draw_accuracy(inspection.accuracy, judged, out / f"{study}-accuracy.svg"))
    if inspection.divergence:
        drawn.append(tokens.draw_divergence(inspection.divergence, judged, out / f"{study}-divergence.svg"))
    if inspection.ceiling:
        drawn.append(tokens.draw_ceiling(inspection.ceiling, where, out / f"{study}-ceiling.svg"))
    return drawn


# --- findings ---------------------------------------------------------------------------------------------------
def findings(sources: Sources, study: str, tables: Tables) -> list[str]:
    """The order of methods, what distillation and cross-attention change, how tokens are predicted, what is missing."""
    here = {run: _here(sources, f"{study}/{run}", "psnr") for run in (*COMPARED, BASE, "no-cross-attention")}
    sentences = []
    if known := [run for run in COMPARED if not math.isnan(here[run])]:
        sentences.append(
            f"Measured here at R = 32, mean PSNR over slices and patterns in dB: {_order(sources, study, known, here)}."
        )
        paper = {run: _paper(sources, study, ("table1", "table2", "table3", "supp-table1"), run) for run in COMPARED}
        if known := [run for run in COMPARED if not math.isnan(paper[run])]:
            sentences.append(f"In the paper, mean over patterns and contrasts: {_order(sources, study, known, paper)}.")
    changes = {
        "Distillation": (DISTILLED, BASE, ("table5",)),
        "Cross-attention": (BASE, "no-cross-attention", ("table4",)),
    }
    for what, (better, worse, names) in changes.items():
        change = here[better] - here[worse]
        theirs = _paper(sources, study, names, better) - _paper(sources, study, names, worse)
        if not math.isnan(change):
            told = "" if math.isnan(theirs) else f", in the paper by {METRICS['psnr'].text(theirs, sign=True)} dB"
            sentences.append(f"{what} changes PSNR by {METRICS['psnr'].text(change, sign=True)} dB{told}.")
    return [*sentences, *_token_findings(sources, study), *_missing(sources, study)]


def _token_findings(sources: Sources, study: str) -> list[str]:
    path = sources.inspection(study)
    found = read_inspection(path) if path.exists() else Inspection("", 0, 0)
    sentences = []
    if (accuracy := found.accuracy) is not None:
        parts = [
            f"{sources.title(f'{study}/{run}')} {100 * forced.mean():.0f} % after true and {100 * rolled.mean():.0f} % "
            "after its own tokens"
            for run, forced, rolled in zip(accuracy.runs, accuracy.forced, accuracy.rolled, strict=True)
        ]
        sentences.append(
            f"Of the tokens, mean over scales, {'; '.join(parts)} are predicted right; always naming the commonest one "
            f"gives {100 * accuracy.frequent.mean():.0f} %."
        )
    if (ceiling := found.ceiling) is not None:
        sentences.append(
            f"The tokenizer itself, given the true tokens, reaches {ceiling.tokenizer.mean():.1f} dB "
            f"(zero-filled {ceiling.zero_filled.mean():.1f} dB): no transformer behind it can do better."
        )
    if (timing := found.timing) is not None:
        seconds = ", ".join(
            f"{sources.title(f'{study}/{run}')} {value:.3g} s"
            for run, value in zip(timing.runs, timing.seconds, strict=True)
        )
        sentences.append(f"Seconds per image on {timing.device}: {seconds}; in the paper 0.244 s on an RTX A5000.")
    return sentences


def _missing(sources: Sources, study: str) -> list[str]:
    """Metrics on deep features that the paper leads with and this scale cannot compute, with the reason."""
    asked = sources.settings(study).perceptual
    rows = [sources.scores(run, dataset) for run in sources.scored(study) for dataset in sources.datasets(study)]
    rows = [part for part in rows if len(part)]
    empty = [metric for metric in asked if rows and not any(part[metric].notna().any() for part in rows)]
    if not empty:
        return []
    names = ", ".join(METRICS[metric].name for metric in empty)
    reason = why_empty(rows, empty[0])
    return [f"{names}, with which the paper makes its main case, were not computed here: {reason}."]


def _here(sources: Sources, run: str, metric: str) -> float:
    """Mean over the slices of the study's first set, all patterns; NaN where it was not evaluated."""
    study, name = run.split("/")
    datasets = sources.datasets(study)
    if (study, name) not in sources.plan.recipes or not datasets:
        return math.nan
    rows = sources.scores(run, datasets[0])
    settings = sources.settings(study)
    return summarise(rows, metric, aggregation=settings.aggregation).mean * METRICS[metric].factor


def _paper(sources: Sources, study: str, names: Iterable[str], run: str) -> float:
    """Mean of a run's PSNR over all views of published tables; NaN where one lacks it."""
    published = sources.studies[study].published
    views = [view for name in names for view in published.get(name, {}).values()]
    values = [view.get("psnr", {}).get(run) for view in views]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else math.nan


def _order(sources: Sources, study: str, runs: list[str], values: dict[str, float]) -> str:
    ranked = sorted(runs, key=lambda run: -values[run])
    return " > ".join(f"{sources.title(f'{study}/{run}')} {values[run]:.2f}" for run in ranked)


# --- methods ----------------------------------------------------------------------------------------------------
def methods(sources: Sources, study: str) -> Facts:
    """Patterns, what is reconstructed from what, what leaks, which pretrained networks are absent."""
    sampling, size = _sampling(sources, study)
    facts = [
        (
            "Patterns",
            "; ".join(describe(sampling.mask(pattern, sampling.evaluated[0]), size) for pattern in sampling.patterns)
            + f". Levels of the hierarchy: R = {', '.join(map(str, sampling.accelerations))}, then all samples; a "
            "pattern's masks contain each other. The paper gives no numbers for the centres; ours are a reading.",
        ),
        (
            "Inputs",
            "measurements are synthesised, as in the authors' earlier work: the fully sampled image, coils combined "
            "with ESPIRiT maps, is multiplied by the maps, transformed and masked. The maps come from fully sampled "
            "data, for every method that uses them.",
        ),
        ("Reference", "magnitude of that coil-combined fully sampled image, its maximum 1."),
        ("Normalisation", NORMALISATION[_tokenizer(sources, study).get("normalisation", "reference_max")]),
    ]
    if asked := sources.settings(study).perceptual:
        facts.append(("LPIPS and DISTS", perceptual(sources, asked)))
    return [
        *facts,
        ("Pretrained networks in training", pretrained(sources, study)),
        (
            "Averages",
            "where the paper averages over contrasts, ours is the mean over slices; its Table 4 is on the validation "
            "set, ours on the test set. A claim without a contrast is compared with the mean of the paper's contrasts.",
        ),
        ("What the paper leaves open", f"the readings taken stand in {READINGS}; numbers depend on them."),
    ]


NORMALISATION = {
    "reference_max": "all levels of a slice are divided by the largest magnitude of the fully sampled image, as in the "
    "authors' earlier work. A scanner does not know that number at R = 32: it leaks the image's scale, for every "
    "method. `normalisation: measured_max` needs measured data alone.",
    "measured_max": "all levels of a slice are divided by the largest magnitude of the zero-filled image at the "
    "highest R, which a scanner knows.",
}


def describe(mask: ExactMaskSettings, size: tuple[int, int]) -> str:
    """One pattern at one acceleration, with its exact counts for a matrix (H, W)."""
    h, w = size
    total = f"R = {mask.acceleration}, exactly {h * w // mask.acceleration} of {h * w} samples"
    draws = f"{mask.variants} draw{'s' if mask.variants > 1 else ''}, each slice keeps its own"
    words = {
        "es-x": lines(h // mask.acceleration, h, "rows", mask.acs),
        "es-y": lines(w // mask.acceleration, w, "columns", mask.acs),
        "gaussian": f"single samples, Gaussian density of {mask.deviation:g} of half the matrix, centre "
        f"{mask.acs} × {mask.acs} full, {draws}",
        "radial": f"spokes a golden angle apart, the last one thinned to the count, {draws}",
    }
    return f"{PATTERNS[mask.pattern]} ({total}): {words[mask.pattern]}"


def lines(count: int, length: int, what: str, acs: int) -> str:
    """Whole lines of k-space in words."""
    rest = f" and {count - acs} equally spaced" if count > acs else ""
    return f"{count} of {length} {what}, {acs} central{rest}"


def perceptual(sources: Sources, asked: tuple[str, ...]) -> str:
    """Definitions, and which of their networks this scale lacks."""
    wanted = dict.fromkeys(name for metric in asked for name in PERCEPTUAL[metric])
    absent = [name for name in wanted if name not in sources.plan.scale.backbones]
    text = (
        "on the magnitude image, in grey repeated to three channels. LPIPS (version 0.1): distance of normalised "
        "features of AlexNet or VGG16; DISTS: similarity of the structure and texture of VGG16 features."
    )
    if absent:
        text += (
            f" This scale does not have the pretrained {', '.join(absent)} (config/backbones.yaml), so what needs them "
            "is left empty, with the reason; a network with random weights would give a number without meaning."
        )
    return text


def pretrained(sources: Sources, study: str) -> str:
    """What the tokenizer was trained with, where the paper has pretrained networks."""
    model = _tokenizer(sources, study)
    losses, discriminator = model.get("losses", {}), model.get("discriminator")
    start = model.get("pretrained")
    parts = [f"the tokenizer starts from {start}" if start else "the tokenizer starts from random weights, not VAR's"]
    if not discriminator:
        parts.append("there is no discriminator")
    elif discriminator.get("backbone"):
        parts.append(f"the discriminator looks at features of {discriminator['backbone']}")
    else:
        parts.append(
            "the discriminator looks at features of a frozen vision transformer with random weights, BiomedCLIP being "
            "absent (`untrained-backbone`)"
        )
    parts.append(
        f"the perceptual loss is {model.get('perceptual')}"
        if losses.get("perceptual")
        else "there is no perceptual loss"
    )
    return "; ".join(parts) + "."


def _tokenizer(sources: Sources, study: str) -> dict:
    recipe = sources.plan.recipes.get((study, TOKENIZER))
    return recipe.model if recipe else {}


def _sampling(sources: Sources, study: str) -> tuple[SamplingSettings, tuple[int, int]]:
    recipes = [recipe for (of, _), recipe in sources.plan.recipes.items() if of == study]
    return next((recipe.sampling, recipe.data.size) for recipe in recipes if recipe.sampling)


ERROR = "mean absolute error (normalised image)"
PAPER = Paper(
    figures,
    findings,
    methods,
    pictured=("zero-filled", "unet", "e2e-varnet", BASE, DISTILLED),
    curves=(
        Group("Training: tokenizer", ("tokenizer",), "all terms (Eq. 3)", "1 − SSIM"),
        Group("Training: transformers", ("transformer",), "cross-entropy (nats per token)", "the same, true prefixes"),
        Group("Training: distillation", ("distilled",), "KL to the teacher (nats per token)", "the same, held out"),
        Group("Training: baselines", ("image_unet", "unrolled"), ERROR, ERROR, validation="val_mae"),
    ),
)
