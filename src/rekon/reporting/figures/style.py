"""One look for all figures: colour-blind-safe colours, readable sizes, equal bytes for equal input."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rekon.files import atomic_path, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe & Ito (2008), without yellow, which is too light for lines on white
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, BLACK, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#1b1f24", "#7a828c",
)  # fmt: skip
LINES = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
MARKERS = ("o", "s", "^", "D", "v", "P")
PAPER = ORANGE  # the paper's values, everywhere
INK, FAINT = "#1b1f24", "#d9dee4"
TAG, DECIMALS = re.compile(r"<[^>]*>"), re.compile(r"\d+\.\d{3,}")  # of an SVG; what stands between tags is text


@dataclass(frozen=True)
class Drawn:
    """A figure on disk."""

    file: str  # name below the figures' folder
    section: str  # "panels", "ladder", "inside", "training"
    title: str
    caption: str
    alt: str  # for those who cannot see it
    least: str = "600px"  # CSS width below which the page scrolls it
    most: str = "900px"  # CSS width that it does not exceed


@contextmanager
def look() -> Iterator[None]:
    """Matplotlib settings of the report, without touching anybody else's."""
    import matplotlib

    settings: dict[Any, Any] = {
        "backend": "agg",
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans", "Verdana", "Helvetica", "Arial"],
        "font.size": 10,
        "axes.titlesize": 10.5,
        "axes.titleweight": "bold",
        "axes.labelsize": 10,
        "axes.edgecolor": GREY,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": FAINT,
        "grid.linewidth": 0.7,
        "text.color": INK,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "legend.frameon": False,
        "lines.linewidth": 1.8,
        "lines.markersize": 6,
        "figure.dpi": 100,
        "svg.fonttype": "none",  # text stays text: a fifth of the size, and searchable
        "svg.hashsalt": "rekon",  # equal figures, equal bytes
    }
    with matplotlib.rc_context(settings):
        yield


def write_svg(figure: Figure, path: Path) -> None:
    """Write a chart as SVG, without a date; places are rounded to a hundredth of a point."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    _close(figure)
    write_text(path, TAG.sub(lambda tag: DECIMALS.sub(_hundredths, tag[0]), buffer.getvalue().decode()))


def write_webp(figure: Figure, path: Path, dpi: int = 120, quality: int = 82) -> None:
    """Write a figure made of pictures as WebP."""
    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, bbox_inches="tight")
    _close(figure)
    buffer.seek(0)
    with atomic_path(path) as temporary:
        Image.open(buffer).convert("RGB").save(temporary, format="WEBP", quality=quality, method=6)


def webp(pixels: np.ndarray, quality: int = 80) -> bytes:
    """Encode uint8 pixels, (H, W) grey or (H, W, 3), as WebP."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).convert("RGB").save(buffer, format="WEBP", quality=quality, method=4)
    return buffer.getvalue()


def grey(image: np.ndarray, top: float) -> np.ndarray:
    """Magnitude to uint8: 0 is black, `top` and above is white; NaN is black."""
    scaled = np.nan_to_num(np.asarray(image, dtype=np.float64) / top if top > 0 else image * 0.0)
    return (np.clip(scaled, 0, 1) * 255 + 0.5).astype(np.uint8)


def heat(image: np.ndarray, top: float) -> np.ndarray:
    """Magnitude to uint8 RGB in matplotlib's inferno, which rises evenly in lightness."""
    from matplotlib import colormaps

    return (colormaps["inferno"](grey(image, top))[..., :3] * 255 + 0.5).astype(np.uint8)


def _hundredths(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")


def _close(figure: Figure) -> None:
    from matplotlib import pyplot

    pyplot.close(figure)
