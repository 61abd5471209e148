"""Plans to estimate, and costs made up for them."""

from __future__ import annotations

from pathlib import Path

import yaml

from rekon.estimate.cost import Cost, Linear
from rekon.estimate.estimate import Estimate, estimate
from rekon.estimate.machine import machine
from rekon.estimate.sets import Sets
from rekon.plan import Plan, plan

ROOT = Path(__file__).resolve().parents[2]
COST = Cost(
    parameters=1000, held=10, published=990, train=Linear(3e9, 1e9), forward=Linear(1e9, 5e8), validate=Linear(4e9),
    activations=Linear(1e6, 2e6), guided=Linear(2e9), encode=Linear(5e8),
)  # fmt: skip


def scale(name: str) -> Plan:
    return plan(yaml.safe_load((ROOT / f"config/{name}.yaml").read_text()), ROOT)


def made_up(plan: Plan, folder: Path, **options) -> Estimate:
    """A plan's estimate with the same cost for every network; options: of `machine`."""
    on = machine(None, plan.scale.compute, **options)
    return estimate(plan, Sets(plan, folder), lambda r: None if r.kind == "classical" else COST, on, None, folder)
