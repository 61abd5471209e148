"""Per view: reference, zero-filled and the runs' reconstructions of the same slice, error maps below."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rekon.errors import UserError
from rekon.evaluation.metrics import Score
from rekon.evaluation.panel import Panel
from rekon.files import atomic_path
from rekon.reporting.figures.style import INK, Drawn, grey, heat
from rekon.reporting.metrics import METRICS
from rekon.reporting.sources import Sources
from rekon.reporting.views import View

if TYPE_CHECKING:
    from PIL import ImageFont

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

    view: View
    volume: str
    slice: int
    tiles: tuple[Tile, ...]
    scored: bool


def strip(sources: Sources, runs: Iterable[str], view: View) -> Strip | None:
    """The pictures of some runs in a view; None when none of them was evaluated there.

    All columns share one grey scale: black is 0, white the reference's BRIGHTEST percentile.
    Raises UserError when runs pictured different slices (results of different versions side by side).
    """
    panels = {run: panel for run in runs if (panel := sources.panel(run, view)) is not None}
    if not panels:
        return None
    first = next(iter(panels.values()))
    for run, panel in panels.items():
        same = (panel.volume, panel.slice) == (first.volume, first.slice)
        if not same or panel.reconstruction.shape != first.reconstruction.shape:
            raise UserError(
                f"{sources.result(run, view.dataset, '.npz')}: pictures {panel.volume} slice {panel.slice}, other runs "
                f"{first.volume} slice {first.slice}; run the evaluations of {view.dataset} again."
            )
    top = float(np.percentile(first.zero_filled if first.target is None else first.target, BRIGHTEST))
    tiles = [] if first.target is None else [Tile("reference", "Reference", grey(first.target, top), None, None)]
    tiles += [_tile(run, sources.title(run), panel, top) for run, panel in panels.items()]
    return Strip(view, first.volume, first.slice, tuple(tiles), first.target is not None)


def draw(strip_: Strip, path: Path) -> Drawn:
    """Write the panel as one picture: titles and metrics, reconstructions, error maps."""
    from PIL import Image, ImageDraw

    height, width = strip_.tiles[0].image.shape
    zoom = max(1, round(190 / width))  # small matrices are enlarged by a whole number, pixels stay square
    h, w, gap, head = zoom * height, zoom * width, 6, 52
    columns, rows = len(strip_.tiles), 1 + strip_.scored
    canvas = Image.new("RGB", (columns * (w + gap) + gap, head + rows * (h + gap)), "white")
    pen, bold, plain = ImageDraw.Draw(canvas), font("DejaVuSans-Bold", 14), font("DejaVuSans", 12)
    for column, tile in enumerate(strip_.tiles):
        left = gap + column * (w + gap)
        pen.text((left, 6), tile.title, fill=INK, font=bold)
        pen.text((left, 27), ", ".join(line for line in tile.lines if line), fill=INK, font=plain)
        for row, pixels in enumerate((tile.image, tile.error)):
            if pixels is not None:
                picture = Image.fromarray(pixels).convert("RGB").resize((w, h), Image.Resampling.LANCZOS)
                canvas.paste(picture, (left, head + row * (h + gap)))
    if strip_.scored:
        key = f"|error| × {ERROR_GAIN}\n\nblack: none\nyellow: as bright\nas white above"
        pen.multiline_text((gap + 12, head + h + gap + h // 3), key, fill=INK, font=plain, spacing=5)
    with atomic_path(path) as temporary:
        canvas.save(temporary, format="WEBP", quality=80, method=4)
    return Drawn(path.name, "panels", title(strip_.view), caption(strip_), alt(strip_))


@cache
def font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """One of the fonts that matplotlib carries."""
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"), size)


def title(view: View) -> str:
    """A view as a heading: the set, then the part of it."""
    return ", ".join(filter(None, (view.dataset, view.part)))


def caption(strip_: Strip) -> str:
    """What the panel shows."""
    where = f"{title(strip_.view)}, volume {strip_.volume}, slice {strip_.slice}"
    if not strip_.scored:
        return f"{where}. Prospectively undersampled: no reference exists, so there are no metrics and no error maps."
    return (
        f"{where}. All columns on one grey scale; below, the absolute error × {ERROR_GAIN} on the same scale. "
        "The metrics are this slice's."
    )


def alt(strip_: Strip) -> str:
    """The metrics in words."""
    parts = [f"{tile.title} {', '.join(tile.lines)}" for tile in strip_.tiles if tile.score]
    return f"Reconstructions of a slice of {title(strip_.view)}" + (": " + "; ".join(parts) if parts else "")


def _tile(run: str, title: str, panel: Panel, top: float) -> Tile:
    error = None
    if panel.target is not None:
        error = heat(ERROR_GAIN * np.abs(panel.reconstruction - panel.target), top)
    return Tile(run, title, grey(panel.reconstruction, top), error, panel.score)
