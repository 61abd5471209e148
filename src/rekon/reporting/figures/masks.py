"""The sampling masks of a hierarchy: a row per pattern, a column per acceleration (NAS, Supp. Fig. 1)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from rekon.config.sampling import Pattern
from rekon.files import atomic_path
from rekon.physics.patterns import ExactMask
from rekon.reporting.figures.panel import font
from rekon.reporting.figures.style import INK, Drawn
from rekon.reporting.views import PATTERNS

GAP, HEAD, LABEL = 6, 24, 130


def draw(masks: Mapping[tuple[Pattern, int], ExactMask], path: Path) -> Drawn:
    """Write the picture: white is sampled, the centre of k-space in the middle; the first draw of random patterns."""
    from PIL import Image, ImageDraw

    patterns = list(dict.fromkeys(pattern for pattern, _ in masks))
    accelerations = list(dict.fromkeys(r for _, r in masks))
    height, width = next(iter(masks.values())).size
    zoom = max(1, round(120 / width))  # a whole number: samples stay square and alike
    h, w = zoom * height, zoom * width
    canvas = Image.new("RGB", (LABEL + len(accelerations) * (w + GAP), HEAD + len(patterns) * (h + GAP)), "white")
    pen, plain = ImageDraw.Draw(canvas), font("DejaVuSans", 12)
    for column, r in enumerate(accelerations):
        pen.text((LABEL + column * (w + GAP), 5), f"R = {r}", fill=INK, font=plain)
    for row, pattern in enumerate(patterns):
        top = HEAD + row * (h + GAP)
        pen.text((4, top + h // 2 - 8), PATTERNS.get(pattern, pattern), fill=INK, font=plain)
        for column, r in enumerate(accelerations):
            pixels = np.kron(masks[pattern, r].samples[0], np.ones((zoom, zoom), bool)).astype(np.uint8) * 255
            canvas.paste(Image.fromarray(pixels).convert("RGB"), (LABEL + column * (w + GAP), top))
    with atomic_path(path) as temporary:
        canvas.save(temporary, format="WEBP", lossless=True, method=4)
    counts = ", ".join(f"R = {r}: {masks[patterns[0], r].samples[0].sum()}" for r in accelerations)
    return Drawn(
        path.name,
        "inside",
        "Sampling patterns",
        f"White: measured; the centre of k-space is in the middle. Samples of {height} × {width}, equal for all "
        f"patterns: {counts}. Of Gaussian VD and Radial one draw of several is shown. Every mask contains those to its "
        "left.",
        f"Masks of {', '.join(PATTERNS.get(pattern, pattern) for pattern in patterns)}; samples per mask: {counts}",
    )
