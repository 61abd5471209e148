"""Commands for people: look at runs, compare versions, open the report."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from rekon.cli.app import LOOK, app, sources_of
from rekon.errors import UserError


@app.command(rich_help_panel=LOOK)
def versions(plan: Path) -> None:
    """Say whether the data and weights that a scale just made are those of the committed pointers."""
    from rekon.reporting.versions import compare

    sources = sources_of(plan)
    for folder, files in sources.versioned().items():
        if not Path(f"{folder}.dvc").exists():
            print(f"{folder}: no {folder}.dvc to compare with; `rekon version {folder}` makes one.")
            continue
        print(compare(f"{folder}.dvc", folder, files))


@app.command(rich_help_panel=LOOK)
def stale() -> None:
    """List trained runs whose code is not today's, with the command that reruns each."""
    from rekon.files import read_json
    from rekon.provenance import code_fingerprint

    today, found = code_fingerprint(), 0
    for path in sorted(Path("runs").glob("*/*/*/run.json")):
        if read_json(path).get("code") != today:
            scale, study, run = path.parts[1:4]
            target = f"weights/{scale}/{study}/{run}.safetensors"
            print(f"snakemake --configfile config/{scale}.yaml --force {target}   # {study}/{run}: older code")
            found += 1
    print(f"{found} run(s) made by other code than today's." if found else "No run is stale.")


@app.command(rich_help_panel=LOOK)
def deltas(scale: Annotated[str, typer.Option(help="demo, open or full")] = "demo") -> None:
    """Print what each run of each study changes against the study's first run."""
    from rekon.files import read_yaml
    from rekon.plan import plan as make_plan
    from rekon.recipe import differences

    plan = make_plan(read_yaml(f"config/{scale}.yaml"))
    for study in plan.studies:
        first, *others = plan.runs(study)
        print(f"{study}: against {first}")
        reference = plan.recipes[study, first].model_dump(mode="json")
        for run in others:
            found = differences(reference, plan.recipes[study, run].model_dump(mode="json"))
            changes = [f"{key}: {a} -> {b}" for key, (a, b) in found.items() if key not in ("run", "title")]
            print(f"  {run}\n    " + "\n    ".join(changes or ["no difference"]))


@app.command(rich_help_panel=LOOK)
def ui(port: int = 5000) -> None:
    """Open the MLflow UI on all runs (Ctrl-C ends it)."""
    from rekon.reporting.tracking import ui_command

    command, environment = ui_command(port=port)
    if command:
        os.execve(command[0], command, {**os.environ, **environment})


@app.command(rich_help_panel=LOOK)
def track(
    follow: Annotated[bool, typer.Option("--follow", help="Go on until Ctrl-C.")] = False,
    seconds: Annotated[float, typer.Option(help="Between two looks.")] = 5.0,
) -> None:
    """Show runs that are in progress in MLflow; the finished ones are brought there by the rule log_mlflow."""
    from rekon.reporting.follow import follow as run

    run(seconds=seconds, rounds=None if follow else 1)


@app.command(rich_help_panel=LOOK)
def show_report(path: Path = Path("reports/index.html")) -> None:
    """Open the report in a browser."""
    import webbrowser

    if not path.exists():
        raise UserError(f"{path}: not there yet; run `make demo` first.")
    print(path.resolve().as_uri())
    webbrowser.open(path.resolve().as_uri())


@app.command(rich_help_panel=LOOK)
def write_schemas(folder: Path) -> None:
    """Write the JSON schemas of the config files."""
    from rekon.config.schemas import write_schemas as run

    for path in run(folder):
        print(path)
