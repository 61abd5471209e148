"""Images that priors draw without any measurement, beside one that they were trained on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from rekon.dpm.inspection import PriorDraws
from rekon.files import atomic_path
from rekon.reporting.figures.panel import font
from rekon.reporting.figures.style import GREY, INK, Drawn, grey

GAP, HEAD, LABEL = 5, 44, 86  # pixels: between pictures, above them, left of them


def draw(prior: PriorDraws, titles: Mapping[str, str], path: Path) -> Drawn:
    """Write the picture: a row per contrast label; a training image, then each run's draws. titles: of the runs."""
    from PIL import Image, ImageDraw

    _, rows, count, height, width = prior.images.shape
    zoom = max(1, round(96 / width))  # a whole number: pixels stay square
    h, w = zoom * height, zoom * width
    starts = [LABEL] + [
        LABEL + w + 3 * GAP + number * (count * (w + GAP) + 2 * GAP) for number in range(len(prior.runs))
    ]
    size = (starts[-1] + count * (w + GAP), HEAD + rows * (h + GAP))
    canvas = Image.new("RGB", size, "white")
    pen, bold, plain = ImageDraw.Draw(canvas), font("DejaVuSans-Bold", 12), font("DejaVuSans", 11)
    pen.multiline_text((starts[0], 6), "training\nimage", fill=INK, font=bold, spacing=3)
    for start, run in zip(starts[1:], prior.runs, strict=True):
        pen.text((start, 6), titles[run], fill=INK, font=bold)
        pen.text((start, 23), "draws from noise alone", fill=INK, font=plain)
    for row, label in enumerate(prior.labels):
        top = HEAD + row * (h + GAP)
        pen.text((4, top + h // 2 - 8), label, fill=INK, font=bold)
        _paste(canvas, prior.training[row], starts[0], top, zoom)
        for number, start in enumerate(starts[1:]):
            for column, image in enumerate(prior.images[number, row]):
                _paste(canvas, image, start + column * (w + GAP), top, zoom)
            if not prior.seen[number, row]:
                box = (start - 2, top - 2, start + count * (w + GAP) - GAP + 1, top + h + 1)
                pen.rectangle(box, outline=GREY, width=2)
                pen.text((start + 5, top + 4), "not in its training", fill="white", font=plain)
    with atomic_path(path) as temporary:
        canvas.save(temporary, format="WEBP", quality=85, method=4)
    names = " and ".join(titles[run] for run in prior.runs)
    seen = "; ".join(
        f"{titles[run]}: {', '.join(np.array(prior.labels)[mask].tolist()) or 'none of these'}"
        for run, mask in zip(prior.runs, prior.seen, strict=True)
    )
    return Drawn(
        path.name,
        "inside",
        "Draws from the priors",
        f"No measurement: {prior.steps} second-order steps from the published noise level down. A column has the same "
        "noise in all rows and for both priors, so what differs is the label and the weights. Black is 0, white the "
        f"largest magnitude of a training image. Labels in training: {seen}; fine-tuning starts from the pre-trained "
        "weights.",
        f"Images drawn from {names} for the labels {', '.join(prior.labels)}, beside training images",
    )


def _paste(canvas: object, image: np.ndarray, left: int, top: int, zoom: int) -> None:
    from PIL import Image

    pixels = np.kron(grey(image, 1.0), np.ones((zoom, zoom), np.uint8))
    canvas.paste(Image.fromarray(pixels), (left, top))  # type: ignore[attr-defined]
