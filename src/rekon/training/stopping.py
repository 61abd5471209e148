"""Ends of training before its end: the time budget, and signals."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class BudgetReached(Exception):
    """The time is up; the state is saved. The same command goes on (the command line exits 75)."""


@contextlib.contextmanager
def noted_signals() -> Iterator[list[int]]:
    """Note SIGINT and SIGTERM in a list instead of dying in the middle of a step; a second SIGINT acts as usual.

    A second SIGTERM does not: where Slurm ends a job, its launchers hand on what every process has had already.
    """
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # Python refuses handlers elsewhere
        yield caught
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, _: FrameType | None) -> None:
        caught.append(number)
        if number == signal.SIGINT:
            signal.signal(number, previous[signal.SIGINT])

    try:
        for number in previous:
            signal.signal(number, note)
        yield caught
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def obey(caught: list[int]) -> None:
    """End as the noted signal would have; other processes of the run may have caught it instead of this one."""
    if caught and caught[0] == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + signal.SIGTERM)
