"""One training at a time in a state folder: two would write the same state and history."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from rekon.errors import UserError


@contextlib.contextmanager
def sole(folder: Path, first: bool = True) -> Iterator[None]:
    """Hold `folder` for this training, however it ends; UserError naming the process that holds it already.

    first: whether this is the first process of its training; the others come under its lock. Snakemake's own lock ends
    with Snakemake, while a job that it started may live on. On file systems without locks nothing is held.
    """
    if not first:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "lock"
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read() or "another process"
            raise UserError(f"{folder}: {holder} is training here; end it, then start again.") from None
        except OSError:
            yield
            return
        file.truncate(0)
        job = f" (Slurm job {os.environ['SLURM_JOB_ID']})" if "SLURM_JOB_ID" in os.environ else ""
        file.write(f"process {os.getpid()} on {socket.gethostname()}{job}")
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
