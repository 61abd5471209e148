"""config/{demo,open,full}.yaml: which sets and studies, how large, how long."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field, model_validator

from rekon.config.base import Name, Strict


class ScaleDataset(Strict):
    """How much of a data set is used: volumes per split, slices per volume (None: all)."""

    train: int | None = Field(default=0, ge=0)
    validation: int | None = Field(default=0, ge=0)
    test: int | None = Field(default=0, ge=0)


class EvaluationSettings(Strict):
    """One definition of each metric (UEPS: volume maximum, raw matrix without its black border, mean over slices)."""

    data_range: Literal["volume", "slice"] = "volume"
    crop: Literal["raw", "none"] = "raw"  # raw: back to the acquired matrix, its zero border removed
    aggregation: Literal["slice", "volume"] = "slice"
    bootstrap: int = Field(default=2000, ge=100)  # resamples, over subjects
    id: tuple[str, ...] = ()  # in-distribution test sets
    ood: tuple[str, ...] = ()  # zero-shot test sets
    # metrics on deep features; where their backbones are absent, cells stay empty and say so
    perceptual: tuple[Literal["lpips_alex", "lpips_vgg", "dists"], ...] = ()

    @property
    def datasets(self) -> tuple[str, ...]:
        return self.id + self.ood


class Compute(Strict):
    """What a job may use. None of it changes a result's definition."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    gpus: int = Field(default=0, ge=0)  # per training job, a process each, as far as its batch can be shared out
    nodes: int = Field(default=1, ge=1)  # that a training job is spread over, evenly
    threads: int = Field(default=1, ge=1)  # of each process
    workers: int = Field(default=0, ge=0)  # data loading processes, of each process
    memory_gb: int = Field(default=4, ge=1)
    hours: float = Field(default=1.0, gt=0)  # most wall time to ask for per job

    @model_validator(mode="after")
    def _even(self) -> Compute:
        if self.gpus % self.nodes:
            raise ValueError(f"'gpus' {self.gpus} must be a multiple of 'nodes' {self.nodes}")
        return self

    @property
    def processes(self) -> int:
        """Of a training: one per GPU, without GPUs one per node."""
        return max(self.gpus, self.nodes)

    @property
    def node_processes(self) -> int:
        """Of a training, on each of its nodes."""
        return self.processes // self.nodes

    def for_batch(self, batch: int) -> Compute:
        """What a training with this batch takes of it, since its processes need equal parts of a batch.

        As many processes as possible, on as few nodes as hold them evenly.
        """
        processes = math.gcd(self.processes, batch)
        nodes = next(n for n in range(1, 1 + self.nodes) if processes % n == 0 and processes <= n * self.node_processes)
        return self.model_copy(update={"gpus": processes if self.gpus else 0, "nodes": nodes})


class ScaleStudy(Strict):
    """What a scale changes in a study: for all its runs, and for single ones. Merged like a run's delta."""

    all: dict[str, Any] = Field(default_factory=dict)
    runs: dict[str, dict[str, Any]] = Field(default_factory=dict)
    only: tuple[str, ...] | None = None  # run just these
    evaluation: dict[str, Any] = Field(default_factory=dict)  # merged over the study's, and that over the scale's


class Scale(Strict):
    """A scale. Keys beside the file's own are what `--config` may set: mirror, dvc_remote."""

    scale: str = Field(pattern=Name.pattern)
    description: str
    datasets: dict[str, ScaleDataset] = Field(min_length=1)
    studies: dict[str, ScaleStudy] = Field(min_length=1)
    evaluation: EvaluationSettings
    compute: Compute = Compute()
    backbones: tuple[str, ...] = ()  # pretrained networks of config/backbones.yaml to fetch and use
    # what goes as soon as the next stage has it: raw files that this workflow fetched and can fetch again unasked
    temporary: tuple[Literal["raw"], ...] = ()
    mirror: str | None = None  # folder that holds the files of `source: download` sets

    @model_validator(mode="after")
    def _known(self) -> Scale:
        for name in self.evaluation.datasets:
            if name not in self.datasets:
                raise ValueError(f"key 'evaluation': data set {name!r} is not listed under 'datasets'")
            if self.datasets[name].test == 0:
                raise ValueError(f"key 'datasets.{name}.test': 0, but the set is under 'evaluation'")
        return self
