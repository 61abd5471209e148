"""Where training stands: a bar with the time left on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO


class Progress:
    """Shows steps, speed, time left and the latest value; does nothing on all but the first process."""

    def __init__(self, title: str, steps: int, done: int = 0, show: bool = True, stream: TextIO | None = None) -> None:
        self.title, self.steps, self.show = title, steps, show
        self._stream = stream or sys.stderr
        self._first, self._start = done, time.monotonic()
        self._next = self._start + 5.0
        self._bar = _bar(title, steps, done, self._stream) if show and self._stream.isatty() else None

    @property
    def due(self) -> bool:
        """Whether `update` will show something: values cost a wait for the GPU, so fetch them only then."""
        return self.show and time.monotonic() >= self._next

    def update(self, done: int, text: str = "") -> None:
        """Show `done` finished steps, if it is time."""
        if not self.due:
            return
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done, text=text)
            self._next = now + 0.2
            return
        # every five seconds at first, later every half minute: a night's log stays readable
        self._next = now + (5.0 if now - self._start < 60 else 30.0)
        speed = (done - self._first) / max(now - self._start, 1e-9)
        left = duration((self.steps - done) / speed) if speed else "?"
        percent = 100 * done // self.steps
        self.say(f"step {done}/{self.steps} ({percent} %), {text}, {rate(speed)}, {left} left")

    def say(self, text: str) -> None:
        """A line of its own: validations, saving, resuming."""
        if not self.show:
            return
        if self._bar is not None:
            self._bar.console.print(f"{self.title}: {text}", highlight=False, markup=False)
        else:
            print(f"{self.title}: {text}", file=self._stream, flush=True)

    def close(self, done: int | None = None) -> None:
        if self._bar is not None:
            if done is not None:
                self._bar.update(self._bar.task_ids[0], completed=done)
            self._bar.stop()


def duration(seconds: float) -> str:
    """Seconds in words: `41 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def rate(steps_per_second: float) -> str:
    """A speed, by the step where steps are slow."""
    if steps_per_second >= 1 or steps_per_second <= 0:
        return f"{steps_per_second:.1f} steps/s"
    return f"{1 / steps_per_second:.1f} s/step"


def _bar(title: str, steps: int, done: int, stream: TextIO) -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[text]}"),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=Console(file=stream),
    )  # fmt: skip
    bar.add_task(title, total=steps, completed=done, text="")
    bar.start()
    return bar
