"""What files tell of jobs, without asking Snakemake, Slurm or torch: markers, locks, logs, headers."""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

_TAIL = 64 * 1024  # bytes of a log that are read: its end
_LARGEST_HEADER = 16 * 2**20
_LOGS = 5  # of Snakemake's own logs, the newest, that are searched for failures
_NOISE = re.compile(
    r"^(Traceback|During handling|The above exception|File |warnings\.warn|Shutting down|Select jobs|Execute \d|"
    r"Complete log|Exiting because|WorkflowError|RuleException|CalledProcessError|[=\-*]{5,}|\[rank\d+\]:\[)"
)
_ERROR = re.compile(
    r"error|exception|killed|out of memory|oom|cancelled|no space|not found|denied|abort", re.IGNORECASE
)
_EXCEPTION = re.compile(r"^[A-Za-z_][\w.]*(Error|Exception|Interrupt|Exit|Warning|Failure)\b")
_PROGRESS = re.compile(r"step (\d+)/(\d+) \(\d+ %\), (.*?)(?:, )?([\d.]+) (steps/s|s/step), .* left$")
_TRIALS = re.compile(r"(\d+) of (\d+) trial reconstructions$")
_SAVED = re.compile(r"(out of time|stopped) after step (\d+) of (\d+)")
_COMMAND = re.compile(r"> (\S+\.log) 2>&1'? (?:returned non-zero exit status (\d+)|died with <Signals\.(\w+): \d+>)")
_BLOCK = re.compile(r"^Error in rule \w+:\n((?:    .*\n)+)", re.MULTILINE)
_KILLED = "killed (SIGKILL), as happens when memory runs out"
_SIGNALS = {"137": _KILLED, "SIGKILL": _KILLED, "143": "ended by SIGTERM", "SIGTERM": "ended by SIGTERM",
            "130": "interrupted", "SIGINT": "interrupted"}  # fmt: skip


@dataclass(frozen=True)
class Markers:
    """Snakemake's own records: jobs that have begun and not ended, its lock, and how jobs failed.

    Times are seconds since 1970. A Snakemake that was killed leaves markers and lock behind, so neither proves life.
    """

    begun: Mapping[str, float] = field(default_factory=dict)  # output of a job -> when it began, or was submitted
    cluster: Mapping[str, str] = field(default_factory=dict)  # output -> number of the cluster job, until that begins
    locked: float | None = None  # since when Snakemake has held the folder's lock
    failures: Mapping[str, str] = field(default_factory=dict)  # log file of a job -> how it ended, one phrase


def read_markers(root: Path) -> Markers:
    """The records below root/.snakemake; empty where there are none."""
    own, begun, cluster = root / ".snakemake", dict[str, float](), dict[str, str]()
    for path in _files(own / "incomplete"):
        # long names are split over folders whose names begin with @
        encoded = "".join(part.removeprefix("@") for part in path.relative_to(own / "incomplete").parts)
        try:
            name = urlsafe_b64decode(encoded).decode()
            begun[name] = path.stat().st_mtime
            number = json.loads(path.read_text() or "{}").get("external_jobid")
        except (ValueError, OSError, AttributeError):  # ended just now, or not Snakemake's
            continue
        if number is not None:
            cluster[name] = str(number)
    locks = [time for path in _files(own / "locks") if (time := modified(path)) is not None]
    return Markers(begun, cluster, min(locks, default=None), _failures(own / "log"))


def modified(path: Path) -> float | None:
    """When a file was last written, seconds since 1970; None where there is none."""
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def tail(path: Path) -> str | None:
    """The last lines of a log; None where there is none."""
    try:
        with path.open("rb") as handle:
            handle.seek(0, 2)
            start = max(0, handle.tell() - _TAIL)
            handle.seek(start)
            text = handle.read().decode(errors="replace")
    except OSError:
        return None
    return text.partition("\n")[2] if start else text


