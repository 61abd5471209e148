"""The sets of a scale: which splits, which volumes, how many of those that nobody can name before their files are here.

Pure functions over config; `rekon.plan` adds the runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from rekon.config import Catalogue, Dataset, Scale
from rekon.config.counts import Expected, batches, expected
from rekon.config.datasets import Split
from rekon.config.sources import SplitFile, SplitRule
from rekon.errors import UserError

SPLITS: tuple[Split, ...] = ("train", "validation", "test")


class PlannedSets:
    """What a scale says of its sets. split_files: papers' volumes, by the name of their file in config/splits/."""

    def __init__(self, scale: Scale, catalogue: Catalogue, split_files: Mapping[str, SplitFile] | None = None) -> None:
        self.scale, self.catalogue, self.split_files = scale, catalogue, dict(split_files or {})
        self._rules: dict[str, SplitRule] = {}
        for name, file in self.split_files.items():
            for place, rule in file.sets.items():
                if place in self._rules:
                    raise UserError(
                        f"config/splits/{name}.yaml: key 'sets': another file has a rule for {place!r} too."
                    )
                self._rules[place] = rule

    def dataset(self, name: str) -> Dataset:
        return self.catalogue[name]

    def volumes(self, dataset: str, split: Split) -> list[str]:
        """Names of a split's own volumes, where they are known before anything is downloaded."""
        entry, wanted = self.catalogue[dataset], self.wanted(dataset, split)
        if entry.simulation is not None:
            from rekon.data.phantom.names import volumes

            return [volume.name for volume in volumes(dataset, entry.simulation, split, wanted or 0)]
        if entry.source == "download":
            names = [file.volume for file in entry.files] if split == "test" else []
            return names[: len(names) if wanted is None else wanted]
        return []

    def raw_files(self, dataset: str, volume: str) -> list[str]:
        """Files that a volume is made from: its own, then other repetitions of its scan if the target needs them."""
        entry = self.catalogue[dataset]
        own = {file.volume: file.path for file in entry.files}.get(volume, f"{volume}.h5")
        if entry.simulation is None or entry.target == "single-rep":
            return [own]
        from rekon.data.phantom.names import repetitions

        return [own, *(f"{name}.h5" for name in repetitions(volume, entry.simulation) if name != volume)]

    def wanted(self, dataset: str, split: Split) -> int | None:
        """How many volumes the scale asks for; None: all."""
        count: int | None = getattr(self.scale.datasets[dataset], split)
        return count

    def joined(self, dataset: str) -> bool:
        """Whether a set has no files of its own, but is made of others' manifests."""
        return bool(self.catalogue[dataset].parts)

    def parts(self, dataset: str, split: Split) -> list[tuple[str, Split]]:
        """The splits (set, split) that a joined set's split is made of, each once."""
        return list(dict.fromkeys((part.dataset, part.split) for part in self.catalogue[dataset].parts.get(split, ())))

    def listed(self, dataset: str) -> bool:
        """Whether volume names are known at parse time (else the set is converted in batches)."""
        return self.catalogue[dataset].source != "manual"

    def temporary(self, stage: Literal["raw"]) -> list[tuple[str, Split]]:
        """Splits (set, split) whose files of a stage go once the next stage is made of them.

        Raw files: of sets that a machine alone can fetch again. What people were sent, or put there, stays.
        """
        if stage not in self.scale.temporary:
            return []
        fetched = {name: entry.fetch for name in self.scale.datasets if (entry := self.catalogue[name]).fetch}
        alone = [name for name, fetch in fetched.items() if fetch and fetch.kind not in ("links", "folder")]
        return [(name, split) for name in alone for split in self.splits(name)]

    def splits(self, dataset: str) -> list[Split]:
        return [split for split in SPLITS if self.wanted(dataset, split) != 0]

    def rule(self, dataset: str, split: Split) -> SplitRule | None:
        """Which of the files that are there belong to a split, where a paper takes not all."""
        return self._rules.get(f"{dataset}/{split}")

    def expected(self, dataset: str, split: Split) -> Expected | None:
        """How many volumes a published split will have; None where nobody knows."""
        published = self.catalogue[dataset].published.get(split)
        return expected(published, self.rule(dataset, split), self.wanted(dataset, split))

    def batches(self, dataset: str, split: Split) -> int:
        """Jobs that convert, and calibrate, a split whose volumes are known only when its files are here."""
        return batches(self.expected(dataset, split))
