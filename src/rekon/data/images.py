"""Coil-combined images of a split, and the coil sensitivities that turn them into k-space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from rekon.data.calibrate import read_maps
from rekon.data.fitting import Plan, fit_kspace, fit_maps, plan
from rekon.data.slices import Example, Item, open_volume, read_manifest
from rekon.errors import UserError
from rekon.physics.coils import expand
from rekon.physics.fft import fft2c, ifft2c

_NO_MAP = 0.5  # root sum of squares of the maps below which a pixel has none; it is 1 or 0, but for interpolation


class ImageSet:
    """The slices of a manifest as coil-combined images x and sensitivities S; `SliceSet` reads the k-space itself.

    Measurements are synthesised from them, M F S x, so what they are undersampled from is known exactly (NAS, Sec. 5,
    after its predecessors). manifest: JSON of `summarise`; size: networks' matrix (H, W); maps: folder of coil maps
    and combined images (`calibrate`); cache_mb: fitted slices kept in memory. No file stays open, so workers may fork
    at any time. Raises UserError for a set without a reference: there is nothing to train on and nothing to score.
    """

    def __init__(self, manifest: Path | str, size: tuple[int, int], maps: Path | str, *, cache_mb: int = 512):
        self.path = Path(manifest)
        self.size = size
        content = read_manifest(self.path)
        self.dataset: str = content["dataset"]
        self.reference: bool = content["reference"]
        if not self.reference:
            raise UserError(
                f"{self.path}: {self.dataset!r} was undersampled when it was acquired, so it has no fully sampled "
                "images to train on or to score; take another set."
            )
        self.hash: str = content["hash"]
        self.volumes: dict[str, dict[str, Any]] = {volume["volume"]: volume for volume in content["volumes"]}
        self.items = [Item(name, i) for name, volume in self.volumes.items() for i in range(volume["shape"][0])]
        self._number = {item: index for index, item in enumerate(self.items)}
        self.maps_folder = Path(maps)
        self._fit = content["fit"]
        self._plans: dict[str, Plan] = {}
        self._cache: dict[int, tuple[np.ndarray, np.ndarray, float]] = {}
        self._room = cache_mb * 2**20
        self._largest: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self.items)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_cache": {}}

    def image(self, index: int) -> torch.Tensor:
        """x of a slice: complex64 (H, W), divided by its largest magnitude; zero where the coils have no map."""
        return torch.from_numpy(self._fitted(index)[0])

    def sensitivities(self, index: int) -> torch.Tensor:
        """S of a slice: complex64 (coil, H, W), the sum over coils of |S|^2 is 1, or 0 outside the object."""
        return torch.from_numpy(self._fitted(index)[1])

    def item(self, index: int) -> Example:
        """A slice to score: k-space F S x of all coils, its target |x|, what x was divided by."""
        image, maps, scale = self._fitted(index)
        name, number = self.items[index]
        fitting, entry = self._plan(name), self.volumes[name]
        x = torch.from_numpy(image)
        data_range = self._volume_max(name) / scale if scale else 0.0
        return Example(
            fft2c(expand(x, torch.from_numpy(maps))), x.abs(), None, data_range, scale, fitting.raw, fitting.box,
            self.dataset, name, entry["subject"], entry["contrast"], number,
        )  # fmt: skip

    def maps(self, example: Example) -> torch.Tensor:
        """The sensitivities of an example's slice."""
        return self.sensitivities(self._number[Item(example.volume, example.slice)])

    def _fitted(self, index: int) -> tuple[np.ndarray, np.ndarray, float]:
        """Image, sensitivities and the image's scale, on the networks' matrix; from memory if they are there."""
        if index in self._cache:
            return self._cache[index]
        name, number = self.items[index]
        fitting, shape = self._plan(name), self.volumes[name]["shape"]
        path = self.maps_folder / f"{name}.h5"
        maps, image = read_maps(path, number)
        for field, found, wanted in (("maps", maps.shape, tuple(shape[1:])), ("mvue", image.shape, tuple(shape[2:]))):
            if found != wanted:
                raise UserError(
                    f"{path}: dataset {field!r} has slices of shape {found}, {self.volumes[name]['path']} asks for "
                    f"{wanted}; delete the file and calibrate again."
                )
        maps = _normalised(fit_maps(maps, fitting))
        image = ifft2c(fit_kspace(fft2c(image)[None], fitting))[0] * maps.any(0)
        scale = float(np.abs(image).max())
        image = np.ascontiguousarray(image / np.float32(scale or 1.0))
        value = (image, maps, scale)
        if image.nbytes + maps.nbytes <= self._room:
            self._room -= image.nbytes + maps.nbytes
            self._cache[index] = value
        return value

    def _volume_max(self, name: str) -> float:
        """Largest magnitude of a volume's combined images, in their own unit."""
        if name not in self._largest:
            indices = [index for index, item in enumerate(self.items) if item.volume == name]
            self._largest[name] = max(self._fitted(index)[2] for index in indices)
        return self._largest[name]

    def _plan(self, name: str) -> Plan:
        if name not in self._plans:
            volume = open_volume(self.volumes[name], self.path)
            rows, columns = volume.shape[2:]
            self._plans[name] = plan((rows, columns), self.size, self._fit, volume.header.encoded_fov)
            volume.close()
        return self._plans[name]


def _normalised(maps: np.ndarray) -> np.ndarray:
    """Maps (coil, H, W) scaled to a root sum of squares of exactly 1, or 0 where they have none."""
    power = np.sqrt((maps.real**2 + maps.imag**2).sum(0))
    return np.where(power > _NO_MAP, maps / np.maximum(power, _NO_MAP), 0).astype(np.complex64)
