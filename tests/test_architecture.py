"""The house: imports only go down, rooms know no sibling paper, start-up stays light, files stay short."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "rekon"
FLOOR = {
    "caches": 0, "errors": 0, "files": 0, "hdf5": 0, "safetensors": 0, "randomness": 0, "config": 0, "provenance": 0,
    "cluster": 1, "recipe": 1, "physics": 1, "planned": 1, "plan": 2,
    "data": 2, "nn": 2, "training": 2, "evaluation": 2,
    "classical": 3, "ueps": 3, "nas": 3, "more": 3, "dpm": 3, "reading": 3,
    "studies": 4, "reporting": 4, "estimate": 4,
    "cli": 5,
}  # fmt: skip
# rooms of one floor that may know each other: the catalogue lists simulated volumes through the phantom's naming
ALLOWED = {("planned", "data"), ("studies", "reporting"), ("reporting", "studies")}


def imports(path: Path) -> set[str]:
    """Rooms of rekon that a file imports, at its top or inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] if node.module != "rekon" else [f"rekon.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("rekon.")}
    return found


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_only_go_down(path):
    here = room(path)
    if here in ("__init__", "__main__"):
        return
    for there in imports(path) - {here}:
        down = FLOOR[there] < FLOOR[here] or (FLOOR[here] == 0 and FLOOR[there] == 0)
        assert down or (here, there) in ALLOWED, f"{here} must not import {there}"


def test_loop_and_scoring_know_no_paper_and_no_data_set():
    for name in ("training", "evaluation"):
        for path in (SOURCE / name).rglob("*.py"):
            known = {"config", "errors", "files", "safetensors", "randomness", "provenance", "physics"}
            assert imports(path) <= {name} | known


def test_files_have_one_subject_and_stay_short():
    long = {str(p.relative_to(SOURCE)): n for p in SOURCE.rglob("*.py") if (n := len(p.read_text().splitlines())) > 330}
    assert long == {}


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("rekon.cli", {"torch", "numpy", "pandas", "mlflow", "snakemake", "matplotlib"}),
        ("rekon.plan", {"torch", "pandas", "mlflow", "h5py", "matplotlib", "scipy"}),
        ("rekon.data.convert", {"torch", "pandas", "mlflow", "matplotlib"}),
        ("rekon.data.phantom.cohort", {"torch", "pandas", "mlflow", "nilearn", "matplotlib"}),
        ("rekon.studies", {"mlflow", "matplotlib", "sigpy"}),
    ],
)
def test_start_up_stays_light(module, forbidden):
    code = f"import sys, {module}; print(*sorted(set(name.split('.')[0] for name in sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert forbidden.isdisjoint(loaded)


def test_nothing_unpickles():
    converter = SOURCE / "data" / "backbones.py"  # of weights that others publish as pickles
    for path in SOURCE.rglob("*.py"):
        text = path.read_text()
        for call in ("pickle.load", "allow_pickle=True", "yaml.load(", *([] if path == converter else ["torch.load"])):
            assert call not in text, f"{path}: {call}"
    calls = [node for node in ast.walk(ast.parse(converter.read_text())) if isinstance(node, ast.Call)]
    loads = [node for node in calls if ast.unparse(node.func) == "torch.load"]
    assert len(loads) == converter.read_text().count("torch.load") == 1
    assert "weights_only=True" in [ast.unparse(keyword) for keyword in loads[0].keywords]
