"""A reconstructor on a data set: a row per sampling and slice, and the pictures of one slice per sampling."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from rekon.config import EvaluationSettings, ExactMaskSettings, MaskSettings
from rekon.config.backbones import PERCEPTUAL
from rekon.errors import UserError
from rekon.evaluation.likeness import Perceptual
from rekon.evaluation.metrics import Score, score
from rekon.evaluation.panel import Panel, panel_key
from rekon.evaluation.reconstructor import Reconstructor, Scan

if TYPE_CHECKING:
    import pandas as pd
    import torch

COLUMNS = [
    "dataset", "volume", "subject", "slice", "contrast", "pattern", "acceleration", "effective_acceleration", "coils",
    "psnr", "ssim", "nmse", "nrmse", *PERCEPTUAL, "milliseconds", "reason", "perceptual_reason", "note",
]  # fmt: skip
AS_ACQUIRED = "as acquired"
NO_REFERENCE = "no reference: prospectively undersampled"
EMPTY = "empty slice: the reference is zero"


class Example(Protocol):
    """One slice, fitted to the networks' matrix and normalised."""

    @property
    def volume(self) -> str: ...
    @property
    def subject(self) -> str: ...
    @property
    def contrast(self) -> str: ...
    @property
    def slice(self) -> int: ...
    @property
    def kspace(self) -> torch.Tensor:
        """complex64 (coil, H, W), full (or, without a reference, as measured)"""

    @property
    def target(self) -> torch.Tensor | None:
        """float32 (H, W)"""

    @property
    def data_range(self) -> float:
        """Maximum of the target's volume, in the target's unit."""

    @property
    def crop_box(self) -> tuple[int, int, int, int]:
        """Top, bottom, left, right of the acquired matrix within (H, W)."""

    @property
    def mask(self) -> torch.Tensor | None:
        """bool (W,) or (H, W): the samples of a prospectively undersampled slice; else None"""


class Item(Protocol):
    """What is known of a slice before it is read."""

    @property
    def volume(self) -> str: ...


class Slices(Protocol):
    """A data set: its slices by number."""

    @property
    def items(self) -> Sequence[Item]: ...
    def __len__(self) -> int: ...
    def item(self, index: int, /) -> Example: ...


class Sampling(NamedTuple):
    """How slices are undersampled: what made the masks, and the mask of a slice, bool (W,) or (H, W)."""

    settings: MaskSettings | ExactMaskSettings
    mask: Callable[[Example], np.ndarray]


class Evaluation(NamedTuple):
    """Rows (columns COLUMNS; sampling by sampling, each in the data set's order) and one slice's pictures.

    panels: by `panel_key` of the sampling, in the samplings' order.
    """

    rows: pd.DataFrame
    panels: dict[str, Panel]


