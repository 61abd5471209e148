"""How far transfers are: bars on a terminal, a plain line now and then in a log. Goes to standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bar

EVERY = 30.0  # seconds between two lines in a log


@contextmanager
def bars() -> Iterator[Bar | None]:
    """Bars for files that are fetched at the same time; None where no terminal shows them."""
    if not sys.stderr.isatty():
        yield None
        return
    with _bar() as bar:
        yield bar


class Progress:
    """Progress of one file; a context manager. Sizes in bytes. bar: shown among the bars of other files."""

    def __init__(self, name: str, bar: Bar | None = None) -> None:
        self.name = name
        self.done = 0
        self.total: int | None = None
        self.spoken = time.monotonic()
        self.shared = bar is not None
        self.bar = bar or (_bar() if sys.stderr.isatty() else None)
        if self.bar:
            self.task = self.bar.add_task(name, total=None, visible=False)

    def __enter__(self) -> Progress:
        if self.bar and not self.shared:
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar and self.shared:
            self.bar.remove_task(self.task)
        elif self.bar:
            self.bar.stop()
        elif kind is None and self.done:
            self._line("done")

    def begin(self, done: int, total: int | None) -> None:
        """A request starts: `done` bytes are there already, `total` is the whole file's size where it is known."""
        self.done, self.total = done, total
        if self.bar:
            self.bar.update(self.task, completed=done, total=total, visible=True)
        else:
            self._line("continuing" if done else "fetching")

    def advance(self, size: int) -> None:
        """`size` more bytes are on disk."""
        self.done += size
        if self.bar:
            self.bar.update(self.task, completed=self.done)
        elif time.monotonic() - self.spoken >= EVERY:
            self._line("fetching")

    def note(self, text: str) -> None:
        """Say something without breaking the bar."""
        line = f"{self.name}: {text}" if self.name else text
        if self.bar:
            self.bar.console.print(line, markup=False, highlight=False)
        else:
            print(line, file=sys.stderr, flush=True)

    def _line(self, what: str) -> None:
        self.spoken = time.monotonic()
        size = f"{self.done / 1e6:.1f}" + (f" of {self.total / 1e6:.1f}" if self.total else "")
        print(f"{self.name}: {what}, {size} MB", file=sys.stderr, flush=True)


def _bar() -> Bar:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Bar(*columns, TimeRemainingColumn(), console=Console(stderr=True))
