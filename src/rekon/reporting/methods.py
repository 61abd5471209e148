"""What the report says about how numbers were made: definitions from config, sets, and every run's provenance."""

from __future__ import annotations

from typing import Any

from rekon.config import ExactMaskSettings, MaskSettings
from rekon.provenance import code_fingerprint
from rekon.reporting.papers import paper
from rekon.reporting.records import mask_hash
from rekon.reporting.sources import Sources

CROP = {
    "raw": "the acquired matrix: what was mirrored or padded to fit the networks, and black borders, are left out",
    "none": "the networks' whole matrix",
}
RANGE = {"volume": "the maximum of the reference's whole volume", "slice": "the maximum of the slice's reference"}
FIT = {
    "crop": "image cropped or mirrored to the networks' matrix",
    "downsample": "k-space cropped until the field of view fits, then as crop",
}
NORMALISATION = {
    "mean_max": "mean over volumes of the maximum of RSS",
    "volume_max": "each volume's own maximum of RSS (from fully sampled data, where there are such)",
}


def method_facts(sources: Sources, study: str) -> list[tuple[str, str]]:
    """Definitions that stand behind a study's numbers: (term, text). Those of the paper alone come first."""
    settings = sources.settings(study)
    unit = {"slice": "slices", "volume": "volumes (mean of a volume's slices)"}[settings.aggregation]
    average = " “Average”: of the zero-shot sets' means, as in UEPS." if settings.ood else ""
    facts = [
        *paper(study).methods(sources, study),
        ("Scored pixels", CROP[settings.crop] + "."),
        ("PSNR", f"10 log₁₀(D² / MSE) per slice, in dB; D is {RANGE[settings.data_range]}."),
        ("SSIM", "per slice, skimage's: 7 × 7 uniform window, k₁ = 0.01, k₂ = 0.03, the same D; shown in per cent."),
        ("NMSE", "‖reconstruction − reference‖² / ‖reference‖² per slice; shown in per cent, in the CSV files."),
        ("Mean ± deviation", f"over {unit} of a set.{average}"),
        (
            "Intervals",
            f"95 %, percentile bootstrap, {settings.bootstrap} resamples over subjects (all slices of a drawn subject, "
            "under all patterns) within each set; differences between runs are paired by slice and pattern. With few "
            "subjects such intervals are too narrow rather than too wide.",
        ),
        (
            "Runtime",
            "wall time of reconstructing one slice with all its coils, without loading; the device is waited for, "
            "and a first call per shape is not counted. On a shared machine it is a rough number.",
        ),
    ]
    return [("Sampling", sampling(sources, study)), *facts]


def sampling(sources: Sources, study: str) -> str:
    """Masks that the study's runs are scored with, and what they come to in effect."""
    recipes = [sources.plan.recipes[of, run] for of, run, _ in sources.plan.scored() if sources.owns(study, of)]
    lines = {
        f"{mask.pattern}, R = {mask.acceleration}, centre {100 * mask.center_fraction:g} %, "
        f"offset {'drawn from the seed' if mask.offset is None else mask.offset}, matrix {h} × {w}"
        for recipe in recipes
        for mask in recipe.scored
        for h, w in (recipe.data.size,)
        if isinstance(mask, MaskSettings)
    }
    exact = {
        f"exact counts at R = {mask.acceleration}, matrix {recipe.data.size[0]} × {recipe.data.size[1]}"
        for recipe in recipes
        for mask in recipe.scored
        if isinstance(mask, ExactMaskSettings)
    }
    effective = effective_accelerations(sources, study)
    return "; ".join(sorted(lines | exact)) + f". Effective acceleration: {effective}. The same for all runs."


def effective_accelerations(sources: Sources, study: str) -> str:
    """Samples of the matrix over those measured, as recorded with the scores."""
    found = set()
    for run in sources.scored(study):
        for dataset in sources.datasets(study):
            rows = sources.scores(run, dataset)
            scored = rows[rows["reason"] == ""]
            found |= {f"{value:.2f}" for value in scored["effective_acceleration"].dropna().unique()}
    return ", ".join(sorted(found)) or "not recorded"


def dataset_facts(sources: Sources) -> list[dict[str, Any]]:
    """The scale's sets: what they are and how much of them was used."""
    facts = []
    for name, used in sources.plan.scale.datasets.items():
        entry = sources.dataset(name)
        normalisation, field = entry.normalisation, entry.field_strength
        facts.append(
            {
                "name": name,
                "entry": entry,
                "simulated": name.startswith("sim-"),
                "field": f"{field:g} T" if isinstance(field, float) else field,
                "used": ", ".join(
                    f"{'all' if count is None else count} {split}"
                    for split in ("train", "validation", "test")
                    if (count := getattr(used, split)) != 0
                ),
                "fit": FIT[entry.fit] if entry.reference else "k-space cropped or zero-padded; never scored",
                "normalisation": NORMALISATION.get(str(normalisation), f"the constant {normalisation}"),
            }
        )  # fmt: skip
    return facts


def run_facts(sources: Sources) -> list[dict[str, Any]]:
    """Provenance of every run and of its evaluations; `stale`: made by other code than today's."""
    today = code_fingerprint()
    facts = []
    for (study, name), recipe in sources.plan.recipes.items():
        run = f"{study}/{name}"
        trained = sources.provenance(run)
        evaluations = [record for dataset in sources.datasets(study) if (record := sources.evaluation(run, dataset))]
        record = trained or (evaluations[0] if evaluations else {})
        inputs = record.get("inputs") or {}
        facts.append(
            {
                "run": run,
                "title": recipe.title,
                "note": sources.plan.studies[study].runs[name].note,
                "recipe": recipe,
                "trained": trained is not None,
                "known": bool(record),
                "git": record.get("git") or {},
                "code": record.get("code", ""),
                "stale": bool(record) and record.get("code") != today,
                "evaluations": len(evaluations),
                "stale_evaluations": sum(one.get("code") != today for one in evaluations),
                "data": inputs.get("train") or inputs.get("manifest") or "",
                "mask": mask_hash(inputs),
                "device": record.get("device", ""),
                "ended": record.get("ended", ""),
                "seconds": record.get("seconds"),
                "memory": record.get("peak_gpu_memory_mb") or record.get("peak_memory_mb"),
                "versions": record.get("versions") or {},
            }
        )
    return facts
