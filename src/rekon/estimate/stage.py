"""What the data stage takes of cores: conversion, coil maps, manifests; from bytes and samples, before they are here.

Speeds are those of one machine, or assumed where a cluster's file system sets them: an estimate, and a rougher one
than that of the networks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from rekon.config.datasets import Split
from rekon.estimate.contents import contents
from rekon.estimate.disk import Place
from rekon.estimate.sets import Sets
from rekon.plan import Plan

CONVERSION = 150e6  # bytes of raw files that a core converts in a second
HASHING = 100e6  # bytes a second in one stream, from a file system that many read: each volume is read once
ESPIRIT = 1.2 / (96 * 96 * 12)  # core-seconds a sample: as measured on slices of 96 x 96 with 12 coils
Step = Literal["convert", "calibrate", "summarise"]
LEAST = 2.0  # hours that a manifest's job asks for, whatever it reads
MORE_TIME = 1.5  # than estimated
SPEED = {"convert": CONVERSION, "calibrate": 1 / ESPIRIT, "summarise": HASHING}  # amounts a second and core


@dataclass(frozen=True)
class DataWork:
    """Of one split: amount / speed = core_hours, / jobs / threads = hours. None where nobody knows the amount."""

    dataset: str
    split: Split
    step: Step
    amount: float | None  # bytes; for coil maps samples, slices x coils x rows x columns
    jobs: int
    threads: int  # of each job

    @property
    def core_hours(self) -> float | None:
        return None if self.amount is None else self.amount / SPEED[self.step] / 3600

    @property
    def hours(self) -> float | None:
        """Wall time of each job."""
        return None if self.core_hours is None else self.core_hours / self.jobs / self.threads


def data_works(plan: Plan, sets: Sets, places: Iterable[Place]) -> list[DataWork]:
    """All of it, split by split. places: tell how many bytes there are."""
    known = {(place.stage, place.what): place.bytes for place in places}
    found = []
    for dataset, split, _ in sets.used():
        if plan.joined(dataset):
            continue  # nothing but a list of its parts
        name, listed = f"{dataset}/{split}", plan.listed(dataset)
        jobs = len(plan.volumes(dataset, split)) if listed else plan.batches(dataset, split)
        threads = 1 if listed else plan.scale.compute.threads
        found.append(DataWork(dataset, split, "convert", known.get(("raw", name)), jobs, threads))
        if (dataset, split) in plan.mapped:
            inside = contents(plan, sets, dataset, split)
            found.append(DataWork(dataset, split, "calibrate", inside.samples if inside else None, jobs, threads))
        found.append(DataWork(dataset, split, "summarise", known.get(("kspace", name)), 1, 1))
    return found


def manifest_hours(plan: Plan, sets: Sets, dataset: str, split: Split) -> float:
    """Wall time that the manifest of a split asks for, which reads every canonical volume of it in one stream.

    As many hours as the scale allows on a CPU, and for a set of unknown size.
    """
    if not plan.scale.compute.gpus:
        return plan.scale.compute.hours
    limit, inside = plan.scale.compute.hours, contents(plan, sets, dataset, split)
    if inside is None:
        return limit
    return min(limit, max(LEAST, round(MORE_TIME * inside.kspace_bytes / HASHING / 3600, 2)))
