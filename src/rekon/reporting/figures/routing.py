"""A mixture of experts: who works on what, how routing came about in training, and embeddings in a plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rekon.more.inspection import Routing
from rekon.more.specialisation import COLLAPSED
from rekon.reporting.figures.curves import series, thinned
from rekon.reporting.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    INK,
    LINES,
    MARKERS,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    Drawn,
    look,
    write_svg,
)  # fmt: skip

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = (BLUE, VERMILION, GREEN, ORANGE, SKY, PURPLE, BLACK)  # of modalities and experts; seven of each
SHAPES = ("o", "s", "^", "D", "v", "P", "X")
WRITTEN = 20  # columns of the heat map beside which numbers still have room


def draw_usage(routing: Routing, title: str, path: Path) -> Drawn:
    """Write the heat map: share of a modality's samples that each expert of each router works on."""
    from matplotlib import colormaps, pyplot
    from matplotlib.cm import ScalarMappable

    usage_GRN = routing.usage_GRN
    _, routers, experts = usage_GRN.shape
    collapsed_R = routing.collapsed_R
    with look():
        figure, axis = pyplot.subplots(figsize=(max(6.0, 2.6 + 0.42 * routers * experts), 3.6))
        wide = np.nan_to_num(100 * usage_GRN.reshape(len(usage_GRN), -1))
        axis.imshow(wide, cmap="cividis", vmin=0, vmax=100, aspect="auto")
        if wide.shape[1] <= WRITTEN:
            for (row, column), value in np.ndenumerate(wide):
                ink = BLACK if value > 50 else "white"
                axis.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=8.5, color=ink)
        for router in range(routers):
            if router:
                axis.axvline(router * experts - 0.5, color="white", linewidth=4)
            name = f"cascade {router + 1}" if routers <= 4 else f"{router + 1}"
            sign = "\ncollapsed" if collapsed_R[router] else ""
            middle = (router + 0.5) * experts - 0.5
            axis.text(middle, -0.62, name + sign, ha="center", va="bottom", fontsize=9, color=INK)
        axis.set_xticks(range(routers * experts), [str(1 + n % experts) for n in range(routers * experts)], fontsize=8)
        axis.set_yticks(range(len(usage_GRN)), routing.modalities)
        axis.set_xlabel("expert" if routers <= 4 else "expert, by cascade")
        axis.grid(False)
        bar = figure.colorbar(ScalarMappable(cmap=colormaps["cividis"]), ax=axis, pad=0.02, fraction=0.04)
        bar.set_ticks([0, 0.5, 1], labels=["0", "50", "100"])
        bar.set_label("samples of the modality (%)")
        write_svg(figure, path)
    fallen = [str(router + 1) for router in np.flatnonzero(collapsed_R)]
    state = (
        f"Collapsed, more than {100 * COLLAPSED:.0f} % of all samples to one expert: cascade {', '.join(fallen)} of "
        f"{routers}."
        if fallen
        else f"No router sends more than {100 * COLLAPSED:.0f} % of all samples to one expert."
    )
    favourites = "; ".join(
        f"{name}: expert {' '.join(str(1 + n) for n in usage_RN.argmax(axis=1))}"
        for name, usage_RN in zip(routing.modalities, np.nan_to_num(usage_GRN), strict=True)
    )
    return Drawn(
        path.name,
        "inside",
        "Which experts work on what",
        f"{title}, {routing.dataset}, {len(routing.labels_S)} test slices: share of each modality's slices that an "
        f"expert works on; {routing.top_k} of {experts} experts work on every slice, so rows add up to "
        f"{100 * routing.top_k} % per cascade. Numbers of experts mean nothing across cascades. {state}",
        f"Commonest expert of each cascade by modality. {favourites}",
    )


def draw_embedding(routing: Routing, points_S2: np.ndarray, title: str, path: Path) -> Drawn:
    """Write the scatter plot twice: coloured by modality and by expert."""
    from matplotlib import pyplot

    router, many = routing.chosen_SRN.shape[1], routing.top_k > 1
    found, label_S = np.unique(routing.sets_SR[:, -1], return_inverse=True)
    experts = tuple(" + ".join(str(n + 1) for n in range(64) if int(one) >> n & 1) for one in found)
    experts = tuple(f"expert{'s' if many else ''} {name}" for name in experts)
    with look():
        figure, axes = pyplot.subplots(1, 2, figsize=(10.5, 4.3), gridspec_kw={"wspace": 0.42})
        _scatter(axes[0], points_S2, routing.labels_S, routing.modalities, "by modality")
        _scatter(axes[1], points_S2, label_S, experts, f"by expert{'s' if many else ''} of cascade {router}")
        write_svg(figure, path)
    information, chance = routing.information_R, routing.chance_R
    return Drawn(
        path.name,
        "inside",
        "Routing embeddings",
        f"{title}, {routing.dataset}: t-SNE of what the gate of cascade {router} sees of {len(points_S2)} test slices. "
        "Neighbours are alike; distances between groups mean nothing. Normalised mutual information of the experts "
        f"that it chooses, as a set, with the modality: {information[-1]:.2f} (by chance, with "
        f"{len(set(routing.volumes))} volumes, {chance[-1]:.2f}); "
        f"mean over cascades {information.mean():.2f} ({chance.mean():.2f}). The paper draws brain and knee apart "
        "(Fig. 2b, c) and finds modalities clearly separated.",
        f"Embeddings of {len(points_S2)} slices in a plane, by modality and by expert",
    )


