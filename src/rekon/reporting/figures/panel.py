"""Per data set: reference, zero-filled and every run's reconstruction of the same slice, error maps below."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rekon.errors import UserError
from rekon.evaluation.metrics import Score
from rekon.evaluation.panel import Panel
from rekon.reporting.figures.style import Drawn, grey, heat, look, write_webp
from rekon.reporting.metrics import METRICS
from rekon.reporting.sources import Sources

ERROR_GAIN = 10  # error maps show |reconstruction - reference| times this, on the reference's scale
BRIGHTEST = 99.8  # percentile of the reference shown as white, so that one bright vessel does not darken the rest


@dataclass(frozen=True)
class Tile:
    """One column of a panel, as pixels."""

    run: str  # "reference" or a run's name
    title: str
    image: np.ndarray  # uint8 (h, w)
    error: np.ndarray | None  # uint8 (h, w, 3); None for the reference and where there is none
    score: Score | None

    @property
    def lines(self) -> tuple[str, str]:
        """Metrics as two short texts, empty without a reference."""
        if self.score is None:
            return "", ""
        psnr, ssim = METRICS["psnr"], METRICS["ssim"]
        return f"{psnr.text(self.score.psnr)} dB", f"SSIM {ssim.text(100 * self.score.ssim)} %"


@dataclass(frozen=True)
class Strip:
    """All columns for one slice."""

    dataset: str
    volume: str
    slice: int
    tiles: tuple[Tile, ...]
    scored: bool


def strip(sources: Sources, study: str, dataset: str) -> Strip | None:
    """The pictures of a set; None when no run of the study was evaluated on it.

    All columns share one grey scale: black is 0, white the reference's BRIGHTEST percentile.
    Raises UserError when runs pictured different slices (results of different versions side by side).
    """
    panels = {run: panel for run in sources.runs(study) if (panel := sources.panel(run, dataset)) is not None}
    if not panels:
        return None
    first = next(iter(panels.values()))
    for run, panel in panels.items():
        same = (panel.volume, panel.slice) == (first.volume, first.slice)
        if not same or panel.reconstruction.shape != first.reconstruction.shape:
            raise UserError(
                f"{sources.result(run, dataset, '.npz')}: pictures {panel.volume} slice {panel.slice}, other runs "
                f"{first.volume} slice {first.slice}; run the evaluations of {dataset} again."
            )
    top = float(np.percentile(first.zero_filled if first.target is None else first.target, BRIGHTEST))
    tiles = [] if first.target is None else [Tile("reference", "Reference", grey(first.target, top), None, None)]
    tiles += [_tile(run, sources.title(run), panel, top) for run, panel in panels.items()]
    return Strip(dataset, first.volume, first.slice, tuple(tiles), first.target is not None)


def draw(strip_: Strip, path: Path) -> Drawn:
    """Write the panel as one picture."""
    from matplotlib import pyplot

    height, width = strip_.tiles[0].image.shape
    rows, columns = 1 + strip_.scored, len(strip_.tiles)
    side = 1.75
    with look():
        figure, axes = pyplot.subplots(
            rows, columns, figsize=(side * columns, rows * side * height / width + 0.5), squeeze=False,
            gridspec_kw={"wspace": 0.03, "hspace": 0.03},
        )  # fmt: skip
        for axis in axes.flat:
            axis.set_axis_off()
        for column, tile in zip(axes.T, strip_.tiles, strict=True):
            column[0].imshow(tile.image, cmap="gray", vmin=0, vmax=255)
            column[0].set_title(tile.title, fontsize=9)
            if tile.score:
                box = {"facecolor": "black", "alpha": 0.55, "edgecolor": "none", "pad": 1.5}
                options = {"color": "white", "fontsize": 7.5, "va": "top", "transform": column[0].transAxes}
                column[0].text(0.03, 0.97, "\n".join(tile.lines), bbox=box, **options)
            if tile.error is not None:
                column[1].imshow(tile.error)
        if strip_.scored:
            axes[1][0].text(
                0.5, 0.5, f"|error| × {ERROR_GAIN}\nblack: none\nyellow: white above", ha="center", va="center",
                fontsize=8, transform=axes[1][0].transAxes,
            )  # fmt: skip
        write_webp(figure, path)
    return Drawn(path.name, "panels", strip_.dataset, caption(strip_), alt(strip_))


def caption(strip_: Strip) -> str:
    """What the panel shows."""
    where = f"{strip_.dataset}, volume {strip_.volume}, slice {strip_.slice}"
    if not strip_.scored:
        return f"{where}. Prospectively undersampled: no reference exists, so there are no metrics and no error maps."
    return (
        f"{where}. All columns on one grey scale; below, the absolute error × {ERROR_GAIN} on the same scale. "
        "The metrics are this slice's."
    )


def alt(strip_: Strip) -> str:
    """The metrics in words."""
    parts = [f"{tile.title} {', '.join(tile.lines)}" for tile in strip_.tiles if tile.score]
    return f"Reconstructions of a slice of {strip_.dataset}" + (": " + "; ".join(parts) if parts else "")


def _tile(run: str, title: str, panel: Panel, top: float) -> Tile:
    error = None
    if panel.target is not None:
        error = heat(ERROR_GAIN * np.abs(panel.reconstruction - panel.target), top)
    return Tile(run, title, grey(panel.reconstruction, top), error, panel.score)
