"""The state of one job, from its outputs, its log, its saved state and Snakemake's markers."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from rekon.errors import UserError
from rekon.reporting import status_files as files
from rekon.reporting.records import lines
from rekon.training.progress import duration

# done: complete. due: complete, but made from something else than what is there now, so it will be made again.
# running: at work. silent: at work as far as Snakemake's marker tells, without a sign of life. queued: handed to the
# cluster, not begun. stopped: nobody is at work, and it will go on from its saved state or start again. failed: it
# ended with an error. waiting: not begun.
State = Literal["done", "due", "running", "silent", "queued", "stopped", "failed", "waiting"]
STATES: tuple[State, ...] = get_args(State)
QUIET = 600.0  # seconds without a sign of life that are normal: a log line comes every 30 s, validations take longer


@dataclass(frozen=True)
class Job:
    """A job by its files, relative to the working directory."""

    outputs: tuple[str, ...]
    log: str
    work: str | None = None  # folder of its state and growing history
    talks: bool = False  # whether its log grows while it is at work
    steps: int | None = None  # how many it has, where that is known


@dataclass(frozen=True)
class Look:
    """What is known of a job (or of several: `done` of `total`). Times in seconds."""

    state: State
    note: str = ""  # what it waits for, why it failed, where it stopped
    step: int | None = None
    steps: int | None = None
    loss: float | None = None
    rate: float | None = None  # steps per second
    left: float | None = None
    silent: float | None = None  # since its last sign of life; of a job that says nothing, since it began
    log: str | None = None
    done: int = 0
    total: int = 1
    waits: tuple[str, ...] = ()  # what is missing of a job's inputs
    parts: tuple[State, ...] = ()  # of several jobs: the state of each

    @property
    def states(self) -> tuple[State, ...]:
        """The state of every job in it."""
        return self.parts or ((self.state,) if self.total else ())


def look(job: Job, markers: files.Markers, root: Path, now: float) -> Look:
    """The state of a job: done, running, silent, queued, stopped, failed, or waiting (for what, others know)."""
    begun = next((markers.begun[name] for name in job.outputs if name in markers.begun), None)
    if begun is not None:
        return _begun(job, begun, markers, root, now)
    if all((root / name).exists() for name in job.outputs):
        return Look("done", done=1)
    return _ended(job, markers, root)


def merged(looks: list[Look]) -> Look:
    """Several jobs as one: the state that most needs attention, and how many are done."""
    order: tuple[State, ...] = ("failed", "silent", "running", "queued", "stopped", "waiting", "due", "done")
    first = min(looks, key=lambda one: order.index(one.state), default=Look("done", total=0))
    others = sum(one.state == first.state for one in looks) - 1
    more = f" (and {others} more)" if others > 0 and first.state == "failed" else ""
    done, total = sum(one.done for one in looks), sum(one.total for one in looks)
    return replace(first, note=first.note + more, done=done, total=total, parts=sum((one.states for one in looks), ()))


def _begun(job: Job, begun: float, markers: files.Markers, root: Path, now: float) -> Look:
    """A job that has begun and not ended, by Snakemake's marker."""
    written = files.modified(root / job.log)
    number = next((markers.cluster[name] for name in job.outputs if name in markers.cluster), None)
    if number is not None and (written is None or written < begun):
        return Look("queued", f"cluster job {number}", silent=now - begun)
    signs = [begun, *([written] if written else [])]
    if job.work:
        signs += [t for name in ("metrics.jsonl", "state.safetensors") if (t := files.modified(root / job.work / name))]
    silent = max(0.0, now - max(signs))
    told = replace(_progress(job, written, root, now), silent=silent, log=job.log)
    if silent < QUIET or (markers.locked is not None and not job.talks):
        return told
    if markers.locked is not None:
        return replace(told, state="silent", left=None)
    saved = _saved(job, root)
    return replace(told, state="stopped", left=None, note=f"left unfinished{saved}; run snakemake again")


def _progress(job: Job, written: float | None, root: Path, now: float) -> Look:
    """How far a job is: the log knows speed and total, the history may be ahead of it."""
    told = files.progress(files.tail(root / job.log) or "") if written else None
    step, loss, rate = (told.step, told.loss, told.rate) if told else (None, None, None)
    steps = job.steps or (told.steps if told else None)
    left = (steps - step) / rate - (now - (written or now)) if told and steps and step is not None and rate else None
    if job.work:
        # its last line may be of an earlier attempt that was killed behind its saved state, or half-written
        with contextlib.suppress(UserError):
            for row in lines(root / job.work / "metrics.jsonl"):
                if row["step"] >= (step or 0):
                    step = row["step"]
                    loss = float(row["loss"]) if "loss" in row else loss
    return Look("running", "", step, steps, loss, rate, None if left is None else max(0.0, left))


def _ended(job: Job, markers: files.Markers, root: Path) -> Look:
    """A job without outputs at which nobody is at work: it failed, stopped, or has not begun."""
    text, written = files.tail(root / job.log), files.modified(root / job.log)
    if text is None or written is None:
        return Look("waiting")
    end, why = files.ending(text), markers.failures.get(job.log)
    step, steps = end.step, end.steps or job.steps
    if end.kind in ("out of time", "stopped"):
        word = "out of time" if end.kind == "out of time" else why or "interrupted"
        found = Look("stopped", f"{word}; saved at step {step} of {steps}, resubmit", step, steps, log=job.log)
    elif end.kind == "failed":
        found = Look("failed", end.text, log=job.log)
    elif why is not None and end.kind == "unknown":
        found = Look("failed", f"{why}, without a word{_saved(job, root)}", log=job.log)
    elif saved := _saved(job, root):
        found = Look("stopped", f"ended without a word{saved}; run snakemake again", log=job.log)
    else:
        return Look("waiting")
    if markers.locked is not None and written < markers.locked:  # Snakemake has begun anew since
        return Look("waiting", f"last time: {found.note}")
    return found


def _saved(job: Job, root: Path) -> str:
    """Where a job's state was saved, as the end of a sentence."""
    if not job.work:
        return ""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        step = int(json.loads(files.header(root / job.work / "state.safetensors")["state"])["step"])
        return f", saved at step {step}" + (f" of {job.steps}" if job.steps else "")
    return ""


def ago(seconds: float) -> str:
    """`12 min ago`, in the largest unit that fits."""
    if seconds >= 48 * 3600:
        return f"{seconds / 86400:.0f} days ago"
    if seconds >= 2 * 3600:
        return f"{seconds / 3600:.0f} h ago"
    return f"{seconds / 60:.0f} min ago" if seconds >= 120 else f"{duration(seconds)} ago"
