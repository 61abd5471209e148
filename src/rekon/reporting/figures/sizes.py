"""What networks are made of, what one sample is reconstructed with, and how long that takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rekon.reporting.figures.errors import Score
from rekon.reporting.figures.style import BLUE, GREEN, SKY, Drawn, look, write_svg


class Network(NamedTuple):
    """A network's size and time per slice."""

    title: str
    parameters: int
    active: int  # of those, what one sample is reconstructed with
    milliseconds: Score | None


def draw(networks: Sequence[Network], device: str, path: Path) -> Drawn:
    """Write the bars: parameters, active ones dark, and milliseconds."""
    from matplotlib import pyplot

    unit, name = (1e6, "millions") if max(one.parameters for one in networks) >= 1e6 else (1e3, "thousands")
    places = range(len(networks))
    with look():
        figure, (left, right) = pyplot.subplots(
            1, 2, figsize=(10.5, 0.9 + 0.42 * len(networks)), sharey=True, gridspec_kw={"wspace": 0.08}
        )
        left.barh(places, [one.parameters / unit for one in networks], color=SKY, alpha=0.55, label="all")
        left.barh(places, [one.active / unit for one in networks], height=0.5, color=BLUE, label="active per sample")
        left.set_yticks(places, [one.title for one in networks])
        left.invert_yaxis()
        left.set_xlabel(f"parameters ({name})")
        left.legend(fontsize=8.5, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
        for place, one in zip(places, networks, strict=True):
            if one.milliseconds:
                right.barh(place, one.milliseconds.mean, height=0.5, color=GREEN)
                right.text(one.milliseconds.mean, place, f" {one.milliseconds.mean:.3g}", va="center", fontsize=9)
        right.set_xlabel("time per slice (ms)")
        right.margins(x=0.15)
        for axis in (left, right):
            axis.grid(axis="y", visible=False)
        write_svg(figure, path)
    words = "; ".join(
        f"{one.title}: {one.parameters:,} parameters, {one.active:,} active".replace(",", " ") for one in networks
    )
    return Drawn(
        path.name,
        "ladder",
        "Parameters and time: active against total",
        f"Left: learnable numbers, and those of them that one slice is reconstructed with. Right: mean time per test "
        f"slice with all its coils, {device}; rough on a shared machine. Experts that a slice is not sent to are not "
        "computed.",
        words,
    )
