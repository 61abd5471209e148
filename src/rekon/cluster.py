"""What Slurm keeps of a folder: jobs that outlive the Snakemake that submitted them, and how jobs ended."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

from rekon.errors import UserError

GRACE = 120.0  # seconds that jobs get to save and to end
LOGS = ".snakemake/slurm_logs"  # of jobs that failed, below the folder; those of the others are deleted
# by Slurm's accounting, by control groups, and by the shell of a job of which the system killed a process
_NO_MEMORY = re.compile(r"exceeded memory limit|oom[-_ ]?kill|out[- ]of[- ]memory|killed from outside", re.IGNORECASE)
_SENT_BY_SNAKEMAKE = ("rule_", "group_")  # how the comments of its jobs begin


def cancel_orphans(folder: Path | str = ".", grace: float = GRACE) -> list[str]:
    """Cancel the jobs that a killed Snakemake left in `folder`, and wait until they are gone; returns their numbers.

    For the beginning of a run, when Snakemake holds its lock on the folder: whatever still runs here is an orphan, and
    would train beside the job that is about to take its place. Nothing happens where there is no Slurm, or where it
    does not answer. Raises UserError when a job is still there after `grace` seconds.
    """
    found = _jobs(Path(folder).resolve())
    if not found:
        return []
    _slurm("scancel", *found)
    limit = time.monotonic() + grace
    while left := sorted(set(found) & set(_jobs(Path(folder).resolve()))):
        if time.monotonic() > limit:
            raise UserError(
                f"jobs {', '.join(left)} of an earlier Snakemake in this folder do not end; `scancel` them, then start "
                "again."
            )
        time.sleep(1.0)
    return found


def short_of_memory(folder: Path | str = ".", since: float = 0.0) -> list[str]:
    """`rule wildcards (Slurm job N)` of each job whose last attempt ran out of memory, after `since` (s since 1970).

    Slurm says so in its own log alone, which Snakemake names but does not show.
    """
    root, found = Path(folder) / LOGS, []
    for place in sorted({path.parent for path in root.rglob("*.log")}):
        last = max(place.glob("*.log"), key=lambda path: path.stat().st_mtime)
        if last.stat().st_mtime >= since and _NO_MEMORY.search(last.read_text(errors="replace")):
            name = " ".join(place.relative_to(root).parts).removeprefix("rule_")
            found.append(f"{name} (Slurm job {last.stem})")
    return found


def _jobs(folder: Path) -> list[str]:
    """Numbers of one's own jobs that a Snakemake in `folder` has submitted and that have not ended."""
    if shutil.which("squeue") is None:
        return []
    listed = _slurm("squeue", "--noheader", "--user", str(os.getuid()), "--format", "%i|%k|%Z")
    found = []
    for line in listed.splitlines():
        number, comment, place = line.split("|", 2)
        if comment.startswith(_SENT_BY_SNAKEMAKE) and Path(place).resolve() == folder:
            found.append(number)
    return found


def _slurm(*command: str) -> str:
    """What a Slurm command prints; nothing where it fails or does not come back."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
