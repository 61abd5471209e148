"""Sampling patterns over both axes of k-space with exact sample counts: H W / R of H x W, the centre included.

    es-x      whole readout lines: rows, spread along H. The transpose of es-y
    es-y      whole columns, spread along W: the usual undersampling of the phase encoding
    gaussian  single samples, denser towards the centre, around a fully sampled central square
    radial    spokes through the centre; of the last spoke only as many random samples as make the count exact

Every family is nested: a mask holds those of the same settings at any multiple of its R. None needs to know the other
levels for that: spokes and single samples come in one order, of which R takes the first H W / R, and the grid of
equispaced lines at R holds that at a multiple of R. NAS names the families (Sec. 5, Supp. 10) and their exact counts;
the geometry is our reading.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rekon.config.base import check
from rekon.config.sampling import ExactMaskSettings
from rekon.errors import UserError
from rekon.randomness import generator, key

_GOLDEN_ANGLE = np.pi * (np.sqrt(5) - 1) / 2  # 111.25 degrees: any number of successive spokes is spread evenly


@dataclass(frozen=True)
class ExactMask:
    """The draws of one pattern at one acceleration."""

    samples: np.ndarray  # bool (variants, H, W), each with H W / R samples
    acs: tuple[int, int]  # rows, columns of the fully sampled centre; of lines, the whole other axis
    settings: ExactMaskSettings

    @property
    def size(self) -> tuple[int, int]:
        """Matrix (H, W)."""
        return int(self.samples.shape[1]), int(self.samples.shape[2])

    @property
    def acceleration(self) -> int:
        """Nominal R, which is also the effective one."""
        return self.settings.acceleration

    @property
    def effective_acceleration(self) -> float:
        """Samples of the matrix for one that is measured."""
        return self.samples[0].size / int(self.samples[0].sum())

    def of(self, volume: str, slice: int) -> np.ndarray:
        """The mask of a slice, bool (H, W). Its variant follows from seed, volume and slice: not from R or pattern."""
        return self.samples[key(self.settings.seed, f"mask variant/{volume}", slice) % len(self.samples)]


def make_exact_mask(settings: ExactMaskSettings, size: tuple[int, int]) -> ExactMask:
    """All variants of a pattern for a matrix `size` (H, W).

    Raises UserError where R does not divide the lines (equispaced) or samples, or leaves no room for the centre.
    """
    match settings.pattern:
        case "es-x":
            rows = _equispaced(settings, size[0], "rows")
            samples, acs = np.repeat(rows[:, None], size[1], axis=1)[None], (settings.acs, size[1])
        case "es-y":
            columns = _equispaced(settings, size[1], "columns")
            samples, acs = np.repeat(columns[None], size[0], axis=0)[None], (size[0], settings.acs)
        case _:
            count = _share(settings, size[0] * size[1], settings.acs**2, "samples")
            if settings.acs > min(size):
                raise UserError(f"{_name(settings)}: 'acs' {settings.acs} is larger than the matrix {size}; lower it.")
            order = _gaussian_order if settings.pattern == "gaussian" else _radial_order
            samples = np.zeros((settings.variants, size[0] * size[1]), dtype=bool)
            for variant, chosen in enumerate(samples):
                chosen[order(settings, size, variant)[:count]] = True
            samples, acs = samples.reshape(-1, *size), (settings.acs, settings.acs)
    return ExactMask(samples, acs, settings)


def _equispaced(settings: ExactMaskSettings, length: int, axis: str) -> np.ndarray:
    """Which of `length` lines are measured, bool: the grid of step R through zero frequency, and the central lines.

    Central lines off the grid are paid for by the grid's outermost lines, in pairs of opposite frequencies, so that
    the rest stays equispaced and symmetric about zero frequency. Where their number is odd, line 0, which has no
    opposite, goes as well. So 8 of 256 lines with 4 central ones are 64, 96, 126-129, 160 and 192.
    """
    r, acs, centre = settings.acceleration, settings.acs, length // 2
    count = _share(settings, length, acs, axis)
    lines = np.zeros(length, dtype=bool)
    lines[centre % r :: r] = True  # `count` lines, zero frequency among them
    middle = np.zeros(length, dtype=bool)
    middle[(length - acs + 1) // 2 :][:acs] = True
    surplus = int((middle & ~lines).sum())
    outer = np.flatnonzero(lines & ~middle)
    distance = np.abs(outer - centre)
    if surplus % 2 == 0:  # only pairs go, so the lowest frequency of an even `length`, which is in none, is the last
        distance[2 * distance == length] = 0
    lines[outer[np.argsort(-distance, kind="stable")][:surplus]] = False
    lines |= middle
    assert lines.sum() == count
    return lines


def _gaussian_order(settings: ExactMaskSettings, size: tuple[int, int], variant: int) -> np.ndarray:
    """All samples, as flat indices: the central square, then draws without replacement from the Gaussian density.

    Each draw takes one of the samples left, with a probability proportional to the density there; log density plus
    Gumbel noise, sorted, is that order (Efraimidis and Spirakis, Inf. Process. Lett. 97:181, 2006).
    """
    down, across = ((np.arange(n) - n // 2) / (n / 2 * settings.deviation) for n in size)
    log_density = -(down[:, None] ** 2 + across**2) / 2
    rank = log_density + generator(settings.seed, "gaussian mask", index=variant).gumbel(size=size)
    top, left = ((n - settings.acs + 1) // 2 for n in size)
    rank[top : top + settings.acs, left : left + settings.acs] = np.inf
    return np.argsort(-rank, axis=None, kind="stable")


def _radial_order(settings: ExactMaskSettings, size: tuple[int, int], variant: int) -> np.ndarray:
    """All samples, as flat indices: spoke after spoke, a golden angle apart from a random start, each in random order.

    A spoke is a diameter of the ellipse that fits the matrix, one sample thick. What no spoke meets, the corners in
    particular, comes last.
    """
    rng = generator(settings.seed, "radial mask", index=variant)
    spokes = 2 * max(size)  # a diameter each would need pi / 2 max(size) evenly spread ones to leave no gap
    angles = rng.uniform(0, np.pi) + _GOLDEN_ANGLE * np.arange(spokes)
    reach = np.stack([np.sin(angles) * (size[0] / 2), np.cos(angles) * (size[1] / 2)])  # (2, spokes), samples
    reach = reach[..., None]
    longest = np.abs(reach).max(0)
    steps = np.arange(-(max(size) // 2), max(size) // 2 + 1)  # along the axis on which the spoke is longer
    down, across = (np.rint(n // 2 + steps * part / longest).astype(int) for n, part in zip(size, reach, strict=True))
    inside = (np.abs(steps) <= longest) & (down >= 0) & (down < size[0]) & (across >= 0) & (across < size[1])
    number = np.broadcast_to(np.arange(spokes)[:, None], inside.shape)[inside]
    first = np.full(size[0] * size[1], spokes)
    np.minimum.at(first, (down * size[1] + across)[inside], number)
    first[size[0] // 2 * size[1] + size[1] // 2] = -1  # the centre is measured, however few samples there are
    return np.argsort(first + rng.random(len(first)), kind="stable")


def _share(settings: ExactMaskSettings, total: int, centre: int, what: str) -> int:
    """total / R, a whole number of at least the centre's."""
    count, rest = divmod(total, settings.acceleration)
    if rest or not count:
        raise UserError(
            f"{_name(settings)}: 'acceleration' {settings.acceleration} does not divide {total} {what}; "
            "take a matrix under 'data.size' that it divides."
        )
    if centre > count:
        raise UserError(
            f"{_name(settings)}: 'acs' {settings.acs} takes {centre} of the {count} {what} that 'acceleration' "
            f"{settings.acceleration} leaves; lower it."
        )
    return count


