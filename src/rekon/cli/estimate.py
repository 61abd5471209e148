"""Command that tells what a scale takes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from rekon.cli.app import LOOK, app
from rekon.errors import UserError

NONE: list[str] = []  # never changed


@app.command(rich_help_panel=LOOK)
def estimate(
    configfile: Annotated[Path, typer.Option(help="Scale file.")] = Path("config/full.yaml"),
    gpu: Annotated[
        str | None, typer.Option(help="a100, h100 or cpu; default: a100, cpu where no GPU is asked for.")
    ] = None,
    tflops: Annotated[float | None, typer.Option(help="Peak of another GPU, in TFLOP/s, at any precision.")] = None,
    utilisation: Annotated[float, typer.Option(help="Share of the peak that is reached.")] = 0.35,
    price: Annotated[float | None, typer.Option(help="Of a GPU-hour, in any currency.")] = None,
    slices: Annotated[
        list[str],
        typer.Option(help="SET/SPLIT=NUMBER of slices, where they are not here yet.", metavar="SET/SPLIT=NUMBER"),
    ] = NONE,
    record: Annotated[bool, typer.Option("--record", help="Measure every network anew and keep the numbers.")] = False,
    json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Estimate GPU-hours, wall time, memory, disk and cost of a scale, with the arithmetic.

    Networks whose sizes are not on record are built without memory and counted, which takes seconds each.
    """
    from rekon.estimate.cost import read_costs, record_costs
    from rekon.estimate.estimate import Costs
    from rekon.estimate.estimate import estimate as run
    from rekon.estimate.machine import machine
    from rekon.estimate.sets import Sets, parse_slices
    from rekon.files import read_yaml
    from rekon.plan import plan as make_plan

    if price is not None and price < 0:
        raise UserError(f"--price {price:g}: must not be negative.")
    config = read_yaml(configfile)
    if not isinstance(config, dict):
        raise UserError(f"{configfile}: expected a mapping of keys at the top level.")
    plan = make_plan(config)
    costs = Costs(plan, {} if record else read_costs(), lambda text: print(text, file=sys.stderr, flush=True))
    on = machine(gpu, plan.scale.compute, tflops, utilisation)
    found = run(plan, Sets(plan, given=parse_slices(slices)), costs, on, price)
    if record:
        record_costs(plan.scale.scale, costs.measured)
    if json:
        from json import dumps

        print(dumps(found.plain(), indent=2))
        return
    from rekon.estimate.show import console, view

    console().print(view(found))
