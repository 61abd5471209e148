"""Runs in MLflow: one serial ingest of what training and evaluation left in files.

Neither training nor evaluation talks to MLflow: processes that meet a fresh database together break it, and compute
nodes have no network. Ingest is idempotent: a run is known by its path and the hash of its files. Known and unchanged,
it is left alone; changed, it takes the place of the earlier one; cut short by a kill, it is done again.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import sqlite3
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

from rekon.errors import UserError
from rekon.files import write_json
from rekon.reporting.records import Record, evaluation, training

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

DEFAULT_URI = "sqlite:///mlflow.db"
PATH, CONTENT = "rekon.path", "rekon.content"  # tags; the second is written last and marks a run as complete
PARENT = "mlflow.parentRunId"  # the UI nests by it
# A server that is not there should be noticed in seconds, not in the ten minutes of MLflow's own patience.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}


def ingest(
    runs: Iterable[Path | str],
    results: Iterable[Path | str],
    tracking_uri: str | None,
    receipt: Path | str,
    aggregation: str = "slice",
) -> dict[str, str]:
    """Bring training runs (folders runs/<scale>/<study>/<run>) and evaluations (results/.../<dataset>.csv) to MLflow.

    One experiment per scale and study. Evaluations are nested under their training run, and have none where nothing
    was trained. tracking_uri: None takes MLFLOW_TRACKING_URI, and without that the database mlflow.db in the current
    folder. The receipt is JSON: where to (without user and password) and the hash of every run; equal files give equal
    bytes. Returns path -> "new", "replaced" or "unchanged". Raises UserError for damaged files (before anything is
    written) and for a server or database that does not answer.
    """
    uri = resolve(tracking_uri)
    records = [training(folder) for folder in sorted({Path(run) for run in runs})]
    records += [evaluation(scores, aggregation) for scores in sorted({Path(result) for result in results})]
    with held(uri), tracker(uri) as client:
        done: dict[str, str] = {}
        ids: dict[str, str] = {}  # path of a run -> its id in MLflow
        for name in sorted({record.experiment for record in records}):
            experiment = experiment_id(client, name, uri)
            known = known_runs(client, experiment)
            ids |= {path: found[0].info.run_id for path, found in known.items()}  # parents that were brought earlier
            for record in (record for record in records if record.experiment == name):  # training comes first
                ids[record.path], done[record.path] = _put(client, experiment, record, known.get(record.path, []), ids)
    # absolute paths of this machine do not belong into a receipt
    where = f"sqlite:///{Path(database).name}" if (database := _database(uri)) else public(uri)
    write_json(receipt, {"tracking": where, "runs": {record.path: record.content for record in records}})
    return done


def ui_command(tracking_uri: str | None = None, port: int = 5000) -> tuple[list[str], dict[str, str]]:
    """Command line and extra environment of the MLflow UI; prints where the runs are compared, for one to open.

    The address of the database goes by the environment, because other users see command lines. For a server that runs
    elsewhere the command is empty: there is only the link. Raises UserError when nothing is tracked yet.
    """
    uri = resolve(tracking_uri)
    if uri.startswith("http"):
        print(f"The runs are at {public(uri).rstrip('/')}/#/experiments")
        return [], {}
    page = f"http://127.0.0.1:{port}/#/experiments"
    database = _database(uri)
    if database is None:
        print(f"Runs, once the server is up: {page}")
    else:
        if not Path(database).exists():
            raise UserError(f"{database}: nothing is tracked yet; run `make demo` first.")
        with sqlite3.connect(f"{Path(database).absolute().as_uri()}?mode=ro", uri=True) as connection:
            query = "SELECT name, experiment_id FROM experiments WHERE lifecycle_stage = 'active' ORDER BY name"
            found = [(name, number) for name, number in connection.execute(query) if "/" in name]
        print("Charts, once the server is up (about 15 s):")
        for name, number in found:
            print(f"  {name}: {page}/{number}/runs?compareRunsMode=CHART")
    arguments = ["ui", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    environment = ENVIRONMENT | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_BACKEND_STORE_URI": uri}
    return [sys.executable, "-m", "mlflow", *arguments], environment


def public(uri: str) -> str:
    """A tracking address without user, password, query string and fragment."""
    scheme, mark, rest = uri.partition("://")
    # the last @, whatever characters a password has; then host and path
    return f"{scheme}{mark}{re.split('[?#]', rest.rpartition('@')[2])[0]}"


def resolve(given: str | None) -> str:
    """The tracking address that counts: as given, MLFLOW_TRACKING_URI, or mlflow.db in the current folder."""
    return given or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI


def _database(uri: str) -> str | None:
    """File of an SQLite address; None for all others."""
    return uri.removeprefix("sqlite:///").split("?")[0] if uri.startswith("sqlite:///") else None


def experiment_id(client: MlflowClient, name: str, uri: str) -> str:
    """Id of the experiment, made, or taken out of the bin, where needed."""
    found = client.get_experiment_by_name(name)
    if found is None:
        database = _database(uri)
        # beside the database; a server knows a place itself
        store = (Path(database).absolute().parent / "mlartifacts" / name).as_uri() if database else None
        return client.create_experiment(name, artifact_location=store)
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return found.experiment_id


def known_runs(client: MlflowClient, experiment: str) -> dict[str, list[Run]]:
    """Runs of ours that are there already, by path, complete ones first."""
    known: dict[str, list[Run]] = {}
    token = None
    while True:
        page = client.search_runs([experiment], max_results=1000, page_token=token)
        for run in page:
            if path := run.data.tags.get(PATH):
                known.setdefault(path, []).append(run)
        token = page.token
        if not token:
            break
    for runs in known.values():
        runs.sort(key=lambda run: CONTENT not in run.data.tags)
    return known


def _put(
    client: MlflowClient, experiment: str, record: Record, known: list[Run], ids: dict[str, str]
) -> tuple[str, str]:
    """Make sure that exactly one run stands for `record`; returns its id and what was done."""
    parent = ids.get(record.parent or "")
    same = next((run for run in known if run.data.tags.get(CONTENT) == record.content), None)
    if same is None:
        number, state = _create(client, experiment, record, parent), "replaced" if known else "new"
    else:
        number, state = same.info.run_id, "unchanged"
        if parent and same.data.tags.get(PARENT) != parent:  # the training run was replaced, to no effect here
            client.set_tag(number, PARENT, parent)
    for run in known:
        if run is not same:
            client.delete_run(run.info.run_id)
    return number, state


def _create(client: MlflowClient, experiment: str, record: Record, parent: str | None) -> str:
    from mlflow.entities import Metric, Param

    tags = {**record.tags, PATH: record.path} | ({PARENT: parent} if parent else {})
    tags = {key: value[:5000] for key, value in tags.items()}  # MLflow's limits: 8000, for parameters 6000
    run = client.create_run(experiment, int(record.started * 1000), tags, record.name)
    number = run.info.run_id
    params = [Param(key, value[:5000]) for key, value in record.params.items()]
    for start in range(0, len(params), 100):
        client.log_batch(number, params=params[start : start + 100])
    points = [
        Metric(allowed(point.name), point.value, int((record.started + point.seconds) * 1000), point.step)
        for point in record.points
    ]
    for start in range(0, len(points), 1000):
        client.log_batch(number, metrics=points[start : start + 1000])
    for path in record.artefacts:
        client.log_artifact(number, str(path))
    panel = next((path for path in record.artefacts if path.suffix == ".npz"), None)
    if panel:
        with tempfile.TemporaryDirectory() as folder:
            client.log_artifact(number, str(_picture(panel, Path(folder) / f"{panel.stem}.png")))
    client.set_terminated(number, "FINISHED", int(record.ended * 1000))
    client.set_tag(number, CONTENT, record.content)
    return number


def allowed(name: str) -> str:
    """A metric's name with the characters that MLflow takes."""
    return re.sub(r"[^\w\-. :/]", "_", name)


