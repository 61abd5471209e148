"""Hours, attempts, memory and disk; what a job asks for."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
from plans import COST, ROOT, made_up, scale

from rekon.config import Compute
from rekon.data.calibrate import calibrate
from rekon.data.convert import convert
from rekon.data.phantom.cohort import simulate
from rekon.errors import UserError
from rekon.estimate.contents import of_shapes
from rekon.estimate.cost import read_costs, record_costs
from rekon.estimate.disk import raw_bytes
from rekon.estimate.estimate import Costs, estimate
from rekon.estimate.machine import MACHINES, attempts, machine, memory
from rekon.estimate.needs import MORE_MEMORY, MORE_TIME, Uses, needs
from rekon.estimate.sets import Sets, simulated_shape
from rekon.files import write_text
from rekon.plan import Plan


@pytest.fixture(scope="module")
def full() -> Plan:
    return scale("full")


# --- machines -------------------------------------------------------------------------------------------------
def test_hours_follow_from_peak_and_utilisation():
    compute = Compute(gpus=8)
    on = machine("a100", compute)
    assert on.hours(312e12 * 0.35 * 3600, "bf16") == pytest.approx(1.0)
    assert machine("a100", compute, utilisation=0.7).hours(1e18, "fp32") == pytest.approx(on.hours(1e18, "fp32") / 2)
    assert machine("a100", compute, tflops=50).speed("bf16") == 50e12 * 0.35
    assert machine(None, compute).name == MACHINES["a100"].name
    assert machine(None, Compute(gpus=0)).memory_gb is None
    for wrong in ({"name": "abacus"}, {"utilisation": 0.0}, {"utilisation": 1.5}, {"tflops": -1.0}):
        with pytest.raises(UserError):
            machine(**({"name": "a100", "compute": compute} | wrong))


def test_attempts_leave_the_margin_that_training_leaves():
    assert attempts(1.0, 48) == 1
    assert attempts(45.6, 48) == 1 and attempts(45.7, 48) == 2  # five per cent are for saving
    assert attempts(100, 48) == 3
    assert attempts(100, 10, limit=48) == 5, "10, 20, 30, 40 and 48 hours are asked for"
    assert attempts(1.0, 2 / 60) == 0, "nothing is left of two minutes"


def test_memory_is_the_sum_of_its_parts(full):
    recipe = full.recipes["ueps", "ueps"]  # 8 slices a step, bf16, at most 24 coils
    one, eight = memory(COST, recipe, 1, 24), memory(COST, recipe, 8, 24)
    assert eight.activations == pytest.approx(0.5 * (1e6 + 24 * 2e6) / 1e9)
    assert one.activations == pytest.approx(8 * eight.activations)
    assert eight.weights == pytest.approx(1000 * 18 / 1e9) and eight.held == pytest.approx(10 * 4 / 1e9)
    assert eight.total == pytest.approx(eight.weights + eight.held + eight.activations + eight.context)
    assert memory(COST, full.recipes["dpm", "full"], 8, 24).weights == pytest.approx(1000 * 16 / 1e9)  # float32


def test_what_will_not_work_is_told(full, tmp_path):
    write_text(tmp_path / "slurm/config.yaml", "retries: 1\n")
    warnings = made_up(full, tmp_path, tflops=0.01).warnings
    assert any("takes" in text and "slurm/config.yaml allows 2" in text for text in warnings)
    assert any("cannot be resumed" in text for text in warnings)
    assert made_up(full, tmp_path).warnings == []


# --- disk -----------------------------------------------------------------------------------------------------
def test_bytes_are_those_of_the_files(tmp_path):
    """A simulated volume through simulation, conversion and calibration; the rest is HDF5's own, under 30 kB a file."""
    demo = scale("demo")
    entry = demo.dataset("sim-stroke")
    small = entry.simulation.model_copy(update={"matrix": (64, 64), "phase_lines": 56, "coils": (4,), "slices": 2})
    entry = entry.model_copy(update={"simulation": small})
    raw, kspace, maps = (tmp_path / name for name in ("raw.h5", "kspace.h5", "maps.h5"))
    simulate("sim-stroke", small, "test", 0, raw, entry)
    convert(raw, kspace, "sim-stroke", entry, "volume")
    calibrate(kspace, maps)
    shape = simulated_shape(small, 0)
    inside = of_shapes([shape])
    for path, expected in ((raw, raw_bytes(small, shape)), (kspace, inside.kspace_bytes), (maps, inside.map_bytes)):
        assert 0 <= path.stat().st_size - expected < 30_000


