"""The command line: one command per rule, and a few for people. Heavy imports stay inside the commands."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from rekon.errors import UserError

app = typer.Typer(
    name="rekon",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Accelerated-MRI papers, from raw k-space to the final tables.\n\n"
    "Most people run the workflow (`snakemake --cores 2`), which calls these commands; each can be called by hand too.",
)
DATA, TRAIN, REPORT, LOOK = "Data (rules)", "Runs (rules)", "Reports (rules)", "For people"

Spec = Annotated[str, typer.Option(help="JSON: the settings, as Snakemake resolved them from config/.")]
Output = Annotated[Path, typer.Option(help="File to write; complete or absent, never partial.")]
Threads = Annotated[int, typer.Option(help="CPU threads; results are exact for a given number.")]
Gpus = Annotated[int, typer.Option(help="GPUs; 0 runs on the CPU.")]
BUDGET_EXIT = 75  # EX_TEMPFAIL: out of time, state saved, run the same command again


def main() -> None:
    """Entry point: a user's mistake is one sentence and exit code 2."""
    try:
        app()
    except UserError as error:
        print(f"rekon: {error}", file=sys.stderr)
        sys.exit(2)


def _model(kind: Any, text: str, source: str = "--spec") -> Any:
    from rekon.config.base import check

    try:
        return check(kind, json.loads(text), source)
    except json.JSONDecodeError as error:
        raise UserError(f"{source}: not valid JSON ({error}).") from None


def _compute(threads: int, gpus: int, workers: int = 0) -> Any:
    from rekon.config import Compute

    return Compute(device="cuda" if gpus else "cpu", gpus=gpus, threads=threads, workers=workers)


def _sources(plan: Path) -> Any:
    from rekon.files import read_json
    from rekon.recipe import Plan
    from rekon.reporting.sources import Sources

    return Sources(Plan.from_document(read_json(plan), str(plan)))


# --- data -----------------------------------------------------------------------------------------------------


@app.command(rich_help_panel=DATA)
def simulate(dataset: str, split: str, volume: str, spec: Spec, output: Output) -> None:
    """Simulate one volume and write it in the raw format of the set it stands for."""
    from rekon.config import Dataset
    from rekon.data.phantom import cohort

    entry = _model(Dataset, spec)
    number = int(volume.rpartition("_")[2]) - cohort.FIRST_SUBJECT[split]
    cohort.simulate(dataset, entry.simulation, split, number, output, entry)


@app.command(rich_help_panel=DATA)
def download(dataset: str, spec: Spec, output: Output) -> None:
    """Fetch one published file (mirror first, REKON_MIRROR) and verify its checksum."""
    from rekon.config import RemoteFile
    from rekon.data.download import download as fetch

    mirror = os.environ.get("REKON_MIRROR")
    fetch(dataset, _model(RemoteFile, spec), output, Path(mirror) if mirror else None)


@app.command(rich_help_panel=DATA)
def index(dataset: str, split: str, spec: Spec, output: Output) -> None:
    """List the files of a licensed set below raw/; if there are none, say how to get them."""
    from rekon.config import Dataset
    from rekon.data.download import check_manual

    check_manual(dataset, _model(Dataset, spec), split, output.parent)


@app.command(rich_help_panel=DATA)
def convert(dataset: str, volume: str, raw: Path, spec: Spec, output: Output) -> None:
    """Convert one raw file to a canonical volume (fastMRI-compatible HDF5)."""
    from rekon.config import Dataset
    from rekon.data.convert import convert as run

    run(raw, output, dataset, _model(Dataset, spec), volume)


@app.command(rich_help_panel=DATA)
def convert_set(
    dataset: str, split: str, listing: Path, spec: Spec, folder: Annotated[Path, typer.Option()], threads: Threads = 1
) -> None:
    """Convert every file that `rekon index` listed; a file that fails is named and the others go on."""
    from rekon.config import Dataset
    from rekon.data.convert import convert_all

    convert_all(dataset, split, _model(Dataset, spec), listing, folder, threads)


@app.command(rich_help_panel=DATA)
def summarise(dataset: str, split: str, volumes: list[Path], spec: Spec, output: Output) -> None:
    """Write the manifest of a split: volumes, hashes, sizes, normalisation constant."""
    from rekon.config import Dataset
    from rekon.data.summarise import summarise as run

    run(dataset, split, _model(Dataset, spec), volumes, output)


@app.command(rich_help_panel=DATA)
def calibrate(volume: Path, output: Output) -> None:
    """Estimate ESPIRiT coil sensitivity maps and the coil-combined image of a volume."""
    from rekon.data.calibrate import calibrate as run

    run(volume, output)


@app.command(rich_help_panel=DATA)
def make_mask(spec: Spec, size: Annotated[str, typer.Option(help="HxW")], output: Output) -> None:
    """Write a sampling mask for a matrix."""
    from rekon.config import MaskSettings
    from rekon.physics.masks import make_mask as make
    from rekon.physics.masks import write_mask

    height, width = (int(n) for n in size.split("x"))
    write_mask(output, make(_model(MaskSettings, spec), width), (height, width))


# --- runs -----------------------------------------------------------------------------------------------------


@app.command(rich_help_panel=TRAIN)
def write_recipe(recipe: str, output: Output) -> None:
    """Write a run's recipe as YAML: everything that defines it."""
    from rekon.config import Recipe
    from rekon.files import write_yaml

    write_yaml(output, _model(Recipe, recipe, "recipe").model_dump(mode="json"))


