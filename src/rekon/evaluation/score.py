"""A reconstructor on a data set: a row per slice, and the pictures of one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import pandas as pd

from rekon.config import EvaluationSettings, MaskSettings
from rekon.errors import UserError
from rekon.evaluation.metrics import Score, score
from rekon.evaluation.panel import Panel
from rekon.evaluation.reconstructor import Reconstructor

if TYPE_CHECKING:
    import torch

COLUMNS = [
    "dataset", "volume", "subject", "slice", "contrast", "pattern", "acceleration", "effective_acceleration", "coils",
    "psnr", "ssim", "nmse", "milliseconds", "reason",
]  # fmt: skip
NO_REFERENCE = "no reference: prospectively undersampled"


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


class Evaluation(NamedTuple):
    """Rows (columns COLUMNS, one per slice, in the data set's order) and the pictures of one slice."""

    rows: pd.DataFrame
    panel: Panel


def evaluate(
    reconstructor: Reconstructor,
    slices: Slices,
    mask: np.ndarray,
    settings: EvaluationSettings,
    *,
    dataset: str,
    mask_settings: MaskSettings,
    device: str | torch.device = "cpu",
    maps: Callable[[Example], torch.Tensor] | None = None,
    panel_index: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Undersample, reconstruct and score every slice.

    mask: bool (W,) or (H, W), True where sampled; it multiplies the full k-space (examples with a mask of their own,
    prospectively undersampled, keep theirs and get no metrics, but the reason why). maps: gives an example's coil
    sensitivity maps, complex64 (coil, H, W), to a reconstructor that needs them. panel_index: the slice to picture,
    by default the middle one of the first volume, hence the same for every run.

    `milliseconds` is the wall time of one call on one slice, all coils, without loading and masking; the device is
    waited for, and a call that is not counted goes before the first slice of every shape, so that compilation and
    allocation do not count.

    The same pixels are scored whatever the reconstructor: `settings.crop` "raw" takes each example's `crop_box`;
    `settings.data_range` names full scale.
    Raises UserError for an empty data set or a mask that does not fit.
    """
    import torch

    if not len(slices):
        raise UserError(f"data set {dataset!r} has no slices to evaluate; check its 'test' volumes in the scale file.")
    if reconstructor.needs_maps and maps is None:
        raise UserError(f"{reconstructor.name} needs coil sensitivity maps of {dataset!r}; run 'calibrate' first.")
    shown = middle_of_first_volume(slices) if panel_index is None else panel_index
    warm: set[tuple[int, ...]] = set()
    rows: list[dict[str, object]] = []
    panel: Panel | None = None
    for index in range(len(slices)):
        example = slices.item(index)
        sampled = torch.as_tensor(mask, dtype=torch.bool) if example.mask is None else example.mask
        _check_mask(sampled, example.kspace, dataset)
        measured = (example.kspace * sampled).to(device)
        arguments = (
            measured,
            sampled.to(device),
            maps(example).to(device) if reconstructor.needs_maps and maps else None,
        )
        with torch.inference_mode():
            if tuple(measured.shape) not in warm:
                reconstructor(*arguments)
                warm.add(tuple(measured.shape))
            image, milliseconds = _timed(reconstructor, arguments)
        box = crop_box(example, settings.crop)
        picture = image.float().cpu().numpy()[box]
        target = None if example.target is None or example.mask is not None else example.target.cpu().numpy()[box]
        quality, full_scale = _quality(target, picture, example.data_range, settings.data_range)
        rows.append(
            {
                "dataset": dataset,
                "volume": example.volume,
                "subject": example.subject,
                "slice": example.slice,
                "contrast": example.contrast,
                "pattern": mask_settings.pattern if example.mask is None else "as acquired",
                "acceleration": mask_settings.acceleration if example.mask is None else None,
                "effective_acceleration": sampled.numel() / int(sampled.sum()),
                "coils": int(example.kspace.shape[0]),
                **(quality._asdict() if quality else dict.fromkeys(Score._fields)),
                "milliseconds": milliseconds,
                "reason": "" if quality else NO_REFERENCE if target is None else "empty slice: the reference is zero",
            }
        )
        if index == shown:
            zero_filled = _zero_filled(measured).cpu().numpy()[box]
            panel = Panel(example.volume, example.slice, picture, zero_filled, full_scale, target, quality)
        if progress:
            progress(index + 1, len(slices))
    assert panel is not None, f"panel_index {shown} outside 0..{len(slices) - 1}"
    return Evaluation(pd.DataFrame(rows, columns=COLUMNS), panel)


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
    """The image (H, W) and the wall time of making it, ms."""
    _wait(arguments[0])
    start = time.perf_counter()
    image = reconstructor(*arguments)
    _wait(arguments[0])
    return image, 1e3 * (time.perf_counter() - start)


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
