"""Made-up arms and made-up readers: nothing here was seen or scored by anybody."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from rekon.randomness import generator
from rekon.reading.images import write_images
from rekon.reading.key import Key
from rekon.reading.kit import make_kit
from rekon.reading.sheet import columns

ARMS = ("zephyr", "quokka")  # words that occur nowhere else


def write_arm(
    path: Path, arm: str, subjects: int = 8, slices: int = 2, blur: float = 0.0, owners=None, **changes
) -> Path:
    """Noise inside a disc, less of it the larger `blur` is: arms differ as images do."""
    rows, columns_ = np.mgrid[-1:1:24j, -1:1:20j]
    images, own = {}, {}
    for subject in range(subjects):
        for number in range(slices):
            noise = generator(1, "made-up image", subject, number).uniform(size=(24, 20))
            images[f"v{subject}/{number}"] = ((rows**2 + columns_**2 < 0.8) * (1 + (1 - blur) * noise)).astype("f4")
            own[f"v{subject}/{number}"] = f"s{subject}"
    write_images(path, images, **{"arm": arm, "dataset": "sim-made-up", "subjects": owners or own} | changes)
    return path


def make(folder: Path, *, subjects: int = 8, slices: int = 2, arms: tuple[str, ...] = ARMS, **options) -> Key:
    """A kit in folder/kit with its key, folder/key.json."""
    files = [write_arm(folder / f"{arm}.h5", arm, subjects, slices, blur=0.5 * index) for index, arm in enumerate(arms)]
    return make_kit(files, folder / "kit", folder / "key.json", **options)


def read_as(path: Path, key: Key, reader: str, quality: dict[str, float], noise: float = 0.6, blank: int = 0) -> Path:
    """Fill a sheet in as a simulated reader: score = the arm's true quality + the subject's + noise, rounded, in 1..5.

    quality: arm -> its true score. blank: cells left empty, from the first row on.
    """
    rows: list[list[object]] = []
    for name, pair in key.pairs.items():
        subject = generator(2, pair.subject).normal(0, 0.3)
        drawn = {
            side: quality[arm] + subject + generator(3, f"{reader} {name} {side}").normal(0, noise, len(key.criteria))
            for side, arm in (("A", pair.A), ("B", pair.B))
        }
        best = max(drawn, key=lambda side: drawn[side].mean())
        for side, values in drawn.items():
            scores: list[object] = [int(value) for value in np.clip(np.rint(values), 1, 5)]
            if blank:
                scores[0], blank = "", blank - 1
            rows.append([reader, key.kit, name, side, *scores, int(side == best)])
    with path.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle, lineterminator="\n").writerows([columns(key.criteria), *rows])
    return path
