"""Dry runs of every scale, and configurations that must be refused before any job starts."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.workflow


def refused(runner, *arguments: str) -> str:
    run = runner("-n", *arguments, check=False)
    assert run.returncode != 0
    return run.stdout + run.stderr


@pytest.mark.parametrize("scale", ["demo", "open", "full"])
def test_every_scale_resolves_and_dry_runs(snakemake, scale):
    counts = snakemake.planned("--configfile", f"config/{scale}.yaml")
    baseline = 0 if scale == "open" else 1  # of the NAS study
    assert counts["train_unrolled"] == 5 + baseline
    assert counts["report"] == 1


def test_full_is_the_paper(snakemake):
    """UEPS: five rungs on one in-distribution set and ten zero-shot sets."""
    counts = snakemake.planned("ueps", "--configfile", "config/full.yaml")
    assert counts["evaluate"] == 6 * 11  # five rungs and zero-filled


def test_full_is_the_paper_nas(snakemake):
    """NAS: the chain, the ablations of Table 4 and the extra arms, on one set."""
    counts = snakemake.planned("nas", "--configfile", "config/full.yaml")
    trained = {rule: counts[rule] for rule in ("train_aqvae", "train_transformer", "train_teacher", "distill")}
    assert trained == {"train_aqvae": 2, "train_transformer": 4, "train_teacher": 2, "distill": 3}
    assert counts["tokenise"] == 4 and counts["make_mask"] == 20 and counts["evaluate"] == 12
    assert counts["fetch_backbone"] == 7


def test_full_is_the_paper_dpm(snakemake):
    """Stroke: six methods, twelve points of the grid less the method's own, samplers, the stroke experiment."""
    counts = snakemake.planned("dpm", "--configfile", "config/full.yaml")
    assert counts["pretrain_dpm"] == 6 and counts["finetune_dpm"] == 1 + 11 + 1
    assert counts["tune_zeta"] == 6 + 11 + 4 + 3
    assert counts["evaluate"] == 4 + 6 + 11 + 4 + 5  # without a prior, methods, grid, samplers, stroke


def test_full_is_the_paper_more(snakemake):
    """MoRE: Table I's networks, two dense ones of equal cost, five counts, six parts of the router; one joined set."""
    counts = snakemake.planned("more", "--configfile", "config/full.yaml")
    assert counts["train_experts"] == 3 + 2 + 5 + 6 and counts["evaluate"] == 1 + counts["train_experts"]
    assert counts["join"] == 3 and counts["inspect_more"] == 1 and counts["make_mask"] == 1


def test_unknown_key_is_refused(snakemake):
    snakemake.edit("config/demo.yaml", lambda config: config.update(sclae=1))
    message = refused(snakemake)
    assert "config/demo.yaml" in message and "unknown key 'sclae'" in message


def test_unknown_key_on_the_command_line_is_refused(snakemake):
    message = refused(snakemake, "--config", "miror=there")
    assert "unknown key 'miror'" in message


def test_wrong_type_is_refused(snakemake):
    snakemake.edit("config/demo.yaml", lambda config: config["datasets"]["sim-fastmri-knee"].update(test="three"))
    message = refused(snakemake)
    assert "config/demo.yaml" in message and "datasets.sim-fastmri-knee.test" in message


def test_impossible_combination_is_refused(snakemake):
    def change(config):
        config["studies"]["ueps"]["runs"]["ueps"]["model"]["schedule"] = [24, 40, 80, 64, 96]

    snakemake.edit("config/demo.yaml", change)
    message = refused(snakemake)
    assert "run ueps" in message and "'schedule' must not shrink" in message


def test_unknown_run_and_unknown_set_are_refused(snakemake):
    snakemake.edit("config/demo.yaml", lambda config: config["studies"]["ueps"]["runs"].update({"ue-vitt": {}}))
    assert "unknown run 'ue-vitt'" in refused(snakemake)
    snakemake.edit("config/demo.yaml", lambda config: config["studies"]["ueps"]["runs"].pop("ue-vitt"))
    snakemake.edit("config/demo.yaml", lambda config: config["datasets"].update({"sim-nowhere": {"test": 1}}))
    assert "unknown set 'sim-nowhere'" in refused(snakemake)


def test_broken_yaml_names_file_and_line(snakemake):
    path = snakemake.folder / "config/studies/ueps.yaml"
    path.write_text("title: [unclosed\n" + path.read_text())
    message = refused(snakemake)
    assert "config/studies/ueps.yaml" in message and "not valid YAML near line" in message


def test_a_set_of_ones_own_is_indexed_converted_and_scored(snakemake):
    """README, "Your own data": three lines of configuration, and nothing is trained for it."""

    def describe(catalogue):
        kept = ("format", "licence", "anatomy", "view", "vendor", "field_strength", "role")
        mine = {key: catalogue["fastmri-knee"][key] for key in kept}
        catalogue["my-set"] = {**mine, "title": "Mine", "source": "manual", "access": "ask me", "fit": "downsample"}

    def use(config):
        config["datasets"]["my-set"] = {"test": None}
        config["evaluation"]["ood"].append("my-set")

    snakemake.edit("config/datasets.yaml", describe)
    snakemake.edit("config/demo.yaml", use)
    jobs = snakemake.jobs()
    assert {"raw/my-set/test/INDEX.txt", "runs/demo/data/my-set/test.json"} <= jobs
    assert sum(job.endswith("/my-set.csv") for job in jobs) == 7
