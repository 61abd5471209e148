"""The test cluster, the run without disturbances, and checkouts that are held to it."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow"))  # for `submission`
sys.path.insert(0, str(Path(__file__).parent))  # for these two
from checkout import HISTORY, RECORD, RUN, Checkout

from cluster import Cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    made = Cluster(tmp_path_factory.mktemp("slurm"))
    try:
        yield made.start()
    finally:
        made.stop()


@pytest.fixture(scope="session")
def environment(cluster) -> dict[str, str]:
    """A login shell's: nothing of a test runner's, `rekon` and the cluster's commands on the path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "PYTEST_", "SBATCH_"))}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    path = [str(cluster.bin), str(Path(sys.executable).parent), kept["PATH"]]
    return kept | {"PATH": os.pathsep.join(path)}


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, environment) -> Checkout:
    """The tiny workflow, on this machine, without a cluster; once for all processes that test."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    made = Checkout(folder / "undisturbed", environment)
    with (folder / "undisturbed.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.folder.exists():
            made.set_up()
            made("tables", slurm=False)
    return made


@pytest.fixture
def checkout(cluster, undisturbed, environment, tmp_path):
    """One that has everything but the trained network and what follows from it."""
    folder = tmp_path / "checkout"
    shutil.copytree(undisturbed.folder, folder, symlinks=True)
    for name in (RUN, RECORD, HISTORY, "out.txt"):
        (folder / name).unlink()
    for name in ("results/tiny/ueps", "reports", "work", "logs"):
        shutil.rmtree(folder / name, ignore_errors=True)
    made = Checkout(folder, environment)
    try:
        yield made
    finally:
        if made.started is not None and made.started.poll() is None:
            made.kill()
        if left := cluster.jobs("all"):
            cluster.cancel(*left)
            cluster.wait_until(lambda: not cluster.jobs("all"), "jobs to end", 40, strict=False)
