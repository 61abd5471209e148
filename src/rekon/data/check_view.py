"""What `rekon check-data` found, as a table and one line a set."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from rekon.data.check import Found

STYLES = {
    "ready": "green", "made": "green", "partial": "yellow", "suspect": "red", "broken": "red", "absent": "yellow",
    "surplus": "yellow",
}  # fmt: skip
WIDTH = 170  # of a page that is no terminal


def console() -> Console:
    """Standard output; where it is no terminal, wide enough that lines stay whole."""
    return Console() if sys.stdout.isatty() else Console(width=WIDTH)


def view(found: Sequence[Found], free: int) -> RenderableType:
    """Table, what to do next for each set, broken files, disk. free: bytes."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False)
    for name, justify in (
        ("set", "left"), ("state", "left"), ("raw files", "right"), ("broken", "right"), ("converted", "right"),
        ("mean of max(RSS)", "right"), ("published", "right"), ("GB to come", "right"),
    ):  # fmt: skip
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for one in found:
        table.add_row(
            one.wanted.place,
            Text(one.state, style=STYLES[one.state]),
            "" if one.state == "made" else f"{one.raw} of {'?' if one.expected is None else one.expected}",
            str(len(one.broken) or ""),
            "" if one.converted is None else str(one.converted),
            "" if one.constant is None else f"{one.constant:.5g}",
            "" if one.published is None else f"{one.published:.5g}",
            f"{one.to_come / 1e9:,.0f}" if one.to_come else "",
        )
    parts: list[RenderableType] = [table, Text("\nnext", style="bold")]
    alike: dict[tuple[str, str], list[str]] = {}  # splits of a set mostly ask for the same
    for one in found:
        alike.setdefault((one.next, one.state), []).append(one.wanted.place)
    parts += [Text(f"  {', '.join(places)}: {text}", style=STYLES[state]) for (text, state), places in alike.items()]
    broken = [(one.wanted.place, name, why) for one in found for name, why in one.broken.items()]
    if broken:
        parts.append(Text("\nbroken", style="bold red"))
        parts += [Text(f"  {place}: {name}: {why}") for place, name, why in broken]
    to_come = sum(one.to_come for one in found)
    style = "red" if to_come > free else ""
    parts.append(Text(f"\ndisk: about {to_come / 1e9:,.0f} GB to come, {free / 1e9:,.0f} GB free", style=style))
    return Group(*parts)
