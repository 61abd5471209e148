"""Command that shows where a scale stands."""

from __future__ import annotations

import contextlib
import time
from typing import Annotated

import typer

from rekon.cli.app import LOOK, app
from rekon.errors import UserError


@app.command(rich_help_panel=LOOK)
def status(
    scale: Annotated[str, typer.Option(help="demo, open or full")] = "demo",
    watch: Annotated[float | None, typer.Option(help="Look again every so many seconds, until Ctrl-C.")] = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Show stages and runs at a glance: done, running, waiting, failed with the reason.

    Reads files alone, so it may be called at any time and from any machine that sees the folder.
    """
    from rekon.files import read_yaml
    from rekon.plan import plan as make_plan
    from rekon.reporting.status import status as gather

    if json and watch is not None:
        raise UserError("--watch goes with the tables; call `rekon status --json` again instead.")
    if watch is not None and watch <= 0:
        raise UserError(f"--watch {watch:g}: give a number of seconds above 0.")
    plan = make_plan(read_yaml(f"config/{scale}.yaml"))
    if json:
        from json import dumps

        print(dumps(gather(plan).plain(), indent=2))
        return
    from rekon.reporting.status_view import console, view

    page = console()
    if watch is None:
        page.print(view(gather(plan)))
        return
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            found = view(gather(plan))
            page.clear()
            page.print(found)
            time.sleep(watch)
