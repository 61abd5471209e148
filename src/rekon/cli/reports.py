"""Commands of the report rules: tables, figures, report, tracking, versions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from rekon.cli.app import REPORT, Output, Threads, app, sources_of

Study = Annotated[Literal["ueps", "nas", "more", "dpm"], typer.Argument(help="Study whose networks to look into.")]


@app.command(rich_help_panel=REPORT)
def write_plan(plan: str, output: Output) -> None:
    """Write the validated configuration behind a report."""
    from rekon.files import write_json
    from rekon.plan import Plan

    document = json.loads(plan)
    Plan.from_document(document, "plan")
    write_json(output, document)


@app.command(rich_help_panel=REPORT)
def list_splits(plan: Path, study: Annotated[str, typer.Option(help="Study of the plan.")], output: Output) -> None:
    """List, with hashes, the volumes that a study's runs learn from, are validated and scored on."""
    from rekon.files import write_json
    from rekon.reporting.volumes import list_splits as run

    write_json(output, run(sources_of(plan).plan, study))


@app.command(rich_help_panel=REPORT)
def inspect(study: Study, plan: Path, output: Output, threads: Threads = 1) -> None:
    """Look inside a study's networks.

    ueps: coil maps, attention, runtime against the number of patches. nas: codebook use, token accuracy, divergence
    from the teacher, seconds per image. more: which experts work on what, routing embeddings, sizes. dpm: images drawn
    from the priors, posterior means and deviations, calibration.
    """
    import torch

    torch.set_num_threads(threads)
    checked = sources_of(plan).plan
    if study == "ueps":
        from rekon.ueps.inspect import inspect as inspect_ueps

        inspect_ueps(checked, output)
    elif study == "nas":
        from rekon.nas.inspect import inspect as inspect_nas

        inspect_nas(checked, study, output)
    elif study == "more":
        from rekon.more.inspect import inspect_more

        inspect_more(checked, study, output)
    else:
        from rekon.dpm.inspect import inspect_dpm

        inspect_dpm(checked, study, output)


@app.command(rich_help_panel=REPORT)
def tables(
    plan: Path,
    study: Annotated[str, typer.Option(help="Study of the plan.")],
    output: Annotated[Path, typer.Option(help="Folder.")],
) -> None:
    """Write a study's tables: measured beside published."""
    from rekon.reporting.tables import build_tables

    build_tables(sources_of(plan), study, output)


@app.command(rich_help_panel=REPORT)
def scorecard(plan: Path, output: Annotated[Path, typer.Option(help="Folder.")]) -> None:
    """Write the scorecard, claim by claim, and where every run comes from."""
    from rekon.reporting.scorecard import build_scorecard
    from rekon.reporting.tables import build_run_table

    sources = sources_of(plan)
    build_scorecard(sources, output / "scorecard.csv")
    build_run_table(sources, output / "runs.csv")


@app.command(rich_help_panel=REPORT)
def report(plan: Path, output: Annotated[Path, typer.Option(help="Folder.")]) -> None:
    """Write the figures and the self-contained report, index.html."""
    from rekon.reporting.html import build_report

    build_report(sources_of(plan), output)


@app.command(rich_help_panel=REPORT)
def log_mlflow(plan: Path, output: Output) -> None:
    """Bring every training and evaluation run to MLflow (MLFLOW_TRACKING_URI, or mlflow.db here)."""
    from rekon.reporting.tracking import ingest

    sources = sources_of(plan)
    scale = sources.plan.scale.scale
    runs = [Path("runs") / scale / study / run for study, run in sources.plan.trained()]
    results = [sources.result(f"{study}/{run}", dataset) for study, run, dataset in sources.plan.scored()]
    done = list(ingest(runs, results, None, output, sources.plan.scale.evaluation.aggregation).values())
    print(", ".join(f"{done.count(what)} {what}" for what in ("new", "replaced", "unchanged")))


@app.command(rich_help_panel=REPORT)
def version(
    folders: list[str], remote: Annotated[str | None, typer.Option(help="Push there: a folder, s3://…")] = None
) -> None:
    """Record data/ and weights/ in data.dvc and weights.dvc; with --remote, push them."""
    from rekon.reporting.versions import version as run

    for folder, digest in run([folder.rstrip("/") for folder in folders], remote).items():
        print(f"{folder}.dvc: {digest}")
