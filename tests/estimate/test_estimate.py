"""The arithmetic of an estimate: every product, every sum, and what a reader sees of it."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from rekon.config import Compute
from rekon.config.dpm import SamplerSettings
from rekon.data.calibrate import calibrate
from rekon.data.convert import convert
from rekon.data.phantom.cohort import simulate
from rekon.dpm import faster, posterior, sampling
from rekon.errors import UserError
from rekon.estimate import show
from rekon.estimate.cost import Cost, Linear, read_costs, record_costs
from rekon.estimate.disk import kspace_bytes, map_bytes, raw_bytes
from rekon.estimate.estimate import STAGES, Costs, estimate
from rekon.estimate.machine import MACHINES, attempts, machine, memory
from rekon.estimate.needs import MORE_MEMORY, MORE_TIME, needs
from rekon.estimate.sets import Sets, simulated_shape
from rekon.estimate.work import evaluations, steps_of, use_flops
from rekon.files import write_text
from rekon.plan import Plan, plan

ROOT = Path(__file__).resolve().parents[2]
COST = Cost(
    parameters=1000, held=10, published=990, train=Linear(3e9, 1e9), forward=Linear(1e9, 5e8), validate=Linear(4e9),
    activations=Linear(1e6, 2e6), guided=Linear(2e9), encode=Linear(5e8),
)  # fmt: skip


def scale(name: str) -> Plan:
    return plan(yaml.safe_load((ROOT / f"config/{name}.yaml").read_text()), ROOT)


@pytest.fixture(scope="module")
def full() -> Plan:
    return scale("full")


@pytest.fixture(scope="module")
def found(full, tmp_path_factory):
    """The full reproduction as it is on record, in a folder without any data."""
    folder = tmp_path_factory.mktemp("empty")
    known = Costs(full, read_costs(), lambda text: pytest.fail(f"not on record: {text}; run rekon estimate --record"))
    return estimate(full, Sets(full, folder), known, machine(None, full.scale.compute), 2.0, folder)


def made_up(plan: Plan, folder: Path, **options):
    """A plan's estimate with the same cost for every network."""
    on = machine(None, plan.scale.compute, **options)
    return estimate(plan, Sets(plan, folder), lambda r: None if r.kind == "classical" else COST, on, None, folder)


# --- products and sums ----------------------------------------------------------------------------------------
def test_every_line_is_its_product(found):
    for line in found.lines:
        assert line.flops == line.work.items * line.work.flops
        assert line.gpu_hours == pytest.approx(line.flops / line.speed / 3600)
        assert line.speed == found.machine.speed(line.work.precision)


def test_every_sum_is_that_of_its_lines(found):
    total = sum(line.gpu_hours for line in found.lines)
    assert found.hours() == pytest.approx(total)
    studies = {line.work.study for line in found.lines}
    assert sum(found.hours(study) for study in studies) == pytest.approx(total)
    assert sum(found.hours(stage=stage) for stage in STAGES) == pytest.approx(total)
    assert sum(job.hours * job.gpus for job in found.jobs) == pytest.approx(total)
    assert found.bytes() == sum(place.bytes for place in found.places if place.bytes is not None)
    assert sum(found.bytes(stage) for stage in {place.stage for place in found.places}) == pytest.approx(found.bytes())
    plain = found.plain()["totals"]
    assert plain["gpu_hours"] == pytest.approx(total) and plain["cost"] == pytest.approx(2.0 * total)


def test_the_jobs_are_those_of_the_plan(full, found):
    trained = {(job.study, job.run) for job in found.jobs if job.stage == "training"}
    assert trained == set(full.trained())
    scored = {(job.study, job.run, job.name) for job in found.jobs if job.stage == "scoring"}
    networks = {key for key, recipe in full.recipes.items() if recipe.kind != "classical"}
    assert scored == {one for one in full.scored() if one[:2] in networks}
    assert {(job.study, job.run) for job in found.jobs if job.stage == "tuning"} == {
        key for key in full.recipes if full.tuned(*key)
    }
    assert sum(job.stage == "tokens" for job in found.jobs) == 4  # two tokenizers, two splits


def column(table, name: str) -> list[str]:
    return next(list(one.cells) for one in table.columns if one.header == name)


