"""An analysis as text tables, for the terminal."""

from __future__ import annotations

import math
from typing import Any

from rich.console import Console
from rich.table import Table


def show(results: dict[str, Any], console: Console | None = None) -> None:
    """Print what `analysis.analyse` found."""
    out = console or Console()
    level = f"{100 * (1 - results['alpha']):g} %"
    out.print(
        f"{results['test']} against {results['reference']} on {results['dataset']}: {results['cases']} cases of "
        f"{results['subjects']} subjects, {results['repeats']} shown again; margin {results['margin']:g} points, "
        f"intervals {level}, bound one-sided {level}; no adjustment for several criteria.",
        highlight=False, markup=False,
    )  # fmt: skip
    for reader, facts in results["readers"].items():
        if facts["unfilled_cells"]:
            out.print(f"{reader}: {facts['unfilled_cells']} cells are empty and were left out.", highlight=False)
    out.print(_differences(results["differences"]))
    out.print(_preferences(results["preferences"]))
    if results["between_readers"]:
        out.print(_agreements(results["between_readers"], "Agreement between readers"))
    if results["within_readers"]:
        out.print(_agreements(results["within_readers"], "Agreement of readers with themselves"))


def _differences(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="Test minus reference, over subjects", title_justify="left")
    for name in ("reader", "criterion"):
        table.add_column(name)
    for name in ("n", "difference", "interval", "bound", "Wilcoxon p", "+/=/-"):
        table.add_column(name, justify="right")
    table.add_column("decision")
    for row in rows:
        table.add_row(
            row["reader"], row["criterion"], str(row["subjects"]), _signed(row["difference"]),
            _interval(row["low"], row["high"]), _signed(row["bound"]), _p(row["p"]),
            f"{row['higher']}/{row['equal']}/{row['lower']}", row["decision"],
        )  # fmt: skip
    return table


def _preferences(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="Preference, pairs", title_justify="left")
    table.add_column("reader")
    for name in ("test", "neither", "reference", "sign test p, subjects"):
        table.add_column(name, justify="right")
    for row in rows:
        counts = (str(row[f"prefer_{name}"]) for name in ("test", "neither", "reference"))
        table.add_row(row["reader"], *counts, _p(row["p"]))
    return table


def _agreements(rows: list[dict[str, Any]], title: str) -> Table:
    table = Table(title=f"{title}, weighted kappa", title_justify="left")
    for name in ("reader", "criterion"):
        table.add_column(name)
    for name in ("images", "identical", "linear", "quadratic"):
        table.add_column(name, justify="right")
    for row in rows:
        who = " - ".join(row[name] for name in ("reader", "second_reader") if name in row)
        share = "" if math.isnan(row["identical"]) else f"{100 * row['identical']:.0f} %"
        kappas = (
            f"{_signed(one['kappa'])} {_interval(one['low'], one['high'])} {one['word']}"
            for one in (row["linear"], row["quadratic"])
        )
        table.add_row(who, row["criterion"], str(row["images"]), share, *kappas)
    return table


def _signed(value: float) -> str:
    return "" if math.isnan(value) else f"{value:+.2f}"


def _interval(low: float, high: float) -> str:
    return "" if math.isnan(low) else f"({low:+.2f}, {high:+.2f})"


def _p(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3f}" if value >= 0.001 else "< 0.001"
