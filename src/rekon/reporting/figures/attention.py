"""Where a transformer with full attention looks: along the row, as aliasing does? (UEPS Fig. 4)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rekon.reporting.figures.style import BLUE, GREY, SKY, VERMILION, Drawn, look, write_webp
from rekon.ueps.inspection import Attention


def draw(attention: Attention, path: Path) -> Drawn:
    """Write the picture: the image with its query patches, each one's attention, and shares per layer."""
    from matplotlib import pyplot
    from matplotlib.patches import Rectangle

    queries = len(attention.queries)
    height, width = attention.image.shape
    cell = (height / attention.scores.shape[1], width / attention.scores.shape[2])
    with look():
        figure, axes = pyplot.subplots(
            1, queries + 2, figsize=(2.2 * (queries + 1) + 3.6, 2.7),
            gridspec_kw={"wspace": 0.08, "width_ratios": [1] * (queries + 1) + [1.45]},
        )  # fmt: skip
        *pictures, chart = axes
        for axis in pictures:
            axis.set_axis_off()
        pictures[0].imshow(attention.image, cmap="gray", vmin=0)
        pictures[0].set_title("query patches", fontsize=9.5)
        for number, ((row, column), scores) in enumerate(zip(attention.queries, attention.scores, strict=True), 1):
            corner = (column * cell[1] - 0.5, row * cell[0] - 0.5)
            for axis in (pictures[0], pictures[number]):
                axis.add_patch(Rectangle(corner, cell[1], cell[0], fill=False, edgecolor=SKY, linewidth=1.6))
            pictures[0].text(
                corner[0] + cell[1] + 1, corner[1] + cell[0], str(number), color=SKY, fontsize=9, weight="bold"
            )
            box = (-0.5, width - 0.5, height - 0.5, -0.5)
            pictures[number].imshow(np.sqrt(scores), cmap="inferno", extent=box, interpolation="nearest", vmin=0)
            pictures[number].set_title(f"attention of patch {number}", fontsize=9.5)
        layers = np.arange(1, len(attention.rows) + 1)
        chart.plot(layers, 100 * attention.rows, "o-", color=BLUE, label="own and adjacent rows (along W)")
        chart.plot(layers, 100 * attention.columns, "s-", color=VERMILION, label="own and adjacent columns")
        for share in np.unique(attention.uniform):
            chart.axhline(100 * share, color=GREY, linestyle="--", linewidth=1.2, label="spread evenly")
        chart.set_xlabel("layer")
        chart.set_ylabel("share of attention (%)")
        chart.yaxis.tick_right()
        chart.yaxis.set_label_position("right")
        chart.set_xticks(layers)
        chart.set_ylim(bottom=0)
        handles, labels = chart.get_legend_handles_labels()
        unique = dict(zip(labels, handles, strict=True))
        chart.legend(unique.values(), unique.keys(), fontsize=8, loc="upper center", bbox_to_anchor=(0.5, 1.3))
        write_webp(figure, path)
    words = f"{100 * attention.rows.mean():.0f} % on rows, {100 * attention.columns.mean():.0f} % on columns"
    return Drawn(
        path.name,
        "inside",
        "Attention of UE-ViT",
        f"Last cascade, full attention; {attention.dataset}, volume {attention.volume}, slice {attention.slice}; "
        "mean over layers, heads and coils; brightness is the square root of the weight. Undersampling folds the image "
        "along the rows. Right: how much of it falls on the query's own and the adjacent token rows, and on columns; "
        f"over all layers {words}; spread evenly it would be {100 * attention.uniform[0]:.0f} %. "
        "The paper finds attention concentrated along rows.",
        f"Attention maps of query patches; mean share of attention: {words}",
    )
