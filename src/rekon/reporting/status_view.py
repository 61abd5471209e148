"""A status as tables for a terminal: stages across, runs down, a sign and a few words in each cell."""

from __future__ import annotations

import sys
from collections import Counter
from datetime import datetime

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from rekon.reporting.status import RunStatus, Stage, Status
from rekon.reporting.status_jobs import QUIET, Look, State, ago
from rekon.training.progress import duration, rate

SIGNS: dict[State, tuple[str, str]] = {
    "done": ("✓", "green"), "due": ("↻", "yellow"), "running": ("▶", "cyan"), "silent": ("?", "magenta"),
    "queued": ("…", "blue"), "stopped": ("■", "yellow"), "failed": ("✗", "bold red"), "waiting": ("·", "dim"),
}  # fmt: skip
STAGES: dict[Stage, str] = {"trained": "trained", "tokens": "tokens", "tuned": "tuned", "scored": "scored"}
WIDTH = 150  # of a page that is no terminal


def console() -> Console:
    """Standard output; where it is no terminal, wide enough that lines stay whole."""
    return Console() if sys.stdout.isatty() else Console(width=WIDTH)


def view(status: Status) -> RenderableType:
    """The whole status."""
    parts: list[RenderableType] = [_head(status), _data(status)]
    for study in dict.fromkeys(run.study for run in status.runs):
        parts.append(_runs(study, [run for run in status.runs if run.study == study]))
    if status.shared:
        parts.append(_shared(status))
    return Group(*parts, _legend(status))


def words(look: Look) -> str:
    """A state in a few words."""
    count = f"{look.done} of {look.total}" if look.total > 1 else ""
    if look.state == "running":
        told = [count] if count and not look.steps else []
        if look.step is not None:
            told.append(f"step {look.step}" + (f" of {look.steps}" if look.steps else ""))
        told += [f"loss {look.loss:.4g}"] if look.loss is not None else []
        told += [rate(look.rate)] if look.rate else []
        told += [f"{duration(look.left)} left"] if look.left is not None else []
        if look.step is None and look.silent is not None:
            told.append(f"began {ago(look.silent)}")
        elif look.silent is not None and look.silent > 60:
            told.append(f"last sign of life {ago(look.silent)}")
        return ", ".join(told)
    if look.state == "silent":
        at = f"at step {look.step}, " if look.step is not None else ""
        return f"{at}last sign of life {ago(look.silent or QUIET)}"
    if look.state == "queued":
        return f"{look.note}, handed over {ago(look.silent or 0)}"
    note = look.note + (f" ({look.log})" if look.state == "failed" and look.log else "")
    return ", ".join(part for part in (count, note) if part)


def cell(look: Look | None) -> Text:
    """Sign and words."""
    if look is None:
        return Text("")
    sign, style = SIGNS[look.state]
    return Text(f"{sign} {words(look)}".rstrip(), style=style)


def _head(status: Status) -> Text:
    at = datetime.fromtimestamp(status.at).strftime("%H:%M:%S")
    text = Text(f"{status.scale}: {status.description}", style="bold")
    if status.locked is None:
        return text.append(f"   {at}, Snakemake holds no lock here", style="not bold")
    since = datetime.fromtimestamp(status.locked).strftime("%Y-%m-%d %H:%M")
    return text.append(f"   {at}, Snakemake has held its lock since {since}", style="not bold")


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0), show_edge=False)


def _data(status: Status) -> RenderableType:
    table = _table("\ndata")
    for name in ("set", "volumes", "coil maps", "manifest"):
        table.add_column(name, overflow="fold")
    for one in status.splits:
        table.add_row(f"{one.dataset}/{one.split}", _counted(one.volumes), _counted(one.maps), cell(one.manifest))
    for name, look in (("masks", status.masks), ("pretrained networks", status.backbones)):
        if look.total:
            table.add_row(name, _counted(look), "", "")
    return table


def _counted(look: Look | None) -> Text:
    """Sign and numbers of many files; of an unknown total how many there are."""
    if look is None:
        return Text("")
    sign, style = SIGNS[look.state]
    number = f"{look.done} of {look.total}" if look.total else str(look.done)
    note = f", {look.note}" if look.note else ""
    return Text(f"{sign} {number}{note}", style=style)


def _runs(study: str, runs: list[RunStatus]) -> RenderableType:
    table = _table(f"\n{study}")
    used = [stage for stage in STAGES if any(stage in run.stages for run in runs)]
    table.add_column("run", no_wrap=True)
    for stage in used:
        table.add_column(STAGES[stage], overflow="fold")
    for run in runs:
        table.add_row(run.run, *(cell(run.stages.get(stage)) for stage in used))
    return table


def _shared(status: Status) -> RenderableType:
    table = _table("\nonce for all runs")
    table.add_column("", no_wrap=True)
    table.add_column("", overflow="fold")
    for name, look in status.shared.items():
        table.add_row(name, cell(look))
    return table


def _legend(status: Status) -> Text:
    """Signs that occur, with the number of jobs in each state."""
    count: Counter[State] = Counter(state for look in status.looks for state in look.states)
    text = Text("\n")
    for state, (sign, style) in SIGNS.items():
        if count[state]:
            text.append(f"{sign} {count[state]} {state}", style=style).append("   ")
    return text
