"""Tables as tidy data: a row per view, metric and run, with the paper's number beside ours."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pandas as pd

from rekon.errors import UserError
from rekon.evaluation.score import PERCEPTUAL
from rekon.evaluation.statistics import Summary, average, summarise
from rekon.files import write_text
from rekon.plan import CLASSICAL
from rekon.reporting.metrics import METRICS
from rekon.reporting.sources import AVERAGE, Sources
from rekon.reporting.views import View

COLUMNS = [
    "scale", "view", "dataset", "pattern", "contrast", "simulated", "stands_for", "distribution", "metric", "unit",
    "run", "title", "paper", "paper_std", "mean", "std", "low", "high", "slices", "subjects", "reason",
]  # fmt: skip
NOT_EVALUATED = "not evaluated at this scale"
BESIDE = ("nmse", "milliseconds")
ZERO_FILLED = "zero-filled"  # run that stands first where methods are compared


def slug(text: str) -> str:
    """A file name's part: lower case, hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def published_table(sources: Sources, study: str, table: str | None) -> pd.DataFrame:
    """Our results in the shape of a published table, the paper's values beside them (columns COLUMNS).

    Rows: its views on this scale's test sets, those that only the paper has, and, where it prints one, the average
    over zero-shot sets. Values are in the unit of the row; `paper` is the paper's mean, on its own data and at its own
    size. Intervals: 95 % bootstrap over subjects. `table` None: ours only.
    """
    published = sources.studies[study].published.get(table, {}) if table else {}
    runs, metrics = runs_of(sources, study, table), metrics_of(sources, study, published)
    rows = []
    for view, theirs in views_of(sources, study, published):
        for metric in metrics:
            shown, values = METRICS[metric], published.get(theirs or "", {})
            for run in runs:
                name = run.removeprefix(f"{study}/")
                summary, reason = measured(sources, study, run, view, metric)
                rows.append(
                    {
                        "scale": sources.plan.scale.scale,
                        **_identity(sources, study, view, theirs),
                        "metric": metric,
                        "unit": shown.unit,
                        "run": run,
                        "title": sources.title(run),
                        "paper": _printed(values, metric, name),
                        "paper_std": _printed(values, f"{metric}_std", name),
                        **{
                            key: getattr(summary, key) * shown.factor if summary else math.nan
                            for key in ("mean", "std", "low", "high")
                        },
                        "slices": summary.slices if summary else 0,
                        "subjects": summary.subjects if summary else 0,
                        "reason": reason,
                    }
                )
    return pd.DataFrame(rows, columns=COLUMNS)


def _printed(values: dict[str, Any], metric: str, run: str) -> float:
    """The paper's value; NaN where it has none."""
    value = values.get(metric, {}).get(run)
    return math.nan if value is None else value


def views_of(sources: Sources, study: str, published: dict[str, Any]) -> list[tuple[View, str | None]]:
    """Rows of a table, each with its name in the paper (None: ours alone). AVERAGE is the view of that name.

    Sets of ours that stand for none of the paper's have the same parts as those that do, if runs of the table are
    scored on them.
    """
    theirs = [View.parse(name) for name in published if name != AVERAGE]
    runs = {run for values in published.values() for metric in values.values() for run in metric}
    scored = {dataset for of, run, dataset in sources.plan.scored(study) if run in runs}
    parts = list(dict.fromkeys((view.pattern, view.group) for view in theirs)) or [(None, None)]
    found = []
    for dataset in sources.datasets(study):
        known = {str(view) for view in theirs if view.dataset in sources.aliases(dataset)}
        for view in (View(dataset, *part) for part in parts):
            name = sources.published_name(view, known)
            if name or (not known and (not runs or dataset in scored)):
                found.append((view, name))
    matched = {name for _, name in found}
    found += [(view, str(view)) for view in theirs if str(view) not in matched]
    if AVERAGE in published or (not published and sources.settings(study).ood):
        found.append((View(AVERAGE), AVERAGE))
    return found


def runs_of(sources: Sources, study: str, table: str | None) -> list[str]:
    """Columns of a table: the paper's, those that build on others behind those; first what needs no training where
    methods are compared.

    Methods are compared where the study takes the classical runs, or has columns of methods that are not run here.
    Runs whose titles the paper numbers stand in its order, behind the others.
    """
    config = sources.studies[study]
    published = config.published.get(table, {}) if table else {}
    names = dict.fromkeys(run for metrics in published.values() for values in metrics.values() for run in values)
    if not names:
        return sources.scored(study)
    first = [run for run in sources.runs(study) if run.startswith(f"{CLASSICAL}/")]
    if any(name in config.not_run for name in names) and (study, ZERO_FILLED) in sources.plan.recipes:
        first.append(f"{study}/{ZERO_FILLED}")
    for name in names:
        if "/" not in name and name not in config.runs and name not in config.not_run:
            raise UserError(
                f"config/studies/{study}.yaml: {table} has numbers of {name!r}, which is neither under 'runs' nor "
                "under 'not_run'."
            )
    columns = dict.fromkeys([*first, *(sources.named(name, study) for name in names)])

    def place(run: str) -> tuple[bool, int, int]:
        numbered = re.match(r"(\d+) ", sources.title(run))
        return sources.learned(run), int(numbered[1]) if numbered else 0, sources.generation(run)

    return sorted(columns, key=place)


