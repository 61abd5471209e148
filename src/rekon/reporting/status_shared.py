"""Where stand what a scale makes once: inspections, tables, scorecard, MLflow records, report."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from rekon.plan import CLASSICAL, Plan
from rekon.reporting.status_files import mapping, modified
from rekon.reporting.status_jobs import Job, Look


def shared(plan: Plan, root: Path, look: Callable[[Job], Look], left: Mapping[str, int]) -> dict[str, Look]:
    """Name -> state, in the order in which they are made; left: study -> its jobs that are still to be done.

    What is older than its inputs, or was made by another plan, is due again.
    """
    scale, studies = plan.scale.scale, list(plan.scale.studies)
    jobs: dict[str, tuple[Job, list[str], list[str]]] = {}  # outputs and log, inputs, studies
    for study in studies:
        if runs := plan.inspected(study):
            inputs = [f"runs/{scale}/{study}/{run}/run.json" for run in runs]
            job = Job((f"results/{scale}/{study}/inspect.npz",), f"logs/inspect_{study}/{scale}.log")
            jobs[f"inspect_{study}"] = job, inputs, [study]
    scores = [f"results/{scale}/{of}/{run}/{dataset}.csv" for of, run, dataset in plan.scored()]
    records = [f"runs/{scale}/{of}/{run}/run.json" for of, run in plan.trained()]
    for study in plan.papers:
        of = [study, CLASSICAL] if plan.studies[study].classical and CLASSICAL in studies else [study]
        inputs = [path for path in scores if path.split("/")[2] in of]
        job = Job(
            tuple(f"{plan.reports}/tables/{name}" for name in plan.tables(study)), f"logs/tables/{scale}/{study}.log"
        )
        jobs[f"tables_{study}"] = job, inputs, of
    cards = tuple(f"{plan.reports}/tables/{name}" for name in ("scorecard.csv", "runs.csv"))
    jobs["scorecard"] = Job(cards, f"logs/scorecard/{scale}.log"), scores, studies
    jobs["log_mlflow"] = (
        Job((f"runs/{scale}/mlflow.json",), f"logs/log_mlflow/{scale}.log"),
        [*scores, *records],
        studies,
    )
    report = Job((f"{plan.reports}/index.html",), f"logs/report/{scale}.log")
    jobs["report"] = report, [*scores, *records], studies
    written = mapping(root / f"runs/{scale}/plan.json")
    planned = not written or written == json.loads(json.dumps(plan.document()))
    times = {path: modified(root / path) for _, inputs, _ in jobs.values() for path in inputs}
    return {
        name: _judged(look(job), [times[path] for path in inputs], made, sum(left[one] for one in of), planned)
        for name, (job, inputs, of) in jobs.items()
        for made in [min((modified(root / path) or 0.0 for path in job.outputs), default=0.0)]
    }


def _judged(found: Look, inputs: list[float | None], made: float, left: int, planned: bool) -> Look:
    """inputs: when each was written; made: when the outputs were."""
    jobs = f"{left} job{'s' if left > 1 else ''}"
    if found.state == "waiting":
        return replace(found, note=f"waits for {jobs}" if left else "its turn")
    if found.state == "done":
        newer = any(time is not None and time > made for time in inputs)
        if left or newer or not planned:
            why = f"again after {jobs}" if left else "results are newer" if newer else "made by another plan"
            return replace(found, state="due", done=0, note=why)
    return found
