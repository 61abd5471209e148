"""What goes on in token space: use of the codebook, accuracy of the predicted tokens, distance from the teacher."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rekon.nas.inspection import Accuracy, Ceiling, Codebook, Divergence
from rekon.reporting.figures.style import BLUE, GREEN, GREY, LINES, MARKERS, VERMILION, Drawn, look, write_svg
from rekon.reporting.views import PATTERNS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RANKS = 60  # points of a rank curve: what a chart this size can show


def draw_codebook(codebook: Codebook, where: str, path: Path) -> Drawn:
    """Codes used and perplexity per level, and how unevenly codes are used."""
    from matplotlib import pyplot

    places = np.arange(len(codebook.levels))
    with look():
        figure, (left, right) = pyplot.subplots(1, 2, figsize=(10.5, 3.6), gridspec_kw={"wspace": 0.24})
        left.axhline(codebook.vocabulary, color=GREY, linestyle="--", linewidth=1.2, label="codes in the codebook")
        left.plot(places, codebook.used, "o-", color=BLUE, label="codes used")
        left.plot(places, codebook.perplexity, "s-", color=VERMILION, label="perplexity")
        _levels(left, codebook.levels, "level of the hierarchy")
        left.set_yscale("log", base=2)
        left.set_ylim(bottom=max(np.nanmin(codebook.perplexity), 1) / 2.5)  # room for the legend
        left.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        left.set_ylabel("number of codes")
        left.set_title("per level")
        for index, (name, counts) in enumerate(zip(codebook.levels, codebook.usage, strict=True)):
            share = np.sort(counts)[::-1].cumsum() / max(counts.sum(), 1)
            shown = np.unique(np.geomspace(1, len(share), RANKS).astype(int))
            right.plot(shown, 100 * share[shown - 1], color=LINES[index % len(LINES)], linewidth=1.5, label=_name(name))
        right.set_xscale("log", base=2)
        right.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        right.set_xlabel("codes, the commonest first")
        right.set_ylabel("share of the level's tokens (%)")
        right.set_title("share of tokens covered")
        right.set_ylim(0, 102)
        left.legend(fontsize=8.5, loc="lower right")
        right.legend(fontsize=8.5, loc="lower right")
        write_svg(figure, path)
    words = ", ".join(
        f"{_name(name)}: {value:.0f}" for name, value in zip(codebook.levels, codebook.perplexity, strict=True)
    )
    return Drawn(
        path.name,
        "inside",
        "Use of the codebook",
        f"True images at every level, {where}. Perplexity is the exponential of the entropy: how many codes, equally "
        f"common, would be as uncertain. Of {codebook.vocabulary} codes, by level: {words}.",
        f"Perplexity per level of {codebook.vocabulary} codes: {words}",
    )


def draw_accuracy(accuracy: Accuracy, where: str, path: Path) -> Drawn:
    """Share of tokens predicted right per scale, after true tokens and after the run's own."""
    from matplotlib import pyplot

    with look():
        figure, axes = pyplot.subplots(1, 2, figsize=(10.5, 3.6), sharey=True, gridspec_kw={"wspace": 0.1})
        titles = ("after true tokens (teacher forcing)", "after its own tokens (rollout)")
        for axis, values, title in zip(axes, (accuracy.forced, accuracy.rolled), titles, strict=True):
            _runs(axis, accuracy.runs, accuracy.scales, 100 * values)
            places = np.arange(len(accuracy.scales))
            axis.plot(places, 100 * accuracy.frequent, color=GREY, linestyle="--", linewidth=1.3,
                      label="always the commonest token")  # fmt: skip
            axis.axhline(100 * accuracy.chance, color=GREY, linestyle=":", linewidth=1.3, label="chance")
            _levels(axis, accuracy.scales, "predicted scale")
            axis.set_title(title)
            axis.set_ylim(bottom=0)
        axes[0].set_ylabel("tokens predicted right (%)")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="upper center", ncols=len(labels), bbox_to_anchor=(0.5, 1.07), fontsize=9)
        write_svg(figure, path)
    words = "; ".join(
        f"{run}: {100 * forced.mean():.1f} % after true, {100 * rolled.mean():.1f} % after own tokens"
        for run, forced, rolled in zip(accuracy.runs, accuracy.forced, accuracy.rolled, strict=True)
    )
    return Drawn(
        path.name,
        "inside",
        "Accuracy of predicted tokens",
        f"Argmax, {where}. A token counts as right when it is the tokenizer's own for that image; another may decode "
        f"to nearly the same. Mean over scales: {words}. The commonest token of each scale is known from these slices.",
        f"Token accuracy, mean over scales: {words}",
    )