class Progress(NamedTuple):
    """How far a job says that it is."""

    step: int
    steps: int
    rate: float | None = None  # steps per second
    loss: float | None = None


def progress(text: str) -> Progress | None:
    """The last progress that a log tells; None where it tells none."""
    for line in reversed(text.splitlines()):
        if found := _PROGRESS.search(line):
            speed = float(found[4])
            rate = speed if found[5] == "steps/s" else 1 / speed if speed else None
            loss = re.search(r"(?:^|, )loss ([-\d.e+]+)", found[3])
            return Progress(int(found[1]), int(found[2]), rate, _number(loss[1]) if loss else None)
        if found := _TRIALS.search(line):
            return Progress(int(found[1]), int(found[2]))
    return None


class Ending(NamedTuple):
    """How a job that left no outputs ended, as far as its log tells."""

    kind: str  # failed | out of time | stopped (its state saved) | finished (its outputs are gone) | unknown
    text: str = ""  # of a failure: its first useful line
    step: int | None = None  # where it was saved
    steps: int | None = None


def ending(text: str) -> Ending:
    """Read the end of a job from its log: a user's sentence first, then its own farewell, then what crashed it."""
    lines = [_plain(line) for line in text.splitlines() if line.strip()]
    sentences = [line.removeprefix("rekon: ") for line in lines if line.startswith("rekon: ")]
    if sentences:
        return Ending("failed", sentences[0])
    if saved := next((found for line in reversed(lines) if (found := _SAVED.search(line))), None):
        late = any("out of time after step" in line for line in lines)
        return Ending("out of time" if late else "stopped", "", int(saved[2]), int(saved[3]))
    if crash := _crash(lines):
        return Ending("failed", crash)
    if lines and re.search(r": done, .* of training; kept the weights", lines[-1]):
        return Ending("finished")
    return Ending("unknown")


def header(path: Path) -> dict[str, Any]:
    """Metadata of a safetensors file, read without its tensors; empty where there is no such file."""
    try:
        with path.open("rb") as handle:
            length = int.from_bytes(handle.read(8), "little")
            if length > _LARGEST_HEADER:
                return {}
            found = json.loads(handle.read(length)).get("__metadata__", {})
            return found if isinstance(found, dict) else {}
    except (OSError, ValueError, AttributeError):
        return {}


def mapping(path: Path) -> dict[str, Any]:
    """A JSON file that holds a mapping; empty where it is not there, or something else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _crash(lines: list[str]) -> str | None:
    """The line that names a crash: the exception of the last traceback, else the last line that tells of an error."""
    traced = [i for i, line in enumerate(lines) if line.startswith("Traceback (most recent call last)")]
    for start in reversed(traced):
        # frames are indented; the exception is not
        after = (line for line in lines[start + 1 :] if not line.startswith((" ", "\t")))
        found = next((line for line in after if _EXCEPTION.match(line) and "ChildFailedError" not in line), None)
        if found:
            return found
    told = [line.strip() for line in lines if _ERROR.search(line) and not _NOISE.match(line.strip())]
    return told[-1] if told else None


def _failures(folder: Path) -> dict[str, str]:
    """Log file of a job -> how it ended, from Snakemake's own newest logs; the latest of a job counts."""
    found: dict[str, str] = {}
    for path in sorted(_files(folder))[-_LOGS:]:  # named by their time
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        for log, status, signal in _COMMAND.findall(text):
            found[log] = _SIGNALS.get(status or signal, f"exit status {status}" if status else f"ended by {signal}")
        for block in _BLOCK.findall(text):
            log_line, status_line = (
                re.search(r"^    log: (\S+)", block, re.M),
                re.search(r"SLURM status is: '(\w+)'", block),
            )
            if log_line and status_line:
                found[log_line[1]] = f"Slurm says {status_line[1]}"
    return found


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else iter(())


def _plain(line: str) -> str:
    """A line without what torchrun puts before it."""
    return re.sub(r"^\[(?:rank|default)\d+\]: ?", "", line.rstrip())


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
