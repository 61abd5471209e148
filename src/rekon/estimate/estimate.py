"""A scale's estimate: every job with its arithmetic, totals, disk, and what was assumed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rekon.config import Recipe
from rekon.estimate.cost import KINDS, Cost, key
from rekon.estimate.disk import Place, places
from rekon.estimate.machine import Machine, Memory, attempts, memory
from rekon.estimate.needs import LEAST, MORE_USE, SECONDS, Uses, needs
from rekon.estimate.sets import Sets
from rekon.estimate.stage import CONVERSION, HASHING, DataWork, data_works
from rekon.estimate.work import Stage, Work, works
from rekon.files import read_yaml
from rekon.plan import Plan

STAGES: tuple[Stage, ...] = ("training", "validation", "tokens", "tuning", "scoring")
NOT_COUNTED = (
    "Not counted: Fourier transforms, norms, activations, the optimiser's step, conjugate gradients, loading data, "
    "start-up, metrics and their networks, inspections."
)


@dataclass(frozen=True)
class Line:
    """A piece of work on the machine: work.items x work.flops = flops, / speed = gpu_hours."""

    work: Work
    flops: float | None
    speed: float  # FLOP/s
    gpu_hours: float | None


@dataclass(frozen=True)
class Job:
    """One Slurm job's work. A training (with its validations) is resumed, the other jobs have one attempt."""

    study: str
    run: str
    stage: Stage
    name: str
    gpus: int
    hours: float | None  # wall time, all attempts together
    asked: float  # hours that the rule asks for, at first
    attempts: int | None
    memory: Memory | None  # of a training process
    parameters: int | None