def _name(settings: ExactMaskSettings) -> str:
    return f"mask {settings.pattern!r}"


def write_exact_mask(path: Path | str, mask: ExactMask) -> None:
    """Write a mask artefact: `mask` bool (variants, H, W), the centre, both accelerations, what made it."""
    from rekon.hdf5 import create

    with create(path) as file:
        file.create_dataset("mask", data=mask.samples, compression="gzip", track_times=False)
        file.attrs["acs"] = mask.acs
        file.attrs["size"] = mask.size
        file.attrs["nominal_acceleration"] = mask.acceleration
        file.attrs["effective_acceleration"] = mask.effective_acceleration
        file.attrs["settings"] = json.dumps(mask.settings.model_dump(), sort_keys=True)


def read_exact_mask(path: Path | str) -> ExactMask:
    """Read a mask artefact; UserError names the file and the field when something is missing or does not fit."""
    import h5py

    again = "delete the file and make it again"
    if not Path(path).is_file():
        raise UserError(f"{path}: no such mask file; make it with the rule make_mask.")
    try:
        with h5py.File(path, "r") as file:
            if "mask" not in file:
                raise UserError(f"{path}: dataset 'mask' is missing; {again}.")
            samples, acs, text = np.asarray(file["mask"]), file.attrs.get("acs"), file.attrs.get("settings")
    except OSError:
        raise UserError(f"{path}: not a readable HDF5 file (truncated?); {again}.") from None
    for name, value in (("acs", acs), ("settings", text)):
        if value is None:
            raise UserError(f"{path}: attribute {name!r} is missing; {again}.")
    try:
        parsed = json.loads(text)
    except json.JSONDecodeError:
        raise UserError(f"{path}: attribute 'settings' is not JSON; {again}.") from None
    settings = check(ExactMaskSettings, parsed, f"{path}, attribute 'settings'")
    if samples.ndim != 3 or samples.dtype != bool or len(samples) != settings.variants:
        raise UserError(
            f"{path}: dataset 'mask' must be bool with {settings.variants} variants on its first of three axes, got "
            f"{samples.dtype} of shape {samples.shape}; {again}."
        )
    if (samples.sum((1, 2)) * settings.acceleration != samples[0].size).any():
        raise UserError(f"{path}: dataset 'mask' does not hold one in {settings.acceleration} of its samples; {again}.")
    return ExactMask(samples, (int(acs[0]), int(acs[1])), settings)