def draw_training(histories: Mapping[str, Sequence[Mapping[str, Any]]], experts: int, path: Path) -> Drawn:
    """Write the chart of entropies and mutual information. histories: title -> metrics.jsonl; experts: of the first."""
    from matplotlib import pyplot

    panels = (
        ("router_entropy", "val_routing_entropy", "entropy of a sample's gates (nats)", "sure or undecided"),
        ("load_entropy", "val_load_entropy", "entropy of the loads, 1: all alike", "load of the experts"),
        ("", "val_nmi", "mutual information with the modality", "specialisation"),
    )
    with look():
        figure, axes = pyplot.subplots(1, 3, figsize=(12.5, 3.7), gridspec_kw={"wspace": 0.3})
        for axis, (training, validation, label, heading) in zip(axes, panels, strict=True):
            for index, rows in enumerate(histories.values()):
                colour, marker = mark(index, LINES, MARKERS)
                if training:
                    axis.plot(*thinned(*series(rows, training), points=60), "-", color=colour, alpha=0.45, linewidth=1)
                steps, values = series(rows, validation)
                axis.plot(steps, values, "-", color=colour, marker=marker, markersize=5, markeredgecolor="white")
                if validation == "val_nmi":
                    axis.plot(*series(rows, "val_nmi_chance"), ":", color=colour, linewidth=1.2)
            axis.set_xlabel("optimiser step")
            axis.set_ylabel(label)
            axis.set_title(heading)
            axis.set_ylim(-0.04, 1.06)
        axes[0].axhline(np.log(experts), color=GREY, linestyle="--", linewidth=1.2)
        axes[0].set_ylim(-0.06, 1.1 * np.log(experts))
        for index, title in enumerate(histories):
            colour, marker = mark(index, LINES, MARKERS)
            axes[1].plot([], [], "-", color=colour, marker=marker, label=title)
        figure.legend(*axes[1].get_legend_handles_labels(), loc="upper center", ncols=6, bbox_to_anchor=(0.5, 1.07))
        write_svg(figure, path)
    flags = "; ".join(
        f"{title}: {int(last['val_collapsed_routers'])} collapsed, mutual information {last['val_nmi']:.2f}"
        + (f" ({last['val_nmi_chance']:.2f} by chance)" if "val_nmi_chance" in last else "")
        for title, rows in histories.items()
        if (last := next((row for row in reversed(rows) if "val_nmi" in row), None))
    )
    return Drawn(
        path.name,
        "training",
        "Training: routing",
        "Thin: training steps, with the noise on the choice, running mean; marked: validation, without noise; means "
        f"over cascades. Dashed: gates that are all equal, ln {experts}. Right: normalised mutual information of the "
        "experts that a cascade chooses, as a set, with the modality; dotted: what chance makes of it with these "
        f"volumes. At the last validation, {flags}.",
        f"Entropy of gates, of loads, and mutual information with the modality over training. {flags}",
    )


def mark(index: int, colours: Sequence[str], shapes: Sequence[str]) -> tuple[str, str]:
    """Colour and shape of the index-th thing: both change from one to the next, and pairs repeat as late as they can.

    Colours and shapes are equally many.
    """
    return colours[index % len(colours)], shapes[(index + index // len(colours)) % len(shapes)]


def _scatter(axis: Axes, points_S2: np.ndarray, labels_S: np.ndarray, names: Sequence[str], heading: str) -> None:
    for index, name in enumerate(names):
        own = points_S2[labels_S == index]
        if len(own):
            colour, shape = mark(index, COLOURS, SHAPES)
            axis.plot(*own.T, shape, color=colour, markeredgecolor="white", markersize=7, label=name)
    axis.set_title(heading)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_xlabel("t-SNE 1 (no unit)")
    axis.set_ylabel("t-SNE 2 (no unit)")
    axis.margins(0.08)
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=9)