def draw_divergence(divergence: Divergence, where: str, path: Path) -> Drawn:
    """KL to the teacher per scale."""
    from matplotlib import pyplot

    with look():
        figure, axis = pyplot.subplots(figsize=(6.4, 3.6))
        _runs(axis, divergence.runs, divergence.scales, divergence.kl)
        _levels(axis, divergence.scales, "predicted scale")
        axis.set_ylabel("KL to the teacher (nats per token)")
        axis.set_ylim(bottom=0)
        axis.legend(fontsize=9)
        write_svg(figure, path)
    words = ", ".join(f"{run} {kl.mean():.3f}" for run, kl in zip(divergence.runs, divergence.kl, strict=True))
    return Drawn(
        path.name,
        "inside",
        "Distance from the privileged teacher",
        f"Reverse KL divergence (Eq. 4) along each run's own sampled rollouts, {where}; none of them was trained on. "
        f"Mean over scales in nats: {words}. Distillation should lower it.",
        f"KL to the teacher, mean over scales, nats: {words}",
        most="640px",
    )


def draw_ceiling(ceiling: Ceiling, where: str, path: Path) -> Drawn:
    """PSNR of the tokenizer on true tokens beside zero-filled, per pattern."""
    from matplotlib import pyplot

    places = np.arange(len(ceiling.patterns))
    with look():
        figure, axis = pyplot.subplots(figsize=(6.4, 3.4))
        axis.bar(places - 0.2, ceiling.zero_filled, 0.36, color=GREY, label="zero-filled, highest R")
        axis.bar(places + 0.2, ceiling.tokenizer, 0.36, color=GREEN, label="tokenizer, true tokens of all levels")
        for place, values in ((-0.2, ceiling.zero_filled), (0.2, ceiling.tokenizer)):
            for x, value in zip(places, values, strict=True):
                axis.text(x + place, value, f"{value:.1f}", ha="center", va="bottom", fontsize=8.5)
        axis.set_xticks(places, [PATTERNS.get(name, name) for name in ceiling.patterns])
        axis.grid(False, axis="x")
        axis.set_ylabel("PSNR (dB)")
        axis.margins(y=0.16)
        axis.legend(fontsize=9, ncols=2, loc="upper center", bbox_to_anchor=(0.5, 1.17))
        write_svg(figure, path)
    words = ", ".join(
        f"{PATTERNS.get(name, name)} {value:.1f}"
        for name, value in zip(ceiling.patterns, ceiling.tokenizer, strict=True)
    )
    return Drawn(
        path.name,
        "inside",
        "What the tokenizer can represent",
        f"Mean PSNR in dB, {where}: the image decoded from the true tokens of all levels, the fully sampled one among "
        f"them, is the best that predicted tokens can reach ({words}).",
        f"PSNR of the tokenizer on true tokens, dB: {words}",
        most="640px",
    )


def _runs(axis: Axes, runs: Sequence[str], scales: Sequence[str], values: np.ndarray) -> None:
    for index, (run, line) in enumerate(zip(runs, values, strict=True)):
        axis.plot(
            np.arange(len(scales)), line, marker=MARKERS[index], color=LINES[index], markeredgecolor="white", label=run
        )


def _levels(axis: Axes, names: Sequence[str], label: str) -> None:
    axis.set_xticks(np.arange(len(names)), [_name(name) for name in names])
    axis.set_xlabel(label)


def _name(level: str) -> str:
    """A level as an axis shows it."""
    return "full" if level == "FS" else f"R = {level}"
