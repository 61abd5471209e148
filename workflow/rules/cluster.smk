# What jobs ask of a cluster, from the recipe and the scale; and what is done on one before a run begins.
# Locally, Snakemake counts the same numbers against --cores and --resources.
import time

from rekon.cluster import cancel_orphans, short_of_memory
from rekon.estimate.needs import needs
from rekon.estimate.sets import Sets

BEGUN = time.time()
SETS = Sets(plan)
PROCESSES = max(COMPUTE.gpus, COMPUTE.nodes)  # of a training: one per GPU, without GPUs one per node
# several nodes: Slurm gives every process a task; by itself it would start one, on one of them
SPREAD = {
    "nodes": COMPUTE.nodes,
    "tasks": PROCESSES,
    "tasks_per_gpu": 0,
    "cpus_per_task": COMPUTE.threads,
    "mpi": "srun",
}
SPREAD = SPREAD if COMPUTE.nodes > 1 else {}
LONGEST = max(1, int(COMPUTE.hours * 60))  # minutes
SHARE_MB = COMPUTE.memory_gb * 1024 // max(1, COMPUTE.gpus)  # of a job on one GPU, where training takes several


def training_needs(wildcards):
    """Memory and hours of a training, by the arithmetic of `rekon estimate`."""
    return needs(plan.recipes[tuple(wildcards.run.split("/"))], COMPUTE, plan.recipes, SETS)


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
