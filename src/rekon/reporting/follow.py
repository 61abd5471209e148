"""Runs that are still training, live in MLflow: their histories, copied from work/ as they grow.

A live run carries the path that the finished run will have and no hash of its contents, so that the ingest, which
follows the training, puts the finished run in its place.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rekon.errors import UserError
from rekon.reporting.records import lines, points_of
from rekon.reporting.tracking import (
    CONTENT,
    PATH,
    allowed,
    experiment_id,
    held,
    known_runs,
    resolve,
    tracker,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient


class Follower:
    """What was copied so far. `live` holds, by path of the run, its id in MLflow and the last step copied."""

    def __init__(self, client: MlflowClient, uri: str, root: Path) -> None:
        self.client, self.uri, self.root = client, uri, root
        self.live: dict[str, tuple[str, int]] = {}

    def round(self) -> dict[str, int]:
        """Copy what is new; returns the last step of every run that is training."""
        for history in sorted(self.root.glob("work/*/*/*/metrics.jsonl")):
            scale, study, run = history.parts[-4:-1]
            path = f"runs/{scale}/{study}/{run}"
            if not self._finished(history, self.root / path / "run.json"):
                # a line that a killed run left half-written is overwritten when it goes on
                with contextlib.suppress(UserError):
                    self._copy(path, f"{scale}/{study}", run, history)
            elif path in self.live:
                self.client.set_terminated(self.live.pop(path)[0])
        return {path: step for path, (_, step) in self.live.items()}

    def _copy(self, path: str, experiment: str, run: str, history: Path) -> None:
        from mlflow.entities import Metric
        from mlflow.exceptions import MlflowException

        rows = lines(history)
        number, last = self.live.get(path) or (self._begin(path, experiment, run), -1)
        new = points_of([row for row in rows if row["step"] > last], 0.0)
        now = int(time.time() * 1000)
        metrics = [Metric(allowed(point.name), point.value, now, point.step) for point in new]
        try:
            for start in range(0, len(metrics), 1000):
                self.client.log_batch(number, metrics=metrics[start : start + 1000])
        except MlflowException:
            # somebody deleted the live run, perhaps an ingest of an earlier training: begin anew next time
            if self.client.get_run(number).info.lifecycle_stage == "active":
                raise
            del self.live[path]
            return
        self.live[path] = number, max([last, *(row["step"] for row in rows)])

    def _begin(self, path: str, experiment: str, run: str) -> str:
        where = experiment_id(self.client, experiment, self.uri)
        for old in known_runs(self.client, where).get(path, []):
            if CONTENT not in old.data.tags:  # of an earlier follower
                self.client.delete_run(old.info.run_id)
        tags = {PATH: path, "stage": "training", "mlflow.source.name": "rekon"}
        number = self.client.create_run(where, tags=tags, run_name=f"{run} (live)").info.run_id
        self.live[path] = number, -1
        return number

    @staticmethod
    def _finished(history: Path, provenance: Path) -> bool:
        return provenance.exists() and provenance.stat().st_mtime >= history.stat().st_mtime


def follow(
    tracking_uri: str | None = None, root: Path | str = ".", seconds: float = 5.0, rounds: int | None = None
) -> None:
    """Copy the histories of all runs below root/work to MLflow every `seconds`, until interrupted (or for `rounds`).

    Raises UserError when the server or database does not answer.
    """
    uri = resolve(tracking_uri)
    with held(uri), tracker(uri) as client:
        follower = Follower(client, uri, Path(root))
    told: dict[str, int] = {}
    count = 0
    with contextlib.suppress(KeyboardInterrupt):
        while rounds is None or count < rounds:
            with held(uri), tracker(uri):
                steps = follower.round()
            if steps != told:
                print(
                    ", ".join(f"{path.removeprefix('runs/')}: step {step}" for path, step in steps.items()), flush=True
                )
                told = steps
            count += 1
            if rounds is None or count < rounds:
                time.sleep(seconds)