def evaluate(
    reconstructor: Reconstructor,
    slices: Slices,
    samplings: Sequence[Sampling],
    settings: EvaluationSettings,
    *,
    dataset: str,
    device: str | torch.device = "cpu",
    maps: Callable[[Example], torch.Tensor] | None = None,
    backbones: Mapping[str, Path] | None = None,
    panel_index: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Undersample, reconstruct and score every slice, with every sampling.

    A mask multiplies the full k-space. Examples with a mask of their own, prospectively undersampled, keep it: they
    are reconstructed once, whatever the samplings, and get no metrics, but the reason why. maps: gives an example's
    coil sensitivity maps, complex64 (coil, H, W), to a reconstructor that needs them. backbones: files of pretrained
    networks by their names in config/backbones.yaml, for the metrics in `settings.perceptual`; a metric whose files
    are not among them stays empty, with the reason. panel_index: the slice to picture, by default the middle one of
    the first volume, hence the same for every run. progress: called with slices done, over all samplings, and how
    many there are.

    `milliseconds` is the wall time of one slice, all coils, without loading and masking: of a call, divided by the
    slices it was given. The device is waited for, and a call that is not counted goes before the first slice of every
    shape, so that compilation and allocation do not count.

    The same pixels are scored whatever the reconstructor: `settings.crop` "raw" takes each example's `crop_box`;
    `settings.data_range` names full scale.
    Raises UserError for an empty data set or a mask that does not fit.
    """
    import pandas as pd
    import torch
    from torch.nn.utils.rnn import pad_sequence

    if not len(slices):
        raise UserError(f"data set {dataset!r} has no slices to evaluate; check its 'test' volumes in the scale file.")
    if reconstructor.needs_maps and maps is None:
        raise UserError(f"{reconstructor.name} needs coil sensitivity maps of {dataset!r}; run 'calibrate' first.")
    shown = middle_of_first_volume(slices) if panel_index is None else panel_index
    assert samplings and 0 <= shown < len(slices), (len(samplings), shown, len(slices))
    warm: set[tuple[int, ...]] = set()
    perceptual = Perceptual(settings.perceptual, backbones or {}, device)
    rows: list[dict[str, object]] = []
    panels: dict[str, Panel] = {}
    mapped = maps if reconstructor.needs_maps else None
    for group in _batches(_undersampled(slices, samplings, dataset), reconstructor.batch, mapped is not None):
        measured = pad_sequence([turn.example.kspace * turn.sampled for turn in group], batch_first=True).to(device)
        given = pad_sequence([mapped(turn.example) for turn in group], batch_first=True).to(device) if mapped else None
        arguments = (measured, group[0].sampled.to(device), given, [turn.scan for turn in group])
        with torch.inference_mode():
            if reconstructor.warms_up and tuple(measured.shape) not in warm:
                reconstructor.many(*arguments)
                warm.add(tuple(measured.shape))
            images, milliseconds = _timed(reconstructor, arguments)
        for place, (done, number, example, scan, sampled) in enumerate(group):
            box = crop_box(example, settings.crop)
            picture = images[place].float().cpu().numpy()[box]
            target = None if example.target is None or example.mask is not None else example.target.cpu().numpy()[box]
            quality, full_scale = _quality(target, picture, example.data_range, settings.data_range)
            # without a reference, or with an empty one, the row's `reason` speaks for these columns too
            likeness, why_not = ({}, "") if target is None or not quality else perceptual(target, picture, full_scale)
            rows.append(
                {
                    **scan._asdict(),
                    # not None: one type in the column, whether or not a set has slices as acquired
                    "acceleration": float("nan") if scan.acceleration is None else scan.acceleration,
                    "effective_acceleration": sampled.numel() / int(sampled.sum()),
                    "coils": int(example.kspace.shape[0]),
                    **(quality._asdict() if quality else dict.fromkeys(Score._fields)),
                    **{metric: likeness.get(metric) for metric in PERCEPTUAL},
                    "milliseconds": milliseconds / len(group),
                    "reason": "" if quality else NO_REFERENCE if target is None else EMPTY,
                    "perceptual_reason": why_not,
                    "note": reconstructor.note,
                }
            )
            if number == shown:
                zero_filled = _zero_filled(measured[place]).cpu().numpy()[box]
                panels[panel_key(scan.pattern, scan.acceleration)] = Panel(
                    example.volume, example.slice, picture, zero_filled, full_scale, target, quality
                )
            if progress:
                progress(done, len(samplings) * len(slices))
    return Evaluation(pd.DataFrame(rows, columns=COLUMNS), panels)


class _Turn(NamedTuple):
    """One slice under one sampling."""

    done: int  # how many are done with this one
    number: int  # of the slice
    example: Example
    scan: Scan
    sampled: torch.Tensor  # mask


def _undersampled(slices: Slices, samplings: Sequence[Sampling], dataset: str) -> Iterator[_Turn]:
    """Sampling by sampling. Slices with a mask of their own come once: with the first sampling."""
    import torch

    as_acquired: set[int] = set()
    for turn, (settings, mask) in enumerate(samplings):
        for index in range(len(slices)):
            if index in as_acquired:
                continue
            example = slices.item(index)
            pattern: str
            if example.mask is None:
                sampled = torch.as_tensor(mask(example), dtype=torch.bool)
                pattern, acceleration = settings.pattern, settings.acceleration
            else:
                as_acquired.add(index)
                sampled, pattern, acceleration = example.mask, AS_ACQUIRED, None
            _check_mask(sampled, example.kspace, dataset)
            scan = Scan.of(dataset, example, pattern, acceleration)
            yield _Turn(turn * len(slices) + index + 1, index, example, scan, sampled)


def _batches(turns: Iterator[_Turn], size: int, any_coils: bool) -> Iterator[list[_Turn]]:
    """Neighbours with the same sampling, mask and shape, at most `size` of them; any_coils: however many coils each."""
    group: list[_Turn] = []
    for turn in turns:
        if group and (len(group) == size or not _alike(group[0], turn, any_coils)):
            yield group
            group = []
        group.append(turn)
    if group:
        yield group


def _alike(one: _Turn, other: _Turn, any_coils: bool) -> bool:
    same = (one.scan.pattern, one.scan.acceleration) == (other.scan.pattern, other.scan.acceleration)
    shapes = [turn.example.kspace.shape[1 if any_coils else 0 :] for turn in (one, other)]
    same = same and shapes[0] == shapes[1] and one.sampled.shape == other.sampled.shape
    return same and bool((one.sampled == other.sampled).all())


def middle_of_first_volume(slices: Slices) -> int:
    """Number of the middle slice of the first volume: anatomy at its largest, and the same choice for every run."""
    first = slices.items[0].volume
    count = sum(item.volume == first for item in slices.items)
    return count // 2


def crop_box(example: Example, crop: str) -> tuple[slice, slice]:
    """Rows and columns of (H, W) that are scored; see `evaluate`."""
    if crop == "none":
        return slice(None), slice(None)
    top, bottom, left, right = example.crop_box
    return slice(top, bottom), slice(left, right)


def _quality(
    target: np.ndarray | None, picture: np.ndarray, volume_max: float, data_range: str
) -> tuple[Score | None, float]:
    """Metrics (None without a reference) and the full scale they and the pictures use."""
    if target is None:
        return None, float(picture.max())
    full_scale = volume_max if data_range == "volume" else float(target.max())
    if full_scale <= 0:
        return None, 0.0
    return score(target, picture, full_scale), full_scale


def _timed(reconstructor: Reconstructor, arguments: tuple) -> tuple[torch.Tensor, float]:
    """The images (B, H, W) and the wall time of making them, ms."""
    _wait(arguments[0])
    start = time.perf_counter()
    images = reconstructor.many(*arguments)
    _wait(arguments[0])
    return images, 1e3 * (time.perf_counter() - start)


def _wait(tensor: torch.Tensor) -> None:
    """Kernels of a GPU run on after the call returns."""
    if tensor.is_cuda:
        import torch

        torch.cuda.synchronize(tensor.device)


def _zero_filled(measured: torch.Tensor) -> torch.Tensor:
    """RSS of the inverse FFT of what was measured (H, W)."""
    from rekon.physics.coils import rss
    from rekon.physics.fft import ifft2c

    return rss(ifft2c(measured), 0)


def _check_mask(mask: torch.Tensor, kspace: torch.Tensor, dataset: str) -> None:
    if tuple(mask.shape) not in (tuple(kspace.shape[-1:]), tuple(kspace.shape[-2:])):
        raise UserError(
            f"the mask has shape {tuple(mask.shape)} but slices of {dataset!r} are {tuple(kspace.shape[-2:])}; "
            "make the mask for the matrix under 'data.size'."
        )
    if not bool(mask.any()):
        raise UserError(f"the mask for {dataset!r} samples nothing; check its file.")
