"""Tables as tidy data: a row per data set, metric and run, with the paper's number beside ours."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pandas as pd

from rekon.evaluation.statistics import Summary, average, summarise
from rekon.files import write_text
from rekon.reporting.metrics import METRICS
from rekon.reporting.sources import AVERAGE, Sources

COLUMNS = [
    "scale", "dataset", "simulated", "stands_for", "distribution", "metric", "unit", "run", "title",
    "paper", "paper_std", "mean", "std", "low", "high", "slices", "subjects", "reason",
]  # fmt: skip
NOT_EVALUATED = "not evaluated at this scale"


def slug(text: str) -> str:
    """A file name's part: lower case, hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def published_table(sources: Sources, study: str, table: str | None) -> pd.DataFrame:
    """Our results in the shape of a published table, the paper's values beside them (columns COLUMNS).

    Sets: this scale's test sets, those of the paper that this scale lacks, and the average over zero-shot sets. Values
    are in the unit of the row; `paper` is the paper's mean, on its own data and at its own size. Intervals: 95 %
    bootstrap over subjects. `table` None: ours only.
    """
    published = sources.studies[study].published.get(table, {}) if table else {}
    matched = {dataset: sources.published_name(dataset, published) for dataset in sources.datasets}
    unmatched = [name for name in published if name != AVERAGE and name not in matched.values()]
    rows = []
    for dataset in (*sources.datasets, *unmatched, AVERAGE):
        theirs = published.get(matched.get(dataset) or dataset, {})
        for metric, shown in METRICS.items():
            for run in sources.runs(study):
                paper, paper_std = (
                    theirs.get(key, {}).get(run.removeprefix(f"{study}/"), math.nan)
                    for key in (metric, f"{metric}_std")
                )
                summary, reason = measured(sources, run, dataset, metric)
                rows.append(
                    {
                        "scale": sources.plan.scale.scale,
                        **_identity(sources, dataset, matched.get(dataset)),
                        "metric": metric,
                        "unit": shown.unit,
                        "run": run,
                        "title": sources.title(run),
                        "paper": paper,
                        "paper_std": paper_std,
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


def measured(sources: Sources, run: str, dataset: str, metric: str) -> tuple[Summary | None, str]:
    """Summary of a run on a set (or, for AVERAGE, over the zero-shot sets), or the reason why there is none."""
    settings = sources.plan.scale.evaluation
    options: dict[str, Any] = {"aggregation": settings.aggregation, "resamples": settings.bootstrap}
    if dataset == AVERAGE:
        tables = [sources.scores(run, name) for name in settings.ood]
        summary = average([rows for rows in tables if len(rows)], metric, **options)
    elif dataset in settings.datasets:
        tables = [sources.scores(run, dataset)]
        summary = summarise(tables[0], metric, **options)
    else:
        return None, NOT_EVALUATED
    if summary.slices:
        return summary, ""
    reasons = [str(reason) for rows in tables for reason in rows["reason"] if reason]
    return None, reasons[0] if reasons else NOT_EVALUATED


def tables_of(sources: Sources, study: str) -> list[str | None]:
    """The published tables of a study; [None], our results alone, when none is in its config."""
    return [*sources.studies[study].published] or [None]


def cells(table: pd.DataFrame) -> dict[tuple[str, str, str], dict[str, Any]]:
    """Rows of a table by (data set, metric, run)."""
    records: Any = table.to_dict("records")
    return {(str(row["dataset"]), str(row["metric"]), str(row["run"])): dict(row) for row in records}


def run_table(sources: Sources) -> pd.DataFrame:
    """Where every run comes from: commit, dirty tree, code, data and mask hashes."""
    rows = []
    for study, name in sources.plan.recipes:
        run = f"{study}/{name}"
        record = sources.provenance(run) or next(
            (found for dataset in sources.datasets if (found := sources.evaluation(run, dataset))), None
        )
        rows.append({"run": run, "title": sources.title(run), **_flat(record or {})})
    return pd.DataFrame(rows)


def build_tables(sources: Sources, out: Path) -> list[Path]:
    """Write every table as CSV below `out`; the names are those of `table_names`."""
    written = []
    for study in sources.studies:
        for table in tables_of(sources, study):
            written.append(_write(published_table(sources, study, table), out / table_name(study, table)))
    written.append(_write(run_table(sources), out / "runs.csv"))
    return written


def table_name(study: str, table: str | None) -> str:
    """File name of one of a study's tables."""
    return f"{study}-{slug(table) if table else 'results'}.csv"


def _identity(sources: Sources, dataset: str, published: str | None) -> dict[str, Any]:
    settings = sources.plan.scale.evaluation
    if dataset == AVERAGE:
        return {"dataset": AVERAGE, "simulated": "", "stands_for": "", "distribution": "zero-shot"}
    if dataset not in settings.datasets:
        return {"dataset": dataset, "simulated": "", "stands_for": "", "distribution": "only in the paper"}
    entry = sources.dataset(dataset)
    return {
        "dataset": dataset,
        "simulated": entry.source == "simulated",
        "stands_for": entry.stands_for or (published if published != dataset else "") or "",
        "distribution": "in-distribution" if dataset in settings.id else "zero-shot",
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
