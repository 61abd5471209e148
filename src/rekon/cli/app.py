"""What all commands share: the application, the options, how a mistake is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rekon.errors import UserError

if TYPE_CHECKING:
    from rekon.config import Compute
    from rekon.reporting.sources import Sources

app = typer.Typer(
    name="rekon",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Accelerated-MRI papers, from raw k-space to the final tables.\n\n"
    "Most people run the workflow (`snakemake --cores 2`), which calls these commands; each can be called by hand too.",
)
DATA, TRAIN, REPORT, LOOK = "Data (rules)", "Runs (rules)", "Reports (rules)", "For people"

Split = Literal["train", "validation", "test"]
Spec = Annotated[str, typer.Option(help="JSON: the settings, as Snakemake resolved them from config/.")]
Output = Annotated[Path, typer.Option(help="File to write; complete or absent, never partial.")]
Folder = Annotated[Path, typer.Option(help="Folder to write into.")]
Threads = Annotated[int, typer.Option(help="CPU threads; results are exact for a given number.")]
Gpus = Annotated[int, typer.Option(help="GPUs; 0 runs on the CPU.")]


def model_of(kind: Any, text: str, source: str = "--spec") -> Any:
    """JSON text as a config model; a mistake is one sentence."""
    from rekon.config.base import check

    try:
        return check(kind, json.loads(text), source)
    except json.JSONDecodeError as error:
        raise UserError(f"{source}: not valid JSON ({error}).") from None


def compute_of(threads: int, gpus: int, workers: int = 0) -> Compute:
    """What a job may use."""
    from rekon.config import Compute

    return Compute(device="cuda" if gpus else "cpu", gpus=gpus, threads=threads, workers=workers)


def sources_of(plan: Path) -> Sources:
    """The artefacts of a plan.json in the current folder."""
    from rekon.files import read_json
    from rekon.plan import Plan
    from rekon.reporting.sources import Sources

    return Sources(Plan.from_document(read_json(plan), str(plan)))
