"""An estimate as tables for a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from rekon.estimate.estimate import STAGES, Estimate, Job, Line
from rekon.estimate.stage import SPEED

WIDTH = 170  # of a page that is no terminal


def console() -> Console:
    """Standard output; where it is no terminal, wide enough that lines stay whole."""
    return Console() if sys.stdout.isatty() else Console(width=WIDTH)


def view(found: Estimate) -> RenderableType:
    """The whole estimate: training and other jobs of each study, totals, data stage, disk, assumptions, warnings."""
    head = Text(f"{found.scale}: {found.description}, on {found.machine.name}", style="bold")
    parts: list[RenderableType] = [head]
    for study in dict.fromkeys(line.work.study for line in found.lines):
        parts += [_training(found, study), _uses(found, study)]
    parts += [_totals(found), _data(found), _disk(found)]
    parts.append(Text("\nassumptions", style="bold"))
    parts += [Text(f"  {text}") for text in found.assumptions]
    if found.warnings:
        parts.append(Text("\nwhat will not work as it stands", style="bold yellow"))
        parts += [Text(f"  {text}", style="yellow") for text in found.warnings]
    if unknown := found.unknown:
        shown = ", ".join(unknown[:6]) + (f" and {len(unknown) - 6} more, see --json" if unknown[6:] else "")
        parts.append(Text(f"\nunknown, and in no total: {shown}", style="yellow"))
    return Group(*parts)


def _table(title: str, names: Iterable[str], left: int = 1) -> Table:
    table = Table(title=f"\n{title}", title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0))
    for number, name in enumerate(names):
        table.add_column(name, justify="left" if number < left else "right", no_wrap=number < left)
    return table


def _training(found: Estimate, study: str) -> RenderableType:
    """Slices x FLOP = FLOP, / speed = GPU-hours, / GPUs = wall time, / asked = jobs."""
    lines = [line for line in found.lines if line.work.study == study and line.work.stage in ("training", "validation")]
    if not lines:
        return Text("")
    table = _table(
        f"{study}: training",
        ("run", "items", "number", "TFLOP each", "PFLOP", "TFLOP/s", f"{_unit(found)}-h", "GPUs", "wall h", "asked h",
         "jobs", "parameters", "GB a GPU"),
        2,
    )  # fmt: skip
    jobs = {(job.run): job for job in found.jobs if job.study == study and job.stage == "training"}
    for line in lines:
        first, job = line.work.stage == "training", jobs[line.work.run]
        table.add_row(line.work.run if first else "", line.work.what, *_arithmetic(line), *(_job(job) if first else ()))
    hours = found.hours(study, "training") + found.hours(study, "validation")
    table.add_row("", "sum", "", "", _number(_flops(lines), 1e15), "", _hours(hours), style="bold")
    return table


def _uses(found: Estimate, study: str) -> RenderableType:
    """The other jobs of a study; the scoring of a run's test sets in one row, with its longest job."""
    groups: dict[tuple[str, str], list[Line]] = {}
    for line in found.lines:
        if line.work.study == study and line.work.stage not in ("training", "validation"):
            groups.setdefault((line.work.run, line.work.stage), []).append(line)
    if not groups:
        return Text("")
    table = _table(
        f"{study}: use",
        (
            "run",
            "stage",
            "items",
            "number",
            "TFLOP each",
            "PFLOP",
            "TFLOP/s",
            f"{_unit(found)}-h",
            "jobs",
            "longest h",
            "asked h",
        ),
        3,
    )
    total = 0.0
    for (run, stage), lines in groups.items():
        jobs = [job for job in found.jobs if (job.study, job.run, job.stage) == (study, run, stage)]
        hours = [line.gpu_hours for line in lines if line.gpu_hours is not None]
        longest = max((job.hours for job in jobs if job.hours is not None), default=None)
        total += sum(hours)
        if len(lines) == 1:
            cells = (lines[0].work.what, *_arithmetic(lines[0]))
        else:
            items = sum(line.work.items or 0 for line in lines)
            each = _flops(lines) / items if items else None
            cells = (f"{len(lines)} sets", f"{items:,}", _number(each, 1e12), _number(_flops(lines), 1e15),
                     _number(lines[0].speed, 1e12), _hours(sum(hours)))  # fmt: skip
        table.add_row(run, stage, *cells, str(len(jobs)), _hours(longest), f"{max(job.asked for job in jobs):g}")
    table.add_row(
        "",
        "",
        "sum",
        "",
        "",
        _number(_flops([one for group in groups.values() for one in group]), 1e15),
        "",
        _hours(total),
        style="bold",
    )
    return table