def test_the_tables_add_up_as_they_are_shown(found):
    for study in ("ueps", "nas", "dpm"):
        for table in (show._training(found, study), show._uses(found, study)):
            *hours, total = [float(cell.replace(",", "")) for cell in column(table, "GPU-h")]
            assert sum(hours) == pytest.approx(total, rel=0.01)
            *work, total = [float(cell.replace(",", "")) for cell in column(table, "PFLOP")]
            assert sum(work) == pytest.approx(total, rel=0.01)
            rows = zip(
                *(column(table, name) for name in ("number", "TFLOP each", "PFLOP", "TFLOP/s", "GPU-h")), strict=True
            )
            for row in list(rows)[:-1]:
                number, each, petaflop, speed, gpu_hours = (float(cell.replace(",", "")) for cell in row)
                assert number * each / 1000 == pytest.approx(petaflop, rel=0.01)
                assert petaflop * 1000 / speed / 3600 == pytest.approx(gpu_hours, rel=0.02)
    totals = show._totals(found)
    *stages, everything = [float(cell.replace(",", "")) for cell in column(totals, "all")]
    assert sum(stages) == pytest.approx(everything, rel=0.01)
    disk = [float(cell.replace(",", "")) for cell in column(show._disk(found), "known GB")]
    assert sum(disk[:-1]) == pytest.approx(disk[-1], rel=0.01)


def test_a_page_shows_runs_assumptions_and_what_is_unknown(full, found):
    page = show.console()
    with page.capture() as capture:
        page.print(show.view(found))
    text = capture.get()
    assert all(run in text for study, run in full.recipes if full.recipes[study, run].kind != "classical")
    assert "Not counted: Fourier transforms" in text and "70,748 slices" in text
    assert "raw of fastmri-brain/train" in text  # the catalogue does not tell its size


# --- what is counted ------------------------------------------------------------------------------------------
def test_epochs_become_steps_as_in_training(full, tmp_path):
    sets = Sets(full, tmp_path)
    assert steps_of(full.recipes["ueps", "ueps"], sets) == math.ceil(30 * 70748 / 8)
    assert steps_of(full.recipes["dpm", "pretrained"], sets) == 156250
    assert steps_of(full.recipes["dpm", "fine-tuned"], sets) == math.ceil(650 * round(20 * 70748 / 4469) / 64)


def test_training_counts_its_slices_and_its_validations(full, tmp_path):
    lines = {(one.work.run, one.work.stage): one for one in made_up(full, tmp_path).lines if one.work.study == "nas"}
    training, validation = lines["aqvae", "training"].work, lines["aqvae", "validation"].work
    assert training.items == 16 * math.ceil(100 * 70748 / 16)
    assert training.flops == COST.train.at(14.0)  # mean number of coils
    assert validation.items == 100 * 21842
    assert lines["aqvae", "tokens"].work.flops == COST.encode.fixed
    assert lines["base", "scoring"].work.items == 8852 * 4  # patterns


def test_a_priors_images_cost_what_its_sampler_does(full, tmp_path):
    fine_tuned, dds = full.recipes["dpm", "fine-tuned"], full.recipes["dpm", "dds"]
    assert use_flops(fine_tuned, COST, 0) == 300 * COST.guided.fixed
    assert use_flops(dds, COST, 0) == 50 * COST.forward.at(0)
    lines = made_up(full, tmp_path).lines
    works = {(one.work.run, one.work.stage, one.work.job): one.work for one in lines if one.work.study == "dpm"}
    assert works["fine-tuned", "scoring", "fastmri-brain"].items == 3 * round(8852 * 49 / 558)  # FLAIR, R = 4, 5, 6
    assert works["fine-tuned", "tuning", ""].items == 16 * 3 * 5
    assert works["pretrained", "validation", ""].items == round(21842 * (1378 - 107) / 1378)


@pytest.mark.parametrize("method", ["dps", "dps-heun", "dds"])
def test_evaluations_are_those_of_the_samplers(method):
    import priors

    image, maps = priors.acquisition()
    operator, kspace = priors.measured(image, maps, torch.ones(10, dtype=torch.bool))
    guided = plain = 0

    def denoise(x: torch.Tensor, sigma: float) -> torch.Tensor:
        nonlocal guided, plain
        guided, plain = guided + x.requires_grad, plain + (not x.requires_grad)
        return 0.9 * x

    settings = SamplerSettings(method=method, steps=7)
    sigmas = sampling.schedule(7, settings.sigma_min, settings.sigma_max)
    solve = {"dps": posterior.dps, "dps-heun": faster.dps_heun, "dds": faster.dds}[method]
    solve(denoise, operator, kspace, torch.zeros_like(image), sigmas, 1.0)
    assert (guided, plain) == evaluations(settings)
    assert evaluations(settings.model_copy(update={"samples": 3})) == (3 * guided, 3 * plain)


