"""Where the sets of a scale stand: volumes, coil maps, manifests; masks and pretrained networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from rekon.config.datasets import Split
from rekon.plan import Plan
from rekon.reporting.status_jobs import Job, Look, merged


@dataclass(frozen=True)
class SplitStatus:
    """A split of a set. `maps` is None where no run reads coil maps of it."""

    dataset: str
    split: Split
    volumes: Look  # total 0: how many there will be is not known before the files are there
    maps: Look | None
    manifest: Look  # the list that training and scoring read


class Data:
    """Looks at each split once."""

    def __init__(self, plan: Plan, root: Path, look: Callable[[Job], Look]) -> None:
        """look: tells the state of a job."""
        self.plan, self.root, self.look, self.scale = plan, root, look, plan.scale.scale

    @cached_property
    def splits(self) -> list[SplitStatus]:
        """Every split of every set of the scale."""
        mapped = set(self.plan.mapped)
        return [
            self._split(dataset, split, (dataset, split) in mapped)
            for dataset in self.plan.scale.datasets
            for split in self.plan.splits(dataset)
        ]

    @cached_property
    def masks(self) -> Look:
        """The mask artefacts."""
        return merged([self.look(Job((path,), _mask_log(path))) for path in self.plan.masks])

    @cached_property
    def backbones(self) -> Look:
        """Pretrained networks of others."""
        names = self.plan.scale.backbones
        return merged([self.look(Job((_backbone(name),), f"logs/fetch_backbone/{name}.log")) for name in names])

    def has_backbone(self, name: str) -> bool:
        return (self.root / _backbone(name)).exists()

    def waits(self, dataset: str, split: Split, maps: bool) -> list[str]:
        """What is missing of a split before a run can read it."""
        found = next((one for one in self.splits if (one.dataset, one.split) == (dataset, split)), None)
        if found is None or found.manifest.state != "done":
            return [f"{dataset}/{split}"]
        return [f"coil maps of {dataset}/{split}"] if maps and found.maps and found.maps.state != "done" else []

    def _split(self, dataset: str, split: Split, mapped: bool) -> SplitStatus:
        place, made = f"{dataset}/{split}", f"runs/{self.scale}/data/{dataset}/{split}"
        rule = "join" if self.plan.joined(dataset) else "summarise"
        manifest = self.look(Job((f"{made}.json",), f"logs/{rule}/{self.scale}/{place}.log"))
        if not self.plan.listed(dataset):
            return self._whole(place, manifest, mapped)
        names = self.plan.volumes(dataset, split)
        volumes = merged([self._volume(dataset, split, name) for name in names])
        if manifest.state == "done" and volumes.state == "waiting":
            # converted k-space may be purged once everything is made from it
            volumes = replace(volumes, state="done", note="no longer here")
        maps = None
        if mapped:
            maps = merged(
                [
                    self.look(Job((f"data/maps/{place}/{name}.h5",), f"logs/calibrate/{place}/{name}.log"))
                    for name in names
                ]
            )
        return SplitStatus(dataset, split, volumes, maps, manifest)

    def _volume(self, dataset: str, split: Split, name: str) -> Look:
        """A canonical volume, or where the way to it stands."""
        place = f"{dataset}/{split}"
        converted = self.look(Job((f"data/kspace/{place}/{name}.h5",), f"logs/convert/{place}/{name}.log"))
        if converted.state != "waiting":
            return converted
        entry = self.plan.dataset(dataset)
        raw = {file.volume: file.path for file in entry.files}.get(name, f"{name}.h5")
        rule, log = ("simulate", name) if entry.simulation else ("download", raw)
        before = self.look(Job((f"raw/{place}/{raw}",), f"logs/{rule}/{place}/{log}.log"))
        return converted if before.state == "done" else before

    def _whole(self, place: str, manifest: Look, mapped: bool) -> SplitStatus:
        """A split whose volumes nobody can name before its files are there."""
        dataset, _, name = place.partition("/")
        split = _as_split(name)
        converted = self._batches(dataset, split, "kspace", "convert_batch")
        if converted.state == "waiting":
            steps = [("INDEX.txt", "index"), ("SPLIT.txt", "draw_split")]
            if self.plan.dataset(dataset).fetch:
                steps.insert(0, ("FETCHED.json", "download_set"))
            for file, rule in steps:
                converted = self.look(Job((f"raw/{place}/{file}",), f"logs/{rule}/{place}.log"))
                if converted.state != "done":
                    break
            else:
                converted = Look("waiting")
        converted = replace(converted, done=_count(self.root / "data/kspace" / place), total=0)
        maps = None
        if mapped:
            maps = self._batches(dataset, split, "maps", "calibrate_batch")
            maps = replace(maps, done=_count(self.root / "data/maps" / place), total=0)
        return SplitStatus(dataset, split, converted, maps, manifest)

    def _batches(self, dataset: str, split: Split, kind: str, rule: str) -> Look:
        """The jobs that convert, or calibrate, a split."""
        count = self.plan.batches(dataset, split)
        made, logs = f"runs/{self.scale}/data/{dataset}/{split}-{kind}", f"logs/{rule}/{self.scale}/{dataset}/{split}"
        names = [f"{k}-of-{count}" for k in range(1, count + 1)]
        return merged([self.look(Job((f"{made}/{name}.json",), f"{logs}/{name}.log")) for name in names])


def _as_split(name: str) -> Split:
    splits: dict[str, Split] = {"train": "train", "validation": "validation", "test": "test"}
    return splits[name]


def _count(folder: Path) -> int:
    return sum(path.suffix == ".h5" and not path.name.startswith(".") for path in folder.glob("*.h5"))


def _backbone(name: str) -> str:
    return f"raw/backbones/{name}.safetensors"


def _mask_log(path: str) -> str:
    return f"logs/make_mask/{path.removeprefix('data/masks/').removesuffix('.h5')}.log"