def _arithmetic(line: Line) -> tuple[str, ...]:
    items = "?" if line.work.items is None else f"{line.work.items:,}"
    return (
        items,
        _number(line.work.flops, 1e12),
        _number(line.flops, 1e15),
        _number(line.speed, 1e12),
        _hours(line.gpu_hours),
    )


def _job(job: Job) -> tuple[str, ...]:
    memory = "" if job.memory is None else f"{job.memory.total:.1f}"
    parameters = "" if job.parameters is None else f"{job.parameters / 1e6:.2f} M"
    return (str(job.gpus), _hours(job.hours), f"{job.asked:g}", str(job.attempts or "?"), parameters, memory)


def _totals(found: Estimate) -> RenderableType:
    studies = list(dict.fromkeys(line.work.study for line in found.lines))
    table = _table(
        f"{_unit(found)}-hours in all", ("stage", *studies, "all", *(["cost"] if found.price is not None else []))
    )
    for stage in (*STAGES, None):
        hours = [*(found.hours(study, stage) for study in studies), found.hours(stage=stage)]
        cost = [f"{found.price * hours[-1]:,.0f}"] if found.price is not None else []
        table.add_row(stage or "all", *map(_hours, hours), *cost, style=None if stage else "bold")
    return table


def _data(found: Estimate) -> RenderableType:
    """Amount / speed = core-hours, / jobs / cores = wall time of each job."""
    table = _table(
        "data stage, on cores alone, by rough estimate",
        ("set", "step", "amount", "a core and second", "core-h", "jobs", "cores each", "wall h each"),
        2,
    )
    units = {"convert": ("GB", 1e9, "MB", 1e6), "calibrate": ("Gsamples", 1e9, "Msamples", 1e6)}
    for work in found.data:
        unit, large, part, small = units.get(work.step, units["convert"])
        speed = f"{_number(SPEED[work.step], small)} {part}"
        table.add_row(
            f"{work.dataset}/{work.split}", work.step, f"{_number(work.amount, large)} {unit}", speed,
            _hours(work.core_hours), str(work.jobs), str(work.threads), _hours(work.hours),
        )  # fmt: skip
    table.add_row("", "sum", "", "", _hours(found.core_hours), style="bold")
    return table


def _disk(found: Estimate) -> RenderableType:
    table = _table("disk", ("stage", "known GB", "unknown", "how"))
    table.columns[2].justify = table.columns[3].justify = "left"
    for stage, until in dict.fromkeys((place.stage, place.until) for place in found.places):
        of = [place for place in found.places if (place.stage, place.until) == (stage, until)]
        unknown = [place.what for place in of if place.bytes is None]
        shown = ", ".join(unknown[:3]) + (f" and {len(unknown) - 3} more" if unknown[3:] else "")
        how = "; ".join(dict.fromkeys(place.how for place in of if place.bytes is not None and place.bytes > 0))
        table.add_row(
            stage + (f", until {until}" if until else ""), _number(found.bytes(stage, until), 1e9), shown, how[:80]
        )
    table.add_row("all that is known", _number(found.bytes(), 1e9), "", "", style="bold")
    if any(place.until for place in found.places):
        table.add_row("of that, stays", _number(found.bytes(until=""), 1e9), "", "", style="bold")
    return table


def _unit(found: Estimate) -> str:
    return "GPU" if found.machine.memory_gb else "core"


def _flops(lines: Iterable[Line]) -> float:
    return sum(line.flops for line in lines if line.flops is not None)


def _number(value: float | None, unit: float) -> str:
    if value is None:
        return "?"
    scaled = value / unit
    return f"{scaled:,.0f}" if scaled >= 100 else f"{scaled:.3g}"


def _hours(value: float | None) -> str:
    return _number(value, 1.0)