@dataclass(frozen=True)
class Estimate:
    """All of it. Hours are GPU-hours unless they are called wall time."""

    scale: str
    description: str
    machine: Machine
    price: float | None
    lines: list[Line]
    jobs: list[Job]
    places: list[Place]
    data: list[DataWork]
    assumptions: list[str]
    warnings: list[str]

    @property
    def core_hours(self) -> float:
        """Core-hours of what is known of the data stage, which needs no GPU."""
        return sum(work.core_hours for work in self.data if work.core_hours is not None)

    def hours(self, study: str | None = None, stage: Stage | None = None) -> float:
        """GPU-hours of what is known."""
        chosen = [line.gpu_hours for line in self.lines if line.gpu_hours is not None
                  and study in (None, line.work.study) and stage in (None, line.work.stage)]  # fmt: skip
        return sum(chosen)

    def bytes(self, stage: str | None = None, until: str | None = None) -> float:
        """Bytes of what is known. until: only of what goes then, "": only of what stays."""
        return sum(
            place.bytes
            for place in self.places
            if place.bytes is not None and stage in (None, place.stage) and until in (None, place.until)
        )

    @property
    def unknown(self) -> list[str]:
        """Work and places of which nobody knows how large they are."""
        work = [
            f"{one.work.study}/{one.work.run} {one.work.stage} {one.work.job}".strip()
            for one in self.lines
            if one.flops is None
        ]
        data = [f"{one.step} {one.dataset}/{one.split}" for one in self.data if one.amount is None]
        return work + [f"{place.stage} of {place.what}" for place in self.places if place.bytes is None] + data

    def plain(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        totals = {
            "gpu_hours": self.hours(),
            "gpu_hours_by_study": {
                study: self.hours(study) for study in dict.fromkeys(one.work.study for one in self.lines)
            },
            "gpu_hours_by_stage": {stage: self.hours(stage=stage) for stage in STAGES},
            "core_hours_of_data": self.core_hours,
            "cost": None if self.price is None else self.price * self.hours(),
            "bytes": self.bytes(),
            "bytes_that_stay": self.bytes(until=""),
            "bytes_by_stage": {
                stage: self.bytes(stage) for stage in dict.fromkeys(place.stage for place in self.places)
            },
        }
        return asdict(self) | {"totals": totals, "unknown": self.unknown}


def estimate(
    plan: Plan, sets: Sets, costs: Callable[[Recipe], Cost | None], machine: Machine, price: float | None = None,
    root: Path | str = ".",
) -> Estimate:  # fmt: skip
    """What a plan takes on a kind of machine. costs: of a run's network, None for one without."""
    lines = []
    for work in works(plan, sets, costs):
        hours = None if work.total is None else machine.hours(work.total, work.precision)
        lines.append(Line(work, work.total, machine.speed(work.precision), hours))
    jobs, disk = _jobs(plan, sets, costs, lines), places(plan, sets, costs, root)
    return Estimate(
        plan.scale.scale, plan.scale.description, machine, price, lines, jobs, disk, data_works(plan, sets, disk),
        _assumptions(plan, sets, machine), _warnings(jobs, machine, plan.scale.compute.hours, Path(root)),
    )  # fmt: skip


class Costs:
    """Costs of a plan's networks: those on record, others measured now, each once."""

    def __init__(self, plan: Plan, known: dict[str, Cost], say: Callable[[str], None] = lambda text: None) -> None:
        """known: costs by their keys; say: told of what is being measured, as that takes a while."""
        self.plan, self.known, self.say = plan, dict(known), say
        self.measured: dict[str, tuple[str, Cost]] = {}

    def __call__(self, recipe: Recipe) -> Cost | None:
        if recipe.kind not in KINDS:
            return None
        name = key(recipe, self.plan.recipes)
        if name not in self.known:
            from rekon.estimate.network import measure

            self.say(f"measuring the network of {recipe.study}/{recipe.run}")
            self.known[name] = measure(recipe, self.plan.recipes)
            self.measured[name] = (f"{recipe.scale}/{recipe.study}/{recipe.run}", self.known[name])
        return self.known[name]


def _jobs(plan: Plan, sets: Sets, costs: Callable[[Recipe], Cost | None], lines: list[Line]) -> list[Job]:
    """Lines put together as the rules put them into jobs."""
    compute, uses, together = plan.scale.compute, Uses(plan, sets), dict[tuple[str, str, Stage, str], list[Line]]()
    for line in lines:
        stage: Stage = "training" if line.work.stage == "validation" else line.work.stage
        together.setdefault((line.work.study, line.work.run, stage, line.work.job), []).append(line)
    jobs = []
    for (study, run, stage, name), parts in together.items():
        training, known = stage == "training", [line.gpu_hours for line in parts if line.gpu_hours is not None]
        recipe = plan.recipes[study, run]
        if training and recipe.training is not None:
            gpus = compute.for_batch(recipe.training.batch).gpus
        else:
            gpus = min(compute.gpus, 1)
        # a process per GPU shares training and validation; on a CPU a job has its threads, which count as one here
        hours = sum(known) / max(gpus, 1) if len(known) == len(parts) else None
        if training:  # as the rules do: on a CPU all that the scale allows
            asked = needs(recipe, compute, plan.recipes, sets).hours if compute.gpus else compute.hours
        else:
            asked = uses.hours(study, run, stage, name)
        times = None if hours is None else attempts(hours, asked, compute.hours) if training else 1
        cost, needed = costs(recipe), None
        if training and cost is not None:
            size = sets.size(recipe.data.train, "train")
            needed = memory(cost, recipe, gpus, size.most_coils if size else recipe.data.max_coils or 32)
        jobs.append(Job(study, run, stage, name, gpus, hours, asked, times, needed, cost.parameters if cost else None))
    return jobs


def _assumptions(plan: Plan, sets: Sets, machine: Machine) -> list[str]:
    peak = f"{machine.bf16:g} TFLOP/s in bf16 and {machine.fp32:g} in fp32"
    told = [
        f"{machine.name}: {peak}, of which {100 * machine.utilisation:g} % is reached (--gpu, --tflops, "
        "--utilisation); several GPUs share a training without loss, as many as its batch can be divided among.",
        "Operations are counted by running each network, forwards and back, on tensors without memory: convolutions "
        "and matrix products, a multiplication and an addition counting as two.",
        "Memory: 16 bytes a trained number (weight, gradient, two moments; 18 with a copy in bf16), 4 a frozen one, "
        "and what autograd keeps of the slices of a step, which bf16 halves; torch.compile may keep less, "
        "fragmentation takes more.",
        NOT_COUNTED,
        f"Jobs that use a network cannot be resumed: they ask for {MORE_USE:g} times their estimate and "
        f"{SECONDS['scoring']:g} s an item ({SECONDS['tokens']:g} s for tokens), {LEAST:g} h at least, and for twice "
        "as much in each further attempt.",
        f"Data stage, roughly: a core converts {CONVERSION / 1e6:g} MB of raw files a second; the coil maps of a slice "
        "of 96 x 96 with 12 coils took a core 1.2 s, those of others as many times more as they have samples; a "
        f"manifest reads {HASHING / 1e6:g} MB/s in one stream.",
    ]
    patient = [f"{study}/{run}" for (study, run), one in plan.recipes.items() if one.training and one.training.patience]
    if patient:
        told.append(f"Counted to their last step, although they may end early: {', '.join(patient)}.")
    assumed = {
        f"{name}/{split} {size.slices:,} slices, {size.coils:g} coils (at most {size.most_coils})"
        for name, split, size in sets.used()
        if size is not None and size.source in ("assumed", "given")
    }
    if assumed:
        told.append(
            "Sets that are not here yet, as published (--slices): " + "; ".join(sorted(assumed)) + ". "
            "Volumes of a set count as equally long, and as one per subject."
        )
    return told


def _warnings(jobs: Iterable[Job], machine: Machine, limit: float, root: Path) -> list[str]:
    """What will not work as it stands."""
    found, profile = [], root / "slurm/config.yaml"
    allowed = 1 + int((read_yaml(profile) or {}).get("retries", 0)) if profile.exists() else None
    for job in jobs:
        name = f"{job.study}/{job.run}" + (f" on {job.name}" if job.name else "")
        if job.memory and machine.memory_gb and job.memory.total > machine.memory_gb:
            found.append(
                f"{name} needs {job.memory.total:.0f} GB of GPU memory, {machine.name} has {machine.memory_gb:g}."
            )
        if job.stage == "training" and allowed is not None and (job.attempts or 0) > allowed:
            found.append(
                f"{name} takes {job.attempts} jobs of {job.asked:g} h, slurm/config.yaml allows {allowed}: raise "
                "'compute.hours' or 'retries', or start Snakemake again."
            )
        most = min(limit, job.asked * 2 ** ((allowed or 1) - 1))
        if job.stage != "training" and job.hours is not None and job.hours > most:
            found.append(
                f"{name}: {job.stage} takes {job.hours:.0f} h and cannot be resumed, but no more than {most:g} h are "
                "asked for: raise 'compute.hours' or 'retries'."
            )
    return found
