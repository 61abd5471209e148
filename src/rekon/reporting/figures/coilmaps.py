"""Coil sensitivity maps: the network's against ESPIRiT's, in and out of distribution (UEPS Fig. 3)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rekon.reporting.figures.style import Drawn, look, write_webp
from rekon.ueps.inspection import CoilMaps


def draw(examples: Sequence[CoilMaps], path: Path) -> Drawn:
    """Write the picture: two rows per example (ESPIRiT, E2EVarNet), a column per coil, and their agreement."""
    from matplotlib import pyplot

    coils = max(len(example.reference) for example in examples)
    with look():
        figure, axes = pyplot.subplots(
            2 * len(examples), coils + 1, figsize=(1.7 * (coils + 1) + 1.6, 3.9 * len(examples)), squeeze=False,
            gridspec_kw={"wspace": 0.06, "hspace": 0.2},
        )  # fmt: skip
        for axis in axes.flat:
            axis.set_axis_off()
        magnitude = agreement = None
        for number, example in enumerate(examples):
            pair = axes[2 * number : 2 * number + 2]
            inside = np.isfinite(example.similarity)
            top = max(float(np.abs(example.reference[:, inside]).max(initial=0)), 1e-6)
            rows = (("ESPIRiT\nfull data", example.reference), ("E2EVarNet\nundersampled", example.estimate))
            for row, (label, maps) in zip(pair, rows, strict=True):
                for coil, axis in zip(maps, row, strict=False):
                    shown = np.where(inside, np.abs(coil), np.nan)
                    magnitude = axis.imshow(shown, cmap="viridis", vmin=0, vmax=top)
                place = {"ha": "right", "va": "center", "transform": row[0].transAxes, "fontsize": 9}
                row[0].text(-0.08, 0.5, label, **place)
            for axis, number_of_coil in zip(pair[0], example.shown, strict=False):
                axis.set_title(f"coil {number_of_coil + 1}", fontsize=8.5, weight="normal")
            heading = f"{example.dataset}\n{example.coils} coils"
            pair[0][0].text(-0.08, 1.12, heading, ha="right", va="top", weight="bold", transform=pair[0][0].transAxes)
            pair[0][-1].imshow(example.image, cmap="gray", vmin=0)
            pair[0][-1].set_title("image", fontsize=8.5, weight="normal")
            agreement = pair[1][-1].imshow(example.similarity, cmap="inferno", vmin=0, vmax=1)
            pair[1][-1].set_title(f"agreement, mean {mean_similarity(example):.3f}", fontsize=8.5, weight="normal")
        if magnitude is not None and agreement is not None:
            figure.colorbar(magnitude, ax=axes, location="bottom", shrink=0.35, aspect=40, pad=0.02, anchor=(0.1, 1.0),
                            label="|sensitivity| (relative; full scale per data set)", ticks=[])  # fmt: skip
            figure.colorbar(agreement, ax=axes, location="right", shrink=0.4, aspect=30, pad=0.02,
                            label="agreement (1: same maps)")  # fmt: skip
        write_webp(figure, path)
    numbers = "; ".join(f"{example.dataset} {mean_similarity(example):.3f}" for example in examples)
    return Drawn(
        path.name,
        "inside",
        "Coil sensitivity maps",
        "Magnitude of some coils' maps: ESPIRiT on fully sampled data above, what E2EVarNet estimates from the "
        "undersampled data below. Agreement is |⟨a, b⟩| over all coils of the normalised maps at each pixel, 1 where "
        f"they are equal up to a common phase; its mean over the object: {numbers}. "
        "E2EVarNet is trained for images, not for maps: low agreement is not by itself a bad image.",
        f"Coil sensitivity maps; mean agreement with ESPIRiT: {numbers}",
    )


def mean_similarity(example: CoilMaps) -> float:
    """Mean agreement over the pixels that have a reference map; NaN if none has."""
    inside = np.isfinite(example.similarity)
    return float(example.similarity[inside].mean()) if inside.any() else float("nan")