def test_published_sets_are_counted_by_the_catalogue(full, tmp_path):
    places = {(one.stage, one.what): one for one in made_up(full, tmp_path).places}
    raw, kspace = places["raw", "fastmri-brain/train"], places["kspace", "fastmri-brain/train"]
    assert raw.bytes == 1230e9 and "catalogue" in raw.how
    assert kspace.bytes == 70748 * 320 * 320 * (8 * 14 + 4) and places["maps", "fastmri-brain/train"].bytes
    assert places["raw", "fastmri-knee/test"].bytes == pytest.approx(192e9 * 5427 / 7135)
    assert places["weights", "nas/base"].bytes == 4 * COST.published
    assert places["state", "dpm/full"].until and places["tokens", "nas/aqvae fastmri-brain/train"].bytes == (
        70748 * 4 * sum(side * side for side in (11, 12, 13, 14, 15, 16)) * 2
    )


# --- what a job asks for --------------------------------------------------------------------------------------
def test_needs_follow_the_estimate(full, tmp_path):
    """Memory and hours of the jobs of the estimate, with room to spare; hours as far as the scale allows."""
    sets, costs = Sets(full, tmp_path), Costs(full, read_costs())
    found = estimate(full, sets, costs, machine(None, full.scale.compute), None, tmp_path)
    long = full.scale.compute.model_copy(update={"hours": 1e6})
    for job in found.jobs:
        if job.stage != "training":
            continue
        asked = needs(full.recipes[job.study, job.run], long, full.recipes, sets)
        assert asked.gpu_memory_gb == math.ceil(MORE_MEMORY * job.memory.total)
        assert asked.hours == pytest.approx(max(0.5, MORE_TIME * job.hours), abs=0.01)
        assert needs(full.recipes[job.study, job.run], full.scale.compute, full.recipes).hours <= 48


def test_a_batch_of_one_is_trained_on_one_gpu(full, tmp_path):
    sets, costs = Sets(full, tmp_path), Costs(full, read_costs())
    found = estimate(full, sets, costs, machine(None, full.scale.compute), None, tmp_path)
    (job,) = (job for job in found.jobs if (job.study, job.run, job.stage) == ("more", "more", "training"))
    lines = [line.gpu_hours for line in found.lines if (line.work.study, line.work.run) == ("more", "more")
             and line.work.stage in ("training", "validation")]  # fmt: skip
    assert job.gpus == 1 and job.hours == pytest.approx(sum(lines))
    one = full.scale.compute.model_copy(update={"gpus": 1})
    recipe = full.recipes["more", "more"]
    assert needs(recipe, full.scale.compute, full.recipes, sets) == needs(recipe, one, full.recipes, sets)


def test_what_uses_a_network_asks_for_room_to_spare_and_never_for_more_than_the_scale_allows(full, tmp_path):
    uses, limit = Uses(full, Sets(full, tmp_path)), full.scale.compute.hours
    for job in estimate(full, Sets(full, tmp_path), Costs(full, read_costs()), machine(None, full.scale.compute)).jobs:
        if job.stage != "training":
            assert uses.hours(job.study, job.run, job.stage, job.name) == job.asked
            assert max(0.5, job.hours) < job.asked <= limit or job.asked == 0.5
    assert uses.hours("ueps", "ueps", "scoring", "elsewhere") == limit
    assert uses.inspection("dpm") == uses.hours("dpm", "fine-tuned", "scoring", "fastmri-brain") < limit
    demo = scale("demo")
    assert Uses(demo, Sets(demo, tmp_path)).hours("ueps", "ueps", "scoring", "sim-fastmri-brain") == (
        demo.scale.compute.hours
    ), "nobody knows how fast a CPU is"


def test_a_network_that_is_not_on_record_asks_for_what_the_scale_says(full):
    recipe = full.recipes["nas", "unet"]
    other = recipe.model_copy(update={"model": recipe.model | {"channels": 31}})
    asked = needs(other, full.scale.compute, full.recipes)
    assert (asked.gpu_memory_gb, asked.hours) == (None, full.scale.compute.hours)


def test_the_record_is_kept_scale_by_scale(tmp_path):
    path = tmp_path / "measured.json"
    assert read_costs(path) == {}
    record_costs("one", {"a": ("one/x/y", COST), "b": ("one/x/z", COST)}, path)
    record_costs("other", {"c": ("other/x/y", COST)}, path)
    record_costs("one", {"b": ("one/x/z", COST)}, path)
    assert read_costs(path) == {"b": COST, "c": COST}
    write_text(path, '{"format": "older"}')
    assert read_costs(path) == {}


def test_what_the_snakefile_may_call_needs_no_torch():
    code = (
        "import sys, yaml\nfrom rekon.plan import plan\nfrom rekon.estimate.needs import needs\n"
        "full = plan(yaml.safe_load(open('config/full.yaml')))\n"
        "trained = [recipe for recipe in full.recipes.values() if recipe.training]\n"
        "[needs(recipe, full.scale.compute, full.recipes) for recipe in trained]\n"
        "from rekon.estimate.needs import Uses\nfrom rekon.estimate.sets import Sets\n"
        "[Uses(full, Sets(full)).inspection(study) for study in full.studies]\n"
        "print({'torch', 'pandas', 'h5py'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
