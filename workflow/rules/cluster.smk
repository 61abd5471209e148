# What jobs ask of a cluster, from the recipe and the scale; and what is done on one before a run begins.
# Locally, Snakemake counts the same numbers against --cores and --resources.
import time

from rekon.cluster import cancel_orphans, short_of_memory
from rekon.estimate.needs import Uses, needs
from rekon.estimate.sets import Sets
from rekon.estimate.stage import manifest_hours

BEGUN = time.time()
SETS = Sets(plan)
USES = Uses(plan, SETS)
LONGEST = max(1, int(COMPUTE.hours * 60))  # minutes
SHARE_MB = COMPUTE.memory_gb * 1024 // max(1, COMPUTE.gpus)  # of a job on one GPU, where training takes several


def training_compute(wildcards):
    """What a training takes of a job's processes, GPUs and nodes: no more than can share its batch."""
    return COMPUTE.for_batch(recipe_of(wildcards).training.batch)


def spread(value):
    """A resource of trainings on several nodes, which those on one do not ask for."""

    def asked(wildcards):
        compute = training_compute(wildcards)
        return value(compute) if compute.nodes > 1 else None

    return asked


# several nodes: Slurm gives every process a task; by itself it would start one, on one of them. It is told how many
# processes and GPUs each node gets, because it fills the first where it can; and how many tasks there are where that is
# one a node, which the executor knows no other way to say
SPREAD = {
    "nodes": spread(lambda compute: compute.nodes),
    "tasks": spread(lambda compute: compute.processes if compute.node_processes == 1 else None),
    "tasks_per_node": spread(lambda compute: compute.node_processes if compute.node_processes > 1 else None),
    "tasks_per_gpu": spread(lambda compute: 0),
    "gres": spread(lambda compute: f"gpu:{compute.node_processes}" if compute.gpus else None),
    "cpus_per_task": spread(lambda compute: compute.threads),
    "mpi": spread(lambda compute: "srun"),
}
SPREAD = SPREAD if COMPUTE.nodes > 1 else {}


def training_threads(wildcards):
    """Cores on each of its nodes."""
    return COMPUTE.threads * training_compute(wildcards).node_processes


def training_gpus(wildcards):
    return training_compute(wildcards).gpus


def training_mb(wildcards):
    """Memory on each of its nodes: that of the scale, or the share of its processes there."""
    return COMPUTE.memory_gb * 1024 * training_compute(wildcards).node_processes // COMPUTE.node_processes


def training_needs(wildcards):
    """Memory and hours of a training, by the arithmetic of `rekon estimate`."""
    return needs(recipe_of(wildcards), COMPUTE, plan.recipes, SETS)


def training_minutes(wildcards, attempt):
    """Wall time of an attempt: what was estimated, more each time it was too little, never more than the scale allows.

    A training that runs out of it saves and goes on in the next attempt. Nobody knows how fast a CPU is: there, all.
    """
    if not COMPUTE.gpus:
        return LONGEST
    return min(LONGEST, attempt * round(60 * training_needs(wildcards).hours))


def training_gpu_mb(wildcards):
    """Memory of each GPU; 0: not known, or no GPU."""
    return 1000 * (training_needs(wildcards).gpu_memory_gb or 0) if COMPUTE.gpus else 0


def minutes(hours):
    """Wall time of an attempt at a job that begins anew each time: twice as much as before, up to what is allowed."""

    def asked(wildcards, attempt):
        return min(LONGEST, 2 ** (attempt - 1) * round(60 * hours(wildcards)))

    return asked


def names(wildcards):
    """Study and run."""
    return wildcards.run.split("/")


scoring_minutes = minutes(lambda wc: USES.hours(*names(wc), "scoring", wc.dataset))
tuning_minutes = minutes(lambda wc: USES.hours(*names(wc), "tuning"))
token_minutes = minutes(lambda wc: USES.hours(*names(wc), "tokens", f"{wc.dataset}/{wc.split}"))
manifest_minutes = minutes(lambda wc: manifest_hours(plan, SETS, wc.dataset, wc.split))


def inspection_minutes(study):
    return minutes(lambda wc: USES.inspection(study))


onstart:
    try:
        orphans = cancel_orphans()
    except UserError as error:
        raise WorkflowError(str(error)) from None
    if orphans:
        print(
            f"cancelled jobs that an earlier Snakemake left in this folder: {', '.join(orphans)}", file=sys.stderr
        )


onerror:
    for job in short_of_memory(since=BEGUN):
        print(
            f"{job} ran out of memory: raise compute.memory_gb in config/{SCALE}.yaml, or mem_mb in slurm/config.yaml",
            file=sys.stderr,
        )
