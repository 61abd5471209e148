"""Where training runs: device, threads, determinism, and several processes side by side (`launch` starts them).

Data parallel by hand: every process takes an equal share of each batch, and gradients are averaged between
back-propagation and clipping. Unlike a wrapper around the network this serves any number of networks and optimisers
in a step, and leaves the names of the weights alone.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from rekon.config import Compute
from rekon.errors import UserError

_BY_SRUN = "REKON_RANKS_BY_SRUN"  # set for the processes that `launch` starts through srun
_BUCKET = 2**25  # elements per message: large enough for full bandwidth, small enough to spare memory


@dataclass(frozen=True)
class Place:
    """This process: its device, and its rank among `world` processes."""

    device: torch.device
    rank: int = 0
    world: int = 1

    @property
    def main(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0


@contextlib.contextmanager
def place(compute: Compute) -> Iterator[Place]:
    """Set threads and determinism, and join the other processes if `launch` (or torchrun) started this one.

    Equal seeds give equal bytes from here on: on the CPU for a given number of threads, on a GPU because operations
    without a deterministic form are refused. Raises UserError when a GPU is asked for and there is none.
    """
    _take_ranks_of_slurm()
    world, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    device = choose_device(compute)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with a fixed workspace
    threads, was = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.set_num_threads(compute.threads)
    torch.use_deterministic_algorithms(True)
    # a debugging aid that determinism switches on: it overwrites every fresh tensor with NaN
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    joined = world > 1 and not dist.is_initialized()
    if joined:
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Place(device, rank, world)
    finally:
        if joined:
            dist.destroy_process_group()
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(was)
        torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]


def choose_device(compute: Compute) -> torch.device:
    """The device of `compute`; `auto` takes a GPU where there is one."""
    if compute.device == "cpu" or (compute.device == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UserError("key 'compute.device': 'cuda' is asked for, but torch finds no GPU; set it to 'auto' or 'cpu'.")
    local = int(os.environ.get("LOCAL_RANK", 0))
    if local >= torch.cuda.device_count():
        raise UserError(
            f"key 'compute.gpus': process {local + 1} has no GPU, torch finds {torch.cuda.device_count()}; lower it."
        )
    return torch.device("cuda", local)


def launch(processes: int, arguments: Sequence[str], nodes: int = 1, threads: int = 1, gpus: int = 0) -> int:
    """Run `python ARGUMENTS` in `processes` processes; returns the exit code of the first to fail, 0 when none does.

    On one node torchrun starts them, on several `srun`, inside a Slurm job that holds these nodes, as many on each;
    threads: cores of each process, gpus: of all together (both for Slurm). When one is lost the others are ended, and
    a line says so.
    """
    if nodes > 1:
        return _launch_on_nodes(processes, arguments, nodes, threads, gpus)
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main

    try:
        main(["--standalone", "--nproc-per-node", str(processes), *arguments])
    except ChildFailedError as error:  # torchrun itself would exit 1, and hide "out of time, run again" (75)
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            _tell_loss(f"process {rank + 1} of {processes} was lost ({failure.signal_name()})")
        return abs(failure.exitcode) or 1
    return 0


def started() -> bool:
    """Whether this process is one of those that `launch` started."""
    return "WORLD_SIZE" in os.environ or _BY_SRUN in os.environ


def _launch_on_nodes(processes: int, arguments: Sequence[str], nodes: int, threads: int, gpus: int) -> int:
    if shutil.which("srun") is None or "SLURM_JOB_ID" not in os.environ:
        raise UserError(
            f"key 'compute.nodes': {nodes} nodes need a Slurm job that holds them; on one machine set it to 1."
        )
    with socket.create_server(("", 0)) as free:
        port = free.getsockname()[1]
    # as many on each: by itself srun fills the first node, whose last process would then find no GPU
    spread = [f"--nodes={nodes}", f"--ntasks={processes}", f"--ntasks-per-node={processes // nodes}"]
    spread += [f"--cpus-per-task={threads}", "--kill-on-bad-exit=1"]
    spread += [f"--gpus-per-node={gpus // nodes}"] if gpus else []
    met = {_BY_SRUN: "1", "MASTER_ADDR": socket.gethostname(), "MASTER_PORT": str(port)}  # the first is on this node
    command = ["srun", *spread, sys.executable, *arguments]
    code = subprocess.run(command, env={**os.environ, **met}, check=False).returncode
    if code > 128 or code < 0:  # which of them went first, srun does not tell
        _tell_loss(f"one of {processes} processes was lost or told to end")
    return abs(code)


def _take_ranks_of_slurm() -> None:
    """Put what `srun` tells a process where torch looks for it."""
    if _BY_SRUN in os.environ:
        for name, told in (("RANK", "PROCID"), ("LOCAL_RANK", "LOCALID"), ("WORLD_SIZE", "NTASKS")):
            os.environ[name] = os.environ[f"SLURM_{told}"]


def _tell_loss(what: str) -> None:
    print(f"rekon: {what}; the others were ended. The same command goes on from the last saved state.", file=sys.stderr)


def share(items: Sequence) -> Sequence:
    """This process's part of `items`: every world-th one."""
    return items[dist.get_rank() :: dist.get_world_size()] if dist.is_initialized() else items


def total(values: Tensor) -> Tensor:
    """Sum of `values` over processes, on all of them; as they are in a single process."""
    if dist.is_initialized():
        values = values.clone()
        dist.all_reduce(values)
    return values


def agree(flags: Sequence[bool], device: torch.device) -> list[bool]:
    """Flags that any process has raised, on all of them."""
    if not dist.is_initialized():
        return list(flags)
    raised = torch.tensor([float(flag) for flag in flags], device=device)
    dist.all_reduce(raised, op=dist.ReduceOp.MAX)
    return [bool(value) for value in raised.tolist()]


def barrier() -> None:
    """Wait for the other processes."""
    if dist.is_initialized():
        dist.barrier()


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace gradients by their mean over processes. A parameter without one counts as zero, or processes whose
    data take different branches would wait for each other for ever."""
    if not dist.is_initialized():
        return
    bucket: list[Tensor] = []
    size = 0
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        if bucket and (size + parameter.grad.numel() > _BUCKET or parameter.grad.dtype != bucket[0].dtype):
            _average(bucket)
            bucket, size = [], 0
        bucket.append(parameter.grad)
        size += parameter.grad.numel()
    if bucket:
        _average(bucket)


def same_start(modules: nn.Module) -> None:
    """Give every process the first one's weights."""
    if dist.is_initialized():
        for value in modules.state_dict().values():
            dist.broadcast(value, src=0)


def _average(gradients: list[Tensor]) -> None:
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))
