"""The data's weight zeta for each acceleration, found on validation slices: the paper says that it grows with R."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from rekon.config.dpm import SamplerSettings
from rekon.data.images import ImageSet
from rekon.data.slices import Example, SliceSet
from rekon.dpm.reconstructor import PosteriorSampler
from rekon.errors import UserError
from rekon.evaluation.metrics import nmse
from rekon.evaluation.reconstructor import Scan
from rekon.files import read_json, write_json
from rekon.physics.operator import SenseOperator

FORMAT = "rekon-zeta-1"


class Row(NamedTuple):
    """One weight at one acceleration: mean NRMSE over slices, ||x - reference|| / ||reference|| of magnitudes."""

    acceleration: int
    zeta: float
    nrmse: float
    slices: int


class Sweep(NamedTuple):
    """Every weight tried, and the settings it was tried with (all but zeta count)."""

    rows: list[Row]
    settings: SamplerSettings
    run: str
    dataset: str
    subjects: tuple[str, ...] = ()  # whose slices were tried

    @property
    def best(self) -> dict[int, float]:
        """Acceleration -> the weight of the smallest NRMSE; of equal ones the smallest."""
        chosen = sorted(self.rows, key=lambda row: (row.nrmse, row.zeta))
        return {row.acceleration: row.zeta for row in reversed(chosen)}


def sweep(
    sampler: PosteriorSampler,
    slices: SliceSet | ImageSet,
    masks: Mapping[int, Callable[[Example], np.ndarray]],
    zetas: Sequence[float],
    indices: Sequence[int],
    progress: Callable[[int, int], None] | None = None,
) -> Sweep:
    """Try every weight at every acceleration on the same slices with the same noise.

    slices: a validation set with maps; masks: nominal R -> mask of a slice, bool (W,) or (H, W); indices: the slices
    that are tried. Weights and slices with the same mask are drawn together, as many as the sampler takes at a time.
    """
    if not indices:
        raise UserError(f"{slices.path}: no slices to tune zeta on; raise the number of its volumes.")
    assert masks and zetas
    rows: list[Row] = []
    total = len(masks) * len(zetas) * len(indices)
    for acceleration, mask in sorted(masks.items()):
        errors: dict[float, list[float]] = {zeta: [] for zeta in zetas}
        for sampled, alike in _alike(slices, indices, mask):
            trials = [(zeta, example) for zeta in zetas for example in alike]
            for first in range(0, len(trials), sampler.batch):
                batch = trials[first : first + sampler.batch]
                kspace = pad_sequence([example.kspace * sampled.cpu() for _, example in batch], batch_first=True)
                maps = pad_sequence([slices.maps(example) for _, example in batch], batch_first=True)
                scans = [scan_of(example, acceleration) for _, example in batch]
                weights = [zeta for zeta, _ in batch]
                kspace, sampled, maps = (value.to(sampler.device) for value in (kspace, sampled, maps))
                images = sampler.draw(kspace, sampled, maps, scans, zetas=weights).abs().mean(1).cpu()
                for (zeta, example), image in zip(batch, images.numpy(), strict=True):
                    errors[zeta].append(_nrmse(example, image))
                if progress:
                    progress(len(rows) * len(indices) + sum(map(len, errors.values())), total)
        rows += [Row(acceleration, zeta, float(np.mean(errors[zeta])), len(indices)) for zeta in zetas]
    subjects = sorted({slices.item(index).subject for index in indices})
    return Sweep(rows, sampler.settings, sampler.name, slices.dataset, tuple(subjects))


def measured_scale(
    slices: SliceSet | ImageSet, masks: Iterable[Callable[[Example], np.ndarray]], indices: Sequence[int]
) -> float:
    """The factor `sampler.scale`: by how much the combined image's maximum exceeds that of its zero-filled version.

    Median over masks and slices that are no test data: what `scaling: measured` needs to bring images to a maximum of
    about 1.
    """
    ratios = []
    for mask in masks:
        for index in indices:
            example = slices.item(index)
            maps, sampled = slices.maps(example), torch.as_tensor(mask(example), dtype=torch.bool)
            full = SenseOperator(maps, torch.ones_like(sampled)).adjoint(example.kspace).abs().max()
            zero_filled = SenseOperator(maps, sampled).adjoint(example.kspace).abs().max()
            if zero_filled > 0:
                ratios.append(float(full / zero_filled))
    return float(np.median(ratios)) if ratios else 1.0


def write_sweep(path: Path | str, found: Sweep, inputs: Mapping[str, str] | None = None) -> None:
    """Write JSON, atomically. inputs: SHA-256 of the files behind it, by name."""
    best = {str(acceleration): zeta for acceleration, zeta in found.best.items()}
    settings = found.settings.model_dump(mode="json", exclude={"zeta"})
    rows = [row._asdict() for row in found.rows]
    made = {"format": FORMAT, "run": found.run, "dataset": found.dataset, "settings": settings}
    made |= {"subjects": list(found.subjects), "inputs": dict(inputs or {})}
    write_json(path, made | {"rows": rows, "best": best})


class Tuned(NamedTuple):
    """What a sweep found."""

    zeta: dict[int, float]  # by acceleration
    scale: float | None  # of the sampler's settings


def read_tuned(path: Path | str) -> Tuned:
    """What `write_sweep` left; UserError when the file is something else."""
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT or not content.get("best"):
        raise UserError(f"{path}: holds no sweep of zeta; delete it and tune again.")
    best = {int(acceleration): float(zeta) for acceleration, zeta in content["best"].items()}
    return Tuned(best, content["settings"]["scale"])


def read_rows(path: Path | str) -> list[Row]:
    """Every weight tried, for the report's figure."""
    read_tuned(path)
    return [Row(**row) for row in read_json(path)["rows"]]


def scan_of(example: Example, acceleration: int | None, pattern: str = "") -> Scan:
    """What is known of an example when it is reconstructed."""
    return Scan.of(example.dataset, example, pattern, acceleration)


def _alike(
    slices: SliceSet | ImageSet, indices: Sequence[int], mask: Callable[[Example], np.ndarray]
) -> list[tuple[torch.Tensor, list[Example]]]:
    """Masks, bool (W,) or (H, W), and the examples that share them."""
    groups: dict[bytes, tuple[torch.Tensor, list[Example]]] = {}
    for index in indices:
        example = slices.item(index)
        sampled = np.asarray(mask(example), dtype=bool)
        groups.setdefault(sampled.tobytes(), (torch.from_numpy(sampled), []))[1].append(example)
    return list(groups.values())


def _nrmse(example: Example, image: np.ndarray) -> float:
    assert example.target is not None, "sets without a reference cannot tune anything"
    return float(np.sqrt(nmse(example.target.numpy(), image)))
