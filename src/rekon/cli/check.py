"""Command that tells which data are there."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from rekon.cli.app import LOOK, app
from rekon.errors import UserError


@app.command(rich_help_panel=LOOK)
def check_data(
    configfile: Annotated[Path, typer.Option(help="Scale file.")] = Path("config/full.yaml"),
    quick: Annotated[bool, typer.Option("--quick", help="Read no array and no checksum: names and headers.")] = False,
    json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Compare every data set of a scale with the catalogue: present, missing, broken, and what to do next.

    Exit code 0 when all that the scale needs is there, 1 otherwise. Changes nothing.
    """
    import shutil

    from rekon.data.check import Wanted, check_split
    from rekon.files import read_yaml
    from rekon.plan import plan as make_plan

    config = read_yaml(configfile)
    if not isinstance(config, dict):
        raise UserError(f"{configfile}: expected a mapping of keys at the top level.")
    plan = make_plan(config)
    wanted = [
        Wanted(
            name, split, plan.dataset(name), plan.rule(name, split), plan.expected(name, split),
            plan.wanted(name, split), tuple(plan.volumes(name, split)),
        )
        for name in plan.scale.datasets
        for split in plan.splits(name)
    ]  # fmt: skip

    def say(text: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\x1b[K{text[:100]}", end="", file=sys.stderr, flush=True)

    found = [check_split(one, plan.scale.scale, Path(), quick, say) for one in wanted]
    say("")
    free = shutil.disk_usage(Path()).free
    if json:
        from json import dumps

        print(dumps([one.plain() for one in found], indent=2))
    else:
        from rekon.data.check_view import console, view

        console().print(view(found, free))
    if not all(one.ok for one in found):
        raise typer.Exit(1)