def others_of(sources: Sources, study: str) -> list[str]:
    """Scored runs of a study that stand in none of its tables: arms that the paper does not have."""
    shown = {run for table in tables_of(sources, study) for run in runs_of(sources, study, table)}
    return [run for run in sources.scored(study) if run not in shown]


def metrics_of(sources: Sources, study: str, published: dict[str, Any]) -> list[str]:
    """Metrics of a table's rows: the paper's and, beside its PSNR, what it leaves out: NMSE and runtime."""
    theirs = {metric for values in published.values() for metric in values}
    if not theirs:
        theirs = {"psnr", "ssim", *sources.settings(study).perceptual}
    return [metric for metric in METRICS if metric in theirs or (metric in BESIDE and "psnr" in theirs)]


def measured(sources: Sources, study: str, run: str, view: View, metric: str) -> tuple[Summary | None, str]:
    """Summary of a run in a view (or, for AVERAGE, over the zero-shot sets), or the reason why there is none."""
    settings, config = sources.settings(study), sources.studies[study]
    options: dict[str, Any] = {"aggregation": settings.aggregation, "resamples": settings.bootstrap}
    of, name = run.split("/")
    if of == study and name in config.not_run:
        return None, f"not run: {config.not_run[name].reason}"
    if view.dataset == AVERAGE:
        tables = [sources.scores(run, dataset) for dataset in settings.ood]
        summary = average([rows for rows in tables if len(rows)], metric, **options)
    elif view.dataset in settings.datasets:
        tables = [sources.scores(run, view, study)]
        summary = summarise(tables[0], metric, **options)
    else:
        return None, NOT_EVALUATED
    if summary.slices:
        return summary, ""
    if not any(map(len, tables)) and view.group and len(sources.scores(run, view.dataset)):
        return None, f"the set has no slice of {view.part}"
    return None, why_empty(tables, metric) or NOT_EVALUATED


def why_empty(tables: list[pd.DataFrame], metric: str) -> str:
    """What rows without a value of a metric give as the reason; empty when they give none."""
    column = "perceptual_reason" if metric in PERCEPTUAL else "reason"
    reasons = [str(reason) for rows in tables for name in (column, "reason") for reason in rows[name] if reason]
    return reasons[0] if reasons else ""


def tables_of(sources: Sources, study: str) -> list[str | None]:
    """The published tables of a study; [None], our results alone, when none is in its config.

    By number, the supplement's and those without one behind: a plan that came as JSON has lost the config's order.
    """

    def place(name: str) -> tuple[int, int]:
        found = re.fullmatch(r"(supp-)?table(\d+)", name)
        return (1 if found[1] else 0, int(found[2])) if found else (2, 0)

    return [*sorted(sources.studies[study].published, key=place)] or [None]


def cells(table: pd.DataFrame) -> dict[tuple[str, str, str], dict[str, Any]]:
    """Rows of a table by (view, metric, run)."""
    records: Any = table.to_dict("records")
    return {(str(row["view"]), str(row["metric"]), str(row["run"])): dict(row) for row in records}


def run_table(sources: Sources) -> pd.DataFrame:
    """Where every run comes from: commit, dirty tree, code, data and mask hashes."""
    rows = []
    for study, name in sources.plan.recipes:
        run = f"{study}/{name}"
        record = sources.provenance(run) or next(
            (found for dataset in sources.datasets(study) if (found := sources.evaluation(run, dataset))), None
        )
        rows.append({"run": run, "title": sources.title(run), **_flat(record or {})})
    return pd.DataFrame(rows)


def build_tables(sources: Sources, study: str, out: Path) -> list[Path]:
    """Write every table of a study as CSV below `out`, by the names of `table_name`; returns their paths."""
    return [
        _write(published_table(sources, study, table), out / table_name(study, table))
        for table in tables_of(sources, study)
    ]


def build_run_table(sources: Sources, path: Path) -> Path:
    """Write where every run comes from as CSV; returns its path."""
    return _write(run_table(sources), path)


def table_name(study: str, table: str | None) -> str:
    """File name of one of a study's tables."""
    return f"{study}-{slug(table) if table else 'results'}.csv"


def _identity(sources: Sources, study: str, view: View, published: str | None) -> dict[str, Any]:
    settings = sources.settings(study)
    names = {"view": str(view), "dataset": view.dataset, "pattern": view.pattern or "", "contrast": view.group or ""}
    if view.dataset == AVERAGE:
        return {**names, "simulated": "", "stands_for": "", "distribution": "zero-shot"}
    if view.dataset not in settings.datasets:
        return {**names, "simulated": "", "stands_for": "", "distribution": "only in the paper"}
    entry = sources.dataset(view.dataset)
    theirs = View.parse(published).dataset if published else ""
    return {
        **names,
        "simulated": view.dataset.startswith("sim-"),
        "stands_for": entry.stands_for or (theirs if theirs != view.dataset else ""),
        "distribution": "in-distribution" if view.dataset in settings.id else "zero-shot",
    }


def _flat(record: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested provenance as dotted columns."""
    flat: dict[str, Any] = {}
    for key, value in sorted(record.items()):
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _write(table: pd.DataFrame, path: Path) -> Path:
    write_text(path, table.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    return path
