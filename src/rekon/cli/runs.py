"""Commands of the run rules: train, tune, evaluate and what lies between."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rekon.cli.app import TRAIN, Gpus, Output, Threads, app, compute_of, model_of
from rekon.errors import UserError

if TYPE_CHECKING:
    from rekon.config import Recipe

Parents = Annotated[
    list[str], typer.Option(help="ROLE=WEIGHTS of a run that this one builds on.", metavar="ROLE=WEIGHTS")
]
Backbones = Annotated[list[str], typer.Option(help="NAME=FILE of a pretrained network.", metavar="NAME=FILE")]
NONE: list[str] = []  # never changed
BUDGET_EXIT = 75  # EX_TEMPFAIL: out of time, state saved, run the same command again


@app.command(rich_help_panel=TRAIN)
def train(
    recipe: Path,
    train: Annotated[Path, typer.Option(help="Manifest of the training split.")],
    validation: Annotated[Path, typer.Option(help="Manifest of the validation split.")],
    weights: Output,
    metrics: Output,
    provenance: Output,
    state: Annotated[Path, typer.Option(help="Folder of the resumable state.")],
    parent: Parents = NONE,
    tokens: Annotated[list[str], typer.Option(help="SPLIT=FILE: cached tokens.", metavar="SPLIT=FILE")] = NONE,
    backbone: Backbones = NONE,
    threads: Annotated[int, typer.Option(help="CPU threads on a node, shared by its processes.")] = 1,
    gpus: Gpus = 0,
    nodes: Annotated[
        int,
        typer.Option(
            min=1, help="Most nodes of the Slurm job to spread over.", envvar="REKON_NODES", show_envvar=False
        ),
    ] = 1,
    node_gpus: Annotated[
        int,
        typer.Option(
            help="GPUs of a node, all of which are filled before the next; 0: as many on each.",
            envvar="REKON_NODE_GPUS",
            show_envvar=False,
        ),
    ] = 0,
    workers: Annotated[int, typer.Option(help="Processes that load data.")] = 0,
    wall_minutes: Annotated[float, typer.Option(help="Wall time of the job; before it ends: save, exit 75.")] = 0,
    max_minutes: Annotated[
        float,
        typer.Option(
            help="Train at most so long, then save and exit 75.", envvar="REKON_MAX_MINUTES", show_envvar=False
        ),
    ] = 0,
) -> None:
    """Train a run, or go on with it: the same command resumes, and ends with the same weights, byte for byte.

    Masks and coil maps are read from data/masks and data/maps, below the current folder.
    """
    from rekon.recipe import read_recipe
    from rekon.studies.kinds import Sources
    from rekon.studies.train import train as run

    resolved = read_recipe(recipe)
    gpus, nodes = _shared(resolved, gpus, nodes, node_gpus)
    processes = max(gpus, nodes)
    threads = max(1, threads * nodes // processes)
    if processes > 1:  # one per GPU (without GPUs one per node), each of which comes here again
        from rekon.training.distributed import launch, started

        if not started():
            raise typer.Exit(launch(processes, ["-m", "rekon", *sys.argv[1:]], nodes, threads, gpus))
    sources = Sources(
        train, validation, files_of(parent, "parent"), files_of(tokens, "tokens"), files_of(backbone, "backbone")
    )
    finished = run(
        resolved, sources, weights=weights, metrics=metrics, provenance=provenance,
        state=state, compute=compute_of(threads, gpus, workers),
        max_minutes=max_minutes or (training_minutes(wall_minutes) if wall_minutes else None),
    )  # fmt: skip
    if not finished:
        raise typer.Exit(BUDGET_EXIT)


@app.command(rich_help_panel=TRAIN)
def tokenise(
    recipe: Path,
    manifest: Annotated[Path, typer.Option(help="Manifest of the split.")],
    weights: Annotated[Path, typer.Option(help="Weights of the tokenizer.")],
    output: Output,
    threads: Threads = 1,
    gpus: Gpus = 0,
) -> None:
    """Cache the tokens of a split under every sampling pattern, for all transformers of a tokenizer."""
    from rekon.recipe import read_recipe
    from rekon.studies.train import tokenise as run

    run(read_recipe(recipe), manifest=manifest, weights=weights, output=output, compute=compute_of(threads, gpus))


@app.command(rich_help_panel=TRAIN)
def tune_zeta(
    recipe: Path,
    manifest: Annotated[Path, typer.Option(help="Manifest of the validation split.")],
    output: Output,
    weights: Annotated[Path | None, typer.Option(help="Weights of the run, where it has its own.")] = None,
    parent: Parents = NONE,
    threads: Threads = 1,
    gpus: Gpus = 0,
) -> None:
    """Find the weight of the measured data for each acceleration, for posterior sampling with a diffusion prior.

    Tries the weights under 'model.sampler.tuning' on validation slices and writes every error and the best weights.
    """
    from rekon.recipe import read_recipe
    from rekon.studies.dpm import tune
    from rekon.studies.kinds import Trained

    tune(
        read_recipe(recipe), Trained(weights, files_of(parent, "parent")), manifest=manifest, output=output,
        compute=compute_of(threads, gpus),
    )  # fmt: skip


@app.command(rich_help_panel=TRAIN)
def evaluate(
    recipe: Path,
    manifest: Annotated[Path, typer.Option(help="Manifest of the test split.")],
    settings: Annotated[str, typer.Option(help="JSON: metric definitions.")],
    scores: Output,
    panel: Output,
    provenance: Output,
    weights: Annotated[Path | None, typer.Option(help="Weights of the run; none for classical methods.")] = None,
    parent: Parents = NONE,
    backbone: Backbones = NONE,
    tuned: Annotated[Path | None, typer.Option(help="What tune-zeta found for the run.")] = None,
    threads: Threads = 1,
    gpus: Gpus = 0,
) -> None:
    """Score a run on a test set: one row per slice and sampling pattern, and panels of pictures."""
    from rekon.config import EvaluationSettings
    from rekon.recipe import read_recipe
    from rekon.studies.evaluate import evaluate as run
    from rekon.studies.kinds import Trained

    run(
        read_recipe(recipe), Trained(weights, files_of(parent, "parent"), tuned), manifest=manifest,
        settings=model_of(EvaluationSettings, settings, "--settings"), backbones=files_of(backbone, "backbone"),
        scores=scores, panel=panel, provenance=provenance, compute=compute_of(threads, gpus),
    )  # fmt: skip


def training_minutes(wall_minutes: float) -> float:
    """Minutes of a job's wall time to train in: less what saving takes, and what passed before this process began."""
    return wall_minutes - min(max(2.0, 0.05 * wall_minutes), 0.5 * wall_minutes)


def _shared(recipe: Recipe, gpus: int, nodes: int, node_gpus: int) -> tuple[int, int]:
    """GPUs and nodes that the batch of a run can be shared over; a line says so where that is fewer than were given."""
    from rekon.config import Compute
    from rekon.config.base import check

    there = nodes * node_gpus if gpus and node_gpus else gpus
    batch = recipe.training.batch if recipe.training else 1
    used = check(Compute, {"gpus": there, "nodes": nodes}, "--gpus and --nodes").for_batch(batch)
    if gpus > used.gpus:
        print(
            f"{recipe.study}/{recipe.run}: a batch of {batch} can be shared by {used.gpus} of {gpus} GPUs; the others "
            "stay idle.",
            file=sys.stderr,
        )
    return min(gpus, used.gpus), used.nodes


def files_of(options: Iterable[str], name: str) -> dict[str, Path]:
    """`role=path` options as a mapping."""
    files = {}
    for option in options:
        role, sign, path = option.partition("=")
        if not (role and sign and path):
            raise UserError(f"--{name} {option}: expected NAME=FILE.")
        files[role] = Path(path)
    return files
