"""Slices of a split, normalised and fitted to the networks' matrix: what training and evaluation read."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from rekon.data.calibrate import read_maps
from rekon.data.fitting import Fit, Plan, fit_image, fit_kspace, fit_maps, plan
from rekon.data.volume import Volume
from rekon.errors import UserError
from rekon.files import read_json
from rekon.physics.coils import coil_combine, rss
from rekon.physics.fft import ifft2c
from rekon.physics.masks import Mask
from rekon.randomness import generator

_KEYS = ("dataset", "volumes", "mean_max", "normalisation", "fit", "reference", "hash")
_BLACK = 1e-5  # of the target's maximum: what a zero border is after a transform in single precision
_OPEN = 32  # volumes kept open


class Item(NamedTuple):
    """A slice by name."""

    volume: str
    slice: int


@dataclass(frozen=True)
class Example:
    """One slice, ready for a network. The tensors may be shared with a cache: read them, do not write into them."""

    kspace: torch.Tensor  # complex64 (coil, H, W), fully sampled; as measured if `mask` is set
    # float32 (H, W): RSS of kspace, or the volume's own target (mean over repetitions); None without a reference
    target: torch.Tensor | None
    mask: torch.Tensor | None  # bool (W,) or (H, W): samples of a prospectively undersampled slice
    data_range: float  # maximum of the volume's RSS, in the target's unit
    scale: float  # what k-space was divided by
    raw_shape: tuple[int, int]  # matrix of the volume
    crop_box: tuple[int, int, int, int]  # top, bottom, left, right: raw image without mirrored or black border
    dataset: str
    volume: str
    subject: str
    contrast: str
    slice: int


class SliceSet:
    """The slices of a manifest. Knows no randomness of its own; workers and restarts change nothing.

    manifest: JSON of `summarise`; size: networks' matrix (H, W). mask, if given, is only checked against `size`:
    examples carry full k-space, and whoever trains or scores undersamples it. maps: folder of ESPIRiT maps
    (`calibrate`). combined: the target is the magnitude of the coil-combined image, which needs maps, and not the RSS.
    contrasts: only volumes of these. cache_mb: fitted k-space kept in memory.
    """

    def __init__(
        self,
        manifest: Path | str,
        size: tuple[int, int],
        mask: Mask | None = None,
        *,
        maps: Path | str | None = None,
        combined: bool = False,
        contrasts: Collection[str] | None = None,
        cache_mb: int = 512,
    ):
        self.path = Path(manifest)
        self.size = size
        content = read_manifest(self.path)
        self.dataset: str = content["dataset"]
        self.reference: bool = content["reference"]
        self.hash: str = content["hash"]
        chosen = [v for v in content["volumes"] if contrasts is None or v["contrast"] in contrasts]
        self.volumes: dict[str, dict[str, Any]] = {volume["volume"]: volume for volume in chosen}
        self.items = [Item(name, i) for name, volume in self.volumes.items() for i in range(volume["shape"][0])]
        if mask is not None and mask.width != size[1]:
            raise UserError(
                f"{self.path}: the mask has {mask.width} phase encodings, the networks' matrix {size[1]}; "
                "make the mask for the size under 'data.size'."
            )
        self.mask = mask
        self.maps_folder, self.combined = None if maps is None else Path(maps), combined
        assert not combined or maps is not None, "combining coils needs their maps"
        self._fit: Fit = content["fit"] if self.reference else "k-space"
        self._normalisation, self._mean_max = content["normalisation"], content["mean_max"]
        self._open: OrderedDict[str, Volume] = OrderedDict()
        self._process = os.getpid()
        self._cache: dict[int, np.ndarray] = {}
        self._room = cache_mb * 2**20
        self._ranges: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self.items)

    def __getstate__(self) -> dict[str, Any]:
        # a worker process opens its own files and fills its own cache
        return self.__dict__ | {"_open": OrderedDict(), "_cache": {}}

    def item(self, index: int) -> Example:
        """Slice `index` with all its coils."""
        return self._example(index, self._fitted(index), self._averaged(index))

    def training(self, index: int, seed: int, step: int, position: int, max_coils: int | None = None) -> Example:
        """Slice `index` with at most `max_coils` coils, drawn by (seed, step, position in the batch).

        The target is the RSS of the coils drawn, so that input and target agree, also where scans were repeated.
        """
        kspace = self._fitted(index)
        if max_coils is not None and len(kspace) > max_coils:
            drawn = generator(seed, "coils", step, position).choice(len(kspace), max_coils, replace=False)
            kspace = kspace[np.sort(drawn)]
        return self._example(index, kspace)

    def maps(self, example: Example) -> torch.Tensor:
        """ESPIRiT maps of an example, fitted like its k-space: complex64 (coil, H, W)."""
        return self._maps(example.volume, example.slice)

    def _maps(self, name: str, number: int) -> torch.Tensor:
        assert self.maps_folder is not None, "SliceSet was made without a folder of maps"
        path = self.maps_folder / f"{name}.h5"
        maps, _ = read_maps(path, number)
        volume = self._volume(name)
        if maps.shape != volume.shape[1:]:
            raise UserError(
                f"{path}: dataset 'maps' has slices of shape {maps.shape}, {volume.path} of {volume.shape[1:]}; "
                "delete the maps and calibrate again."
            )
        return torch.from_numpy(fit_maps(maps, self._plan(volume)))

    def scale(self, volume: str) -> float:
        """What k-space of a volume is divided by (UEPS: the mean over the set's volumes of max RSS)."""
        if self._normalisation == "mean_max":
            return float(self._mean_max)
        return float(self.volumes[volume]["max"] if self._normalisation == "volume_max" else self._normalisation)

    def prefetch(
        self, requests: Iterable[tuple[int, int, int, int]], max_coils: int | None = None, workers: int = 0
    ) -> Iterator[Example]:
        """`training` for each request (index, seed, step, position), in order; read ahead by `workers` processes."""
        requests = list(requests)
        if workers == 0:
            return (self.training(*request, max_coils) for request in requests)
        loader = torch.utils.data.DataLoader(_Requests(self, requests, max_coils), batch_size=None, num_workers=workers)
        return iter(loader)

    def _averaged(self, index: int) -> np.ndarray | None:
        """The target that a volume brings because it is no RSS of its k-space: float32 (H, W), fitted."""
        name, number = self.items[index]
        volume = self._volume(name)
        if self.combined or not self.reference or volume.attrs.get("target") != "multi-rep":
            return None
        return fit_image(volume.target(number), self._plan(volume)) / np.float32(self.scale(name))

    def _example(self, index: int, kspace: np.ndarray, averaged: np.ndarray | None = None) -> Example:
        name, number = self.items[index]
        entry = self.volumes[name]
        fitting = self._plan(self._volume(name))
        tensor = torch.from_numpy(kspace)
        box, target, mask = fitting.box, None, None
        if self.reference:
            target = self._target(tensor, name, number) if averaged is None else torch.from_numpy(averaged)
            box = _without_black(target.numpy(), box)
        else:
            mask = torch.from_numpy(sampled(kspace))
        return Example(
            tensor, target, mask, self._data_range(name, fitting), self.scale(name), fitting.raw, box,
            self.dataset, name, entry["subject"], entry["contrast"], number,
        )  # fmt: skip

    def _target(self, kspace: torch.Tensor, name: str, number: int) -> torch.Tensor:
        images = ifft2c(kspace)
        return coil_combine(images, self._maps(name, number), 0).abs() if self.combined else rss(images, 0)

    def _fitted(self, index: int) -> np.ndarray:
        """Normalised k-space of a slice on the networks' matrix, from memory if it is there."""
        if index in self._cache:
            return self._cache[index]
        name, number = self.items[index]
        volume = self._volume(name)
        kspace = fit_kspace(volume.kspace(number), self._plan(volume)) / np.float32(self.scale(name))
        if kspace.nbytes <= self._room:
            self._room -= kspace.nbytes
            self._cache[index] = kspace
        return kspace

    def _data_range(self, name: str, fitting: Plan) -> float:
        """Maximum of the volume's RSS after scaling; of the downsampled RSS where that is the target."""
        if not self.reference or fitting.sampled == fitting.raw:
            return float(self.volumes[name]["max"]) / self.scale(name)
        if name not in self._ranges:
            top, bottom, left, right = fitting.box
            indices = [index for index, item in enumerate(self.items) if item.volume == name]
            found = ((self._averaged(index), index) for index in indices)
            images = (rss(ifft2c(self._fitted(index)), 0) if own is None else own for own, index in found)
            self._ranges[name] = max(float(image[top:bottom, left:right].max()) for image in images)
        return self._ranges[name]

    def _plan(self, volume: Volume) -> Plan:
        rows, columns = volume.shape[2:]
        return plan((rows, columns), self.size, self._fit, volume.header.encoded_fov)

    def _volume(self, name: str) -> Volume:
        if self._process != os.getpid():  # HDF5 handles must not cross a fork
            self._open, self._process = OrderedDict(), os.getpid()
        if name not in self._open:
            self._open[name] = open_volume(self.volumes[name], self.path)
            if len(self._open) > _OPEN:
                self._open.popitem(last=False)[1].close()
        self._open.move_to_end(name)
        return self._open[name]


class _Requests(torch.utils.data.Dataset):
    """Requests as a map-style data set, which is what DataLoader workers take."""

    def __init__(self, slices: SliceSet, requests: list[tuple[int, int, int, int]], max_coils: int | None):
        self.slices, self.requests, self.max_coils = slices, requests, max_coils

    def __len__(self) -> int:
        return len(self.requests)

    def __getitem__(self, number: int) -> Example:
        return self.slices.training(*self.requests[number], self.max_coils)


def open_volume(entry: dict[str, Any], manifest: Path) -> Volume:
    """The volume that an entry of a manifest lists; UserError when the file is another one."""
    volume = Volume(entry["path"])
    if list(volume.shape) != entry["shape"] or volume.max != entry["max"]:
        volume.close()
        raise UserError(f"{entry['path']}: not the volume that {manifest} lists; run the rule summarise again.")
    return volume


def sampled(kspace: np.ndarray) -> np.ndarray:
    """The sampling pattern of undersampled k-space (coil, H, W): bool (W,) if whole columns, else (H, W)."""
    pattern = np.any(kspace != 0, axis=0)
    columns = pattern.any(0)
    return columns if np.array_equal(pattern, np.broadcast_to(columns, pattern.shape)) else pattern


def _without_black(image: np.ndarray, box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Shrink a box to the rows and columns of the image that are not black throughout (UEPS's evaluation)."""
    top, bottom, left, right = box
    inner = image[top:bottom, left:right]
    bright = inner > _BLACK * inner.max()
    rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
    if not len(rows):
        return box
    return top + int(rows[0]), top + int(rows[-1]) + 1, left + int(columns[0]), left + int(columns[-1]) + 1


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a split (`rekon.data.summarise`); UserError when a key is missing."""
    content = read_json(path)
    for name in _KEYS:
        if not isinstance(content, dict) or name not in content:
            raise UserError(f"{path}: key {name!r} is missing; run the rule summarise again.")
    return content