@app.command(rich_help_panel=TRAIN)
def train(
    recipe: Path,
    train: Annotated[Path, typer.Option(help="Manifest of the training split.")],
    validation: Annotated[Path, typer.Option(help="Manifest of the validation split.")],
    mask: Annotated[Path, typer.Option(help="Mask artefact.")],
    weights: Output,
    metrics: Output,
    provenance: Output,
    state: Annotated[Path, typer.Option(help="Folder of the resumable state.")],
    threads: Threads = 1,
    gpus: Gpus = 0,
    workers: Annotated[int, typer.Option(help="Processes that load data.")] = 0,
    wall_minutes: Annotated[float, typer.Option(help="Wall time of the job; before it ends: save, exit 75.")] = 0,
    max_minutes: Annotated[float, typer.Option(help="Train at most so long, then save and exit 75.")] = 0,
) -> None:
    """Train a run, or go on with it: the same command resumes, and ends with the same weights, byte for byte."""
    from rekon.recipe import read_recipe
    from rekon.studies import train as run

    if gpus > 1 and "WORLD_SIZE" not in os.environ:  # one process per GPU, each of which comes here again
        launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={gpus}", "-m", "rekon"]
        os.execv(sys.executable, [sys.executable, *launch, *sys.argv[1:]])
    budget = max_minutes or (wall_minutes - max(2.0, 0.05 * wall_minutes) if wall_minutes else None)
    finished = run(
        read_recipe(recipe), {"train": train, "validation": validation, "mask": mask},
        weights=weights, metrics=metrics, provenance=provenance, state=state,
        compute=_compute(threads, gpus, workers), max_minutes=budget,
    )  # fmt: skip
    if not finished:
        raise typer.Exit(BUDGET_EXIT)


@app.command(rich_help_panel=TRAIN)
def evaluate(
    recipe: Path,
    manifest: Annotated[Path, typer.Option(help="Manifest of the test split.")],
    mask: Annotated[Path, typer.Option(help="Mask artefact.")],
    settings: Annotated[str, typer.Option(help="JSON: metric definitions.")],
    scores: Output,
    panel: Output,
    provenance: Output,
    weights: Annotated[Path | None, typer.Option(help="Weights of the run; none for classical methods.")] = None,
    threads: Threads = 1,
    gpus: Gpus = 0,
) -> None:
    """Score a run on a test set: one row per slice, one panel of pictures."""
    from rekon.config import EvaluationSettings
    from rekon.recipe import read_recipe
    from rekon.studies import evaluate as run

    run(
        read_recipe(recipe), manifest=manifest, mask=mask, weights=weights,
        settings=_model(EvaluationSettings, settings, "--settings"),
        scores=scores, panel=panel, provenance=provenance, compute=_compute(threads, gpus),
    )  # fmt: skip


# --- reports --------------------------------------------------------------------------------------------------


@app.command(rich_help_panel=REPORT)
def write_plan(plan: str, output: Output) -> None:
    """Write the validated configuration behind a report."""
    from rekon.files import write_json
    from rekon.recipe import Plan

    document = json.loads(plan)
    Plan.from_document(document, "plan")
    write_json(output, document)


@app.command(rich_help_panel=REPORT)
def inspect(plan: Path, output: Output, threads: Threads = 1) -> None:
    """Look inside the UEPS networks: coil maps, attention, runtime against the number of patches."""
    import torch

    from rekon.ueps.inspect import inspect as run

    torch.set_num_threads(threads)
    run(_sources(plan), output)


@app.command(rich_help_panel=REPORT)
def tables(plan: Path, output: Annotated[Path, typer.Option(help="Folder.")]) -> None:
    """Write the tables: measured beside published, scorecard, all scores."""
    from rekon.reporting.scorecard import build_scorecard
    from rekon.reporting.tables import build_tables

    sources = _sources(plan)
    build_tables(sources, output)
    build_scorecard(sources, output / "scorecard.csv")


@app.command(rich_help_panel=REPORT)
def report(plan: Path, output: Annotated[Path, typer.Option(help="Folder.")]) -> None:
    """Write the figures and the self-contained report, index.html."""
    from rekon.reporting.html import build_report

    build_report(_sources(plan), output)


@app.command(rich_help_panel=REPORT)
def log_mlflow(plan: Path, output: Output) -> None:
    """Bring every training and evaluation run to MLflow (MLFLOW_TRACKING_URI, or mlflow.db here)."""
    from rekon.reporting.tracking import ingest

    sources = _sources(plan)
    scale = sources.plan.scale.scale
    runs = [Path("runs") / scale / study / run for study, run in sources.plan.trained()]
    results = [sources.result(f"{s}/{r}", d) for s, r in sources.plan.recipes for d in sources.datasets]
    done = list(ingest(runs, results, None, output).values())
    print(", ".join(f"{done.count(what)} {what}" for what in ("new", "replaced", "unchanged")))


@app.command(rich_help_panel=REPORT)
def version(
    folders: list[str], remote: Annotated[str | None, typer.Option(help="Push there: a folder, s3://…")] = None
) -> None:
    """Record data/ and weights/ in data.dvc and weights.dvc; with --remote, push them."""
    from rekon.reporting.versions import version as run

    for folder, digest in run([folder.rstrip("/") for folder in folders], remote).items():
        print(f"{folder}.dvc: {digest}")


# --- for people -----------------------------------------------------------------------------------------------


@app.command(rich_help_panel=LOOK)
def versions(plan: Path) -> None:
    """Say whether the data and weights that a scale just made are those of the committed pointers."""
    from rekon.reporting.versions import compare

    sources = _sources(plan)
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
    from rekon.recipe import differences
    from rekon.recipe import plan as make_plan

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
