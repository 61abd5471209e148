"""A status as people and programs get it, and what it costs to ask."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from status_folder import NOW, trained, write_sets

from rekon.plan import Plan, plan
from rekon.reporting.status import status
from rekon.reporting.status_view import console, view

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def demo() -> Plan:
    return plan(yaml.safe_load((ROOT / "config/demo.yaml").read_text()), ROOT)


@pytest.fixture
def folder(tmp_path, demo) -> Path:
    write_sets(tmp_path, demo)
    return tmp_path


def test_the_page_names_every_run_and_counts_every_job(folder, demo):
    trained(folder, demo, "ueps/ueps")
    found, page = status(demo, folder, NOW), console()
    with page.capture() as capture:
        page.print(view(found))
    text = capture.get()
    assert all(f"\n{run} " in text for _, run in demo.recipes)
    jobs = sum(len(look.states) for look in found.looks)
    assert jobs == len(demo.trained()) + 4 + sum(demo.tuned(*key) for key in demo.recipes) + len(demo.scored()) + len(
        found.shared
    )


def test_plain_data_survive_json(folder, demo):
    value = json.loads(json.dumps(status(demo, folder, NOW).plain()))
    assert value["scale"] == "demo" and value["runs"][0]["stages"]["scored"]["state"] == "waiting"


def test_it_is_quick_and_needs_no_torch():
    code = (
        "import sys, time, yaml; start = time.process_time()\n"
        "from rekon.plan import plan\n"
        "from rekon.reporting.status import status\n"
        "from rekon.reporting.status_view import view\n"
        "view(status(plan(yaml.safe_load(open('config/full.yaml')))))\n"
        "print(time.process_time() - start, 'torch' in sys.modules, 'pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    seconds, *heavy = done.stdout.split()
    assert float(seconds) < 2 and heavy == ["False", "False"]


def test_the_command(folder):
    (folder / "config").symlink_to(ROOT / "config")

    def rekon(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "rekon", "status", *arguments], cwd=folder, capture_output=True, text=True
        )

    assert "sim-fastmri-brain/train" in rekon().stdout
    assert json.loads(rekon("--json").stdout)["scale"] == "demo"
    assert rekon("--json", "--watch", "1").returncode == 2
    assert "config/other.yaml: no such file" in rekon("--scale", "other").stderr
