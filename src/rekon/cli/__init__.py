"""The command line: one command per rule, and a few for people. Heavy imports stay inside the commands."""

from __future__ import annotations

import sys

from rekon import caches

# importing registers them
from rekon.cli import check, data, estimate, people, reading, reports, runs, status  # noqa: F401
from rekon.cli.app import app
from rekon.errors import UserError


def main() -> None:
    """Entry point: a user's mistake is one sentence and exit code 2, too little memory one sentence and exit code 1."""
    caches.keep_below_tmpdir()
    try:
        app()
    except UserError as error:
        print(f"rekon: {error}", file=sys.stderr)
        sys.exit(2)
    except (MemoryError, RuntimeError) as error:
        place = _short_of_memory(error)
        if place is None:
            raise
        first = str(error).partition("\n")[0] or type(error).__name__
        print(f"rekon: out of memory {place} ({first})", file=sys.stderr)
        sys.exit(1)


def _short_of_memory(error: Exception) -> str | None:
    """Where memory ran out and what helps; None where the error is another. Torch's own errors are known by name."""
    if type(error).__name__ == "OutOfMemoryError":
        return "on the GPU: ask for more GPUs ('compute.gpus'), or take a smaller 'training.batch'"
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):
        return "on the machine: raise 'compute.memory_gb' in the scale's file under config/"
    return None
