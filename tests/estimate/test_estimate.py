"""The arithmetic of an estimate: every product, every sum, and what a reader sees of it."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import pytest
import torch
from plans import COST, ROOT, made_up, scale

from rekon.config.dpm import SamplerSettings
from rekon.dpm import faster, posterior, sampling
from rekon.estimate import show
from rekon.estimate.cost import read_costs
from rekon.estimate.estimate import STAGES, Costs, estimate
from rekon.estimate.machine import machine
from rekon.estimate.sets import Sets
from rekon.estimate.work import evaluations, steps_of, use_flops
from rekon.plan import Plan


@pytest.fixture(scope="module")
def full() -> Plan:
    return scale("full")


@pytest.fixture(scope="module")
def found(full, tmp_path_factory):
    """The full reproduction as it is on record, in a folder without any data."""
    folder = tmp_path_factory.mktemp("empty")
    known = Costs(full, read_costs(), lambda text: pytest.fail(f"not on record: {text}; run rekon estimate --record"))
    return estimate(full, Sets(full, folder), known, machine(None, full.scale.compute), 2.0, folder)


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


def test_the_data_stage_is_bytes_and_samples_by_the_speed_of_a_core(found):
    """fastMRI brain, training: 1230 GB of raw files, 840 GB of k-space, 70748 slices of 320 x 320 with 14 coils."""
    works = {work.step: work for work in found.data if (work.dataset, work.split) == ("fastmri-brain", "train")}
    assert works["convert"].core_hours == pytest.approx(1230e9 / 150e6 / 3600)
    assert works["summarise"].hours == works["summarise"].core_hours == pytest.approx(2.334, abs=0.001)
    assert works["calibrate"].core_hours == pytest.approx(70748 * 15.556 / 3600, rel=1e-4)  # seconds a slice
    assert works["calibrate"].hours == pytest.approx(works["calibrate"].core_hours / (36 * 8)), "36 jobs of 8 cores"
    assert found.core_hours == sum(work.core_hours for work in found.data) < found.hours(), "and in no sum of GPU-hours"
    assert {(one.dataset, one.split) for one in found.data if one.step == "calibrate"} == {
        (name, split) for name in ("fastmri-brain", "sim-stroke") for split in ("train", "validation", "test")
    }
    assert not any(one.dataset == "fastmri-seven" for one in found.data), "it is made of the others' manifests"


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
    data = show._data(found)
    *cores, total = [float(cell.replace(",", "")) for cell in column(data, "core-h")]
    assert sum(cores) == pytest.approx(total, rel=0.01)
    *places, everything, stays = [float(cell.replace(",", "")) for cell in column(show._disk(found), "known GB")]
    assert sum(places) == pytest.approx(everything, rel=0.01) and stays < everything


def test_a_page_shows_runs_assumptions_and_what_is_unknown(full, found):
    page = show.console()
    with page.capture() as capture:
        page.print(show.view(found))
    text = capture.get()
    assert all(run in text for study, run in full.recipes if full.recipes[study, run].kind != "classical")
    assert "Not counted: Fourier transforms" in text and "70,748 slices" in text


# --- what is counted ------------------------------------------------------------------------------------------
def test_epochs_become_steps_as_in_training(full, tmp_path):
    size = Sets(full, tmp_path).size("fastmri-brain", "train")
    assert steps_of(full.recipes["ueps", "ueps"], size) == math.ceil(30 * 70748 / 8)
    assert steps_of(full.recipes["dpm", "pretrained"], size) == steps_of(full.recipes["dpm", "full"], None) == 156250
    assert steps_of(full.recipes["dpm", "fine-tuned"], size) == math.ceil(650 * round(20 * 70748 / 4469) / 64)
    assert steps_of(full.recipes["ueps", "ueps"], None) is None


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
    assert "convert ulf-brain/test" in found.unknown
    assert found.hours() == pytest.approx(sum(line.gpu_hours for line in found.lines if line.gpu_hours is not None))
    show.console().print(show.view(found))


def test_a_kind_that_nobody_has_measured_is_told(full, tmp_path):
    on = machine(None, full.scale.compute)
    found = estimate(full, Sets(full, tmp_path), lambda recipe: None, on, None, tmp_path)
    assert found.hours() == 0 and "ueps/ueps training" in found.unknown


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