def test_unknown_sets_make_unknown_hours_not_invented_ones(tmp_path):
    found = made_up(scale("open"), tmp_path)
    unknown = [line for line in found.lines if line.flops is None]
    assert {line.work.job for line in unknown} == {"ulf-brain", "brain-7ch", "brain-8ch-poisson"}
    assert "ueps/ueps scoring ulf-brain" in found.unknown and "raw of ulf-brain/test" in found.unknown
    assert found.hours() == pytest.approx(sum(line.gpu_hours for line in found.lines if line.gpu_hours is not None))
    show.console().print(show.view(found))


def test_a_kind_that_nobody_has_measured_is_told(full, tmp_path):
    on = machine(None, full.scale.compute)
    found = estimate(full, Sets(full, tmp_path), lambda recipe: None, on, None, tmp_path)
    assert found.hours() == 0 and "ueps/ueps training" in found.unknown


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
    for path, expected in ((raw, raw_bytes(small, shape)), (kspace, kspace_bytes(shape)), (maps, map_bytes(shape))):
        assert 0 <= path.stat().st_size - expected < 30_000


def test_sets_that_lie_there_are_counted_as_they_are(full, tmp_path):
    write_text(tmp_path / "raw/fastmri-brain/train/file.h5", "x" * 1000)
    places = {(one.stage, one.what): one for one in made_up(full, tmp_path).places}
    raw = places["raw", "fastmri-brain/train"]
    assert (raw.bytes, raw.how) == (1000, "what lies there now")
    assert places["kspace", "fastmri-brain/train"].bytes is None
    assert places["weights", "nas/base"].bytes == 4 * COST.published
    assert places["state", "dpm/full"].temporary and places["tokens", "nas/aqvae fastmri-brain/train"].bytes == (
        70748 * 4 * sum(side * side for side in (11, 12, 13, 14, 15, 16)) * 2
    )


# --- what a job asks for --------------------------------------------------------------------------------------
def test_needs_follow_the_estimate(full, found):
    jobs = {(job.study, job.run): job for job in found.jobs if job.stage == "training"}
    for key, recipe in full.recipes.items():
        if recipe.training is None:
            continue
        asked = needs(recipe, full.scale.compute, full.recipes)
        assert asked.gpu_memory_gb == math.ceil(MORE_MEMORY * jobs[key].memory.total)
        assert 0.5 <= asked.hours <= full.scale.compute.hours
    recipe, compute = full.recipes["dpm", "pretrained"], full.scale.compute.model_copy(update={"hours": 1e6})
    line = next(one for one in found.lines if (one.work.run, one.work.stage) == ("pretrained", "training"))
    assert needs(recipe, compute, full.recipes).hours == pytest.approx(MORE_TIME * line.gpu_hours / 8, rel=0.01)


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


# --- the command ----------------------------------------------------------------------------------------------
def rekon(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rekon", "estimate", *arguments], cwd=ROOT, capture_output=True, text=True
    )


def test_the_command_prints_tables_and_json():
    value = json.loads(rekon("--json", "--price", "2", "--gpu", "h100").stdout)
    assert value["scale"] == "full" and value["totals"]["cost"] == pytest.approx(2 * value["totals"]["gpu_hours"])
    assert "H100" in value["machine"]["name"] and value["assumptions"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(("--gpu", "abacus"), "known are"), (("--slices", "x"), "expected SET/SPLIT"), (("--price", "-1"), "negative"),
     (("--configfile", "config/none.yaml"), "no such file")],
)  # fmt: skip
def test_mistakes_are_one_sentence(arguments, told):
    run = rekon(*arguments)
    assert run.returncode == 2 and told in run.stderr and "Traceback" not in run.stderr


def test_what_the_snakefile_may_call_needs_no_torch():
    code = (
        "import sys, yaml\nfrom rekon.plan import plan\nfrom rekon.estimate.needs import needs\n"
        "full = plan(yaml.safe_load(open('config/full.yaml')))\n"
        "trained = [recipe for recipe in full.recipes.values() if recipe.training]\n"
        "[needs(recipe, full.scale.compute, full.recipes) for recipe in trained]\n"
        "print({'torch', 'pandas', 'h5py'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