def _picture(panel: Path, out: Path) -> Path:
    """Reference (where there is one), reconstruction and zero-filled image, a row per sampling, for the UI."""
    import numpy as np
    from matplotlib.image import imsave

    from rekon.evaluation.panel import read_panels

    shown = read_panels(panel).values()
    rows = [[image for image in (p.target, p.reconstruction, p.zero_filled) if image is not None] for p in shown]
    imsave(out, np.block(rows), cmap="gray", vmin=0.0, vmax=float(rows[0][0].max()) or 1.0)
    return out


@contextmanager
def held(uri: str) -> Iterator[None]:
    """Only one ingest at a time into a local database; the second waits."""
    database = _database(uri)
    if database is None:
        yield
        return
    try:
        Path(database).absolute().parent.mkdir(parents=True, exist_ok=True)
        lock = Path(f"{database}.lock").open("w")  # noqa: SIM115
    except OSError as error:
        raise UserError(
            f"{database}: cannot be written ({error.strerror}); set MLFLOW_TRACKING_URI to another."
        ) from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def tracker(uri: str) -> Iterator[MlflowClient]:
    """A client; what goes wrong with it is told in one sentence, without user and password."""
    os.environ |= {name: value for name, value in ENVIRONMENT.items() if name not in os.environ}
    for name in ("alembic", "mlflow.store.db.utils", "urllib3.connectionpool"):
        logging.getLogger(name).setLevel(logging.ERROR)
    parts = urlsplit(uri)
    if parts.scheme in ("http", "https") and parts.username:
        # MLflow takes them from here, and then never prints them as part of an address
        os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username)
        os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password or "")
        uri = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    if database := _database(uri):
        # MLflow keeps a connection per address, so an address must not mean another file in another folder
        uri = uri.replace(database, str(Path(database).absolute()), 1)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)  # the first contact sets up a fresh database
    except (MlflowException, RequestException, SQLAlchemyError, ImportError, OSError) as error:
        raise UserError(
            f"{public(uri)}: no tracking server or database answers there ({_reason(error, parts)}); start it, or "
            "mend or unset MLFLOW_TRACKING_URI."
        ) from None
    try:
        yield client
    except (MlflowException, RequestException, SQLAlchemyError) as error:
        raise UserError(
            f"{public(uri)}: tracking stopped ({_reason(error, parts)}); run the same command again, which goes on "
            "where this stopped."
        ) from None


def _reason(error: Exception, parts: SplitResult) -> str:
    """The first line of an error, short, without secrets."""
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    text = re.sub(r"://\S*@", "://", text)
    for secret in filter(None, (parts.password, parts.query)):
        text = text.replace(unquote(secret), "***").replace(secret, "***")
    return text[:200].rstrip(". ")
