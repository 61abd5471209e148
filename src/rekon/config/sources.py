"""What is known of a published set before its files are here: where they are, and how many there should be."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from rekon.config.base import Name, Split, Strict


class Fetch(Strict):
    """Where the files of a set can be had, and which of what lies there belongs to which split.

    zenodo      of the record number `id`
    dataverse   of the dataset with the DOI `id`, at `server`
    mridata     UUIDs at `server`; the names are those of the split's committed list, UUID.h5
    links       addresses that somebody was sent: config/local.yaml names the file that holds them under `links.<id>`
    folder      files that somebody was given: config/local.yaml names their folder under `folders.<id>`
    """

    kind: Literal["zenodo", "dataverse", "mridata", "links", "folder"]
    id: str = Field(min_length=1)
    server: str = Field(default="", pattern=r"^(https?://[^/]+)?$")
    files: dict[Split, str]  # pattern of file names (* and ?); archives are unpacked

    def same(self, split: Split) -> list[Split]:
        """Other splits whose files at the source are those of `split`."""
        return [other for other in self.files if other != split and self.files[other] == self.files.get(split)]

    @model_validator(mode="after")
    def _places(self) -> Fetch:
        if self.kind in ("dataverse", "mridata") and not self.server:
            raise ValueError(f"'kind: {self.kind}' needs 'server', its address")
        return self


class Published(Strict):
    """A split as its publisher, or the papers' tables, count it."""

    volumes: int = Field(ge=1)  # raw files
    slices: int = Field(ge=1)  # of all canonical volumes
    contrasts: dict[str, int] = Field(default_factory=dict)  # contrast -> volumes of it
    coils: tuple[float, int]  # mean over slices, most
    matrix: tuple[int, int]  # of a typical canonical volume: readout, phase encoding
    gigabytes: float = Field(gt=0)  # of the raw files, unpacked, about
    # mean over volumes of max(RSS) that UEPS's authors found, where it is not what the set is divided by
    constant: float | None = Field(default=None, gt=0)

    def canonical_bytes(self, slices: int, coils: float | None = None) -> float:
        """Of so many canonical slices: complex64 k-space, float32 reference; about."""
        return slices * self.matrix[0] * self.matrix[1] * (8 * (self.coils[0] if coils is None else coils) + 4)


class SplitRule(Strict):
    """Which files of a set's split belong to it: a committed list, or so many of those that are there."""

    names: str | None = Field(default=None, pattern=Name.pattern)  # list below config/splits/, a name a line
    count: int | None = Field(default=None, ge=1)  # None: all
    seed: int | None = None  # draws `count`; None: the first ones, in the order of their names
    volumes: int = Field(ge=1)  # that this gives when all files are there
    slices: int | None = Field(default=None, ge=1)  # that the paper counts in them
    open: str | None = None  # what the paper leaves open, and what was taken

    @model_validator(mode="after")
    def _one_way(self) -> SplitRule:
        if self.names and (self.count is not None or self.seed is not None):
            raise ValueError("'names' is a list, which leaves nothing to 'count' or 'seed'")
        if self.count is not None and self.count != self.volumes:
            raise ValueError(f"'count' is {self.count}, but 'volumes' {self.volumes}")
        return self


class RunSplit(Strict):
    """What a paper says of the volumes that a run learns from; `rekon list-splits` names those it does."""

    says: str  # the paper's words on how many
    volumes: dict[str, int] = Field(default_factory=dict)  # contrast -> of the papers' set, complete
    open: str | None = None  # what it leaves open, and what was taken


class SplitFile(Strict):
    """config/splits/<study>.yaml: the volumes of a paper."""

    paper: str
    sets: dict[str, SplitRule] = Field(default_factory=dict)  # set/split -> rule, before anything is converted
    learns_from: str | None = None  # set that `runs` are counted in
    runs: dict[str, RunSplit] = Field(default_factory=dict)  # run of the study -> what the paper says of it

    @property
    def of(self) -> set[str]:
        """Names of the sets that this is about."""
        return {place.split("/")[0] for place in self.sets} | ({self.learns_from} if self.learns_from else set())

    @model_validator(mode="after")
    def _splits(self) -> SplitFile:
        for key in self.sets:
            dataset, _, split = key.partition("/")
            if not Name.match(dataset) or split not in ("train", "validation", "test"):
                raise ValueError(f"key 'sets': {key!r} is not SET/train, SET/validation or SET/test")
        return self


class Local(Strict):
    """config/local.yaml, which git ignores: what only this machine and its user have."""

    links: dict[str, str] = Field(default_factory=dict)  # name -> file with the addresses, one or more a line
    folders: dict[str, str] = Field(default_factory=dict)  # name -> folder with the files
