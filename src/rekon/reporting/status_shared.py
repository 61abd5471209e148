"""Where stand what a scale makes once: inspections, tables, scorecard, MLflow records, report."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from rekon.plan import Plan
from rekon.reporting.status_files import modified
from rekon.reporting.status_jobs import Job, Look


def shared(plan: Plan, root: Path, look: Callable[[Job], Look]) -> dict[str, Look]:
    """Name -> state, in the order in which they are made. What is older than its scores is due again."""
    scale = plan.scale.scale
    scores = [f"results/{scale}/{study}/{run}/{dataset}.csv" for study, run, dataset in plan.scored()]
    records = [f"runs/{scale}/{study}/{run}/run.json" for study, run in plan.trained()]
    jobs: dict[str, tuple[Job, list[str]]] = {}
    for study in plan.scale.studies:
        if runs := plan.inspected(study):
            log = f"logs/inspect_{study}/{scale}.log"
            inputs = [f"runs/{scale}/{study}/{run}/run.json" for run in runs]
            jobs[f"inspect_{study}"] = Job((f"results/{scale}/{study}/inspect.npz",), log), inputs
    for study in plan.papers:
        tables = tuple(f"{plan.reports}/tables/{name}" for name in plan.tables(study))
        own = [path for path in scores if path.startswith(f"results/{scale}/{study}/")]
        jobs[f"tables_{study}"] = Job(tables, f"logs/tables/{scale}/{study}.log"), own
    cards = tuple(f"{plan.reports}/tables/{name}" for name in ("scorecard.csv", "runs.csv"))
    jobs["scorecard"] = Job(cards, f"logs/scorecard/{scale}.log"), scores
    jobs["log_mlflow"] = Job((f"runs/{scale}/mlflow.json",), f"logs/log_mlflow/{scale}.log"), [*scores, *records]
    jobs["report"] = Job((f"{plan.reports}/index.html",), f"logs/report/{scale}.log"), [*scores, *records]
    times = {path: modified(root / path) for path in {*scores, *records}}
    return {name: _judged(look(job), job, inputs, times, root) for name, (job, inputs) in jobs.items()}


def _judged(found: Look, job: Job, inputs: Iterable[str], times: dict[str, float | None], root: Path) -> Look:
    known = [times.get(path) for path in inputs]
    missing = sum(time is None for time in known)
    if found.state == "waiting":
        return replace(found, note=f"waits for {missing} results" if missing else "its turn")
    if found.state == "done":
        made = min((modified(root / path) or 0.0 for path in job.outputs), default=0.0)
        newest = max((time for time in known if time), default=0.0)
        if missing or newest > made:
            return replace(
                found, state="due", done=0, note=f"{missing} results are missing" if missing else "results are newer"
            )
    return found
