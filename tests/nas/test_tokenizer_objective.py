"""Training of the tokenizer: what a batch holds, the order of a step, validation, golden loss curve, exact resume.

The golden curve (tests/golden/nas-tokenizer.json) holds what a refactoring must reproduce. After a change that is meant
to change training, write it anew with `REKON_WRITE_GOLDEN=1 pytest tests/nas/test_tokenizer_objective.py` and say so in
the commit.
"""

import json
import math
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import cohort
import numpy as np
import pytest
import torch

from rekon import safetensors
from rekon.config import Compute, DataSettings, Recipe, TrainingSettings
from rekon.config.sampling import PATTERNS
from rekon.errors import UserError
from rekon.nas.inputs import pattern_of
from rekon.nas.losses import adversarial_loss, discriminator_loss, ssim
from rekon.nas.tokenizer import Tokenizer
from rekon.nas.tokenizer_objective import TokenizerObjective
from rekon.training.history import read_history
from rekon.training.loop import BudgetReached, TrainOutputs, train
from rekon.training.weights import load_into

GOLDEN = Path(__file__).parents[1] / "golden/nas-tokenizer.json"
CRITIC = {"image": 32, "patch": 8, "width": 16, "depth": 2, "heads": 2, "levels": [0, 1]}
MODEL = {
    "channels": 4, "multipliers": [1, 2, 2], "blocks": 1, "latent": 4, "vocabulary": 32, "grids": [3, 4, 5, 6, 7, 8],
    "condition": 8, "decay": 0.9, "losses": {"perceptual": 0}, "discriminator": CRITIC,
}  # fmt: skip
ALONE = {"losses": {"perceptual": 0, "adversarial": 0}, "discriminator": None}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return cohort.volumes(tmp_path_factory.mktemp("volumes"))


def recipe(model=None, **training) -> Recipe:
    settings = {
        "steps": 6, "batch": 2, "optimiser": "adamw", "learning_rate": 2e-3, "weight_decay": 1e-4, "clip": 5.0,
        "clips": {"discriminator": 1.0}, "validations": 2, "validation_slices": 2,
    } | training  # fmt: skip
    return Recipe(
        scale="tiny", study="nas", run="aqvae", title="aqvae", kind="tokenizer", seed=42, model=MODEL | (model or {}),
        sampling=cohort.sampling(), training=TrainingSettings(**settings),
        data=DataSettings(train="sim-tiny", validation="sim-tiny", size=cohort.SIZE),
    )  # fmt: skip


def objective(settings: Recipe, manifest: Path, device="cpu", backbones=None) -> TokenizerObjective:
    images = cohort.hierarchy(manifest)
    return TokenizerObjective(settings, images, images, torch.device(device), backbones or {})


def made(manifest, model=None, backbones=None, **training) -> TokenizerObjective:
    torch.manual_seed(0)
    built = objective(recipe(model, **training), manifest, backbones=backbones)
    built.networks.train()
    return built


def outputs(folder: Path) -> TrainOutputs:
    return TrainOutputs(folder / "weights.safetensors", folder / "metrics.jsonl", folder / "run.json")


def run(folder: Path, manifest: Path, save: float = 60.0, minutes=None, workers=0, model=None, **training) -> None:
    settings = recipe(model, **training)
    train(
        lambda device: objective(settings, manifest, device), settings, outputs(folder), folder / "work",
        Compute(device="cpu", threads=1, workers=workers), minutes, {"train": "1" * 64}, save,
    )  # fmt: skip


def test_golden_loss_curve(manifest, tmp_path):
    run(tmp_path, manifest, steps=16)
    rows = read_history(outputs(tmp_path).metrics)
    keys = ("loss", "ssim_loss", "commitment", "adversarial", "discriminator", "gradient_norm_generator", "perplexity")
    curve = {key: [row[key] for row in rows if key in row] for key in (*keys, "val_loss", "val_psnr")}
    if os.environ.get("REKON_WRITE_GOLDEN"):
        GOLDEN.write_text(json.dumps(curve, indent=1, sort_keys=True) + "\n")
        pytest.skip("written")
    golden = json.loads(GOLDEN.read_text())
    assert set(golden) == set(curve)
    for key, values in golden.items():
        assert curve[key] == pytest.approx(values, rel=1e-3), key
    assert curve["val_loss"] == sorted(curve["val_loss"], reverse=True), "it learns"


def test_batch(manifest):
    built = made(manifest)
    batch = built.batch([0, 4], 7)
    assert batch["images"].shape == (2, 6, *cohort.SIZE)
    assert batch["images"].dtype == torch.complex64
    for place, index in enumerate((0, 4)):
        pattern = pattern_of(42, 7, index, PATTERNS)
        assert PATTERNS[batch["pattern"][place]] == pattern
        assert torch.equal(batch["images"][place], built.train.levels(index, pattern))
    alone = [built.batch([index], 7) for index in (0, 4)]
    assert torch.equal(batch["images"], torch.cat([one["images"] for one in alone]))
    assert len({int(built.batch([0], step)["pattern"]) for step in range(30)}) == 4, "every pattern gets its turn"


def test_a_step_is_tokenizer_then_critic_then_codebook(manifest):
    built, order = made(manifest), []
    batch = built.batch([0, 4], 0)
    codes, reference = [], batch["images"][:, -1].abs()

    def update(name, loss):
        codes.append(built.tokenizer.codebook.embedding.clone())
        order.append((name, float(loss.detach())))
        for optimiser in built.optimisers.values():
            optimiser.zero_grad()
        loss.backward()

    values = built.step(batch, 0, update)
    assert [name for name, _ in order] == ["generator", "discriminator"]
    assert torch.equal(*codes)
    assert not torch.equal(codes[0], built.tokenizer.codebook.embedding), "the codebook's update comes last"
    assert int(built.tokenizer.codebook.updates) == 1
    assert not any(p.grad is not None for p in built.tokenizer.parameters()), "the critic's loss leaves it alone"
    parts = (values[name] for name in ("ssim_loss", "adversarial", "commitment"))
    expected = sum(weight * part for weight, part in zip((1.0, 0.1, 0.25), parts, strict=True))
    torch.testing.assert_close(values["loss"], expected)

    again = made(manifest)
    out = again.tokenizer(batch["images"], batch["pattern"])
    image = out.image.abs()
    torch.testing.assert_close(values["ssim_loss"], 1 - ssim(image, reference).mean())
    torch.testing.assert_close(values["commitment"], out.commitment)
    torch.testing.assert_close(values["adversarial"], adversarial_loss(again.discriminator(image)))
    fake = again.discriminator(image)
    torch.testing.assert_close(values["discriminator"], discriminator_loss(again.discriminator(reference), fake))


def test_every_parameter_learns_from_its_own_loss(manifest):
    built = made(manifest)
    for module in built.tokenizer.encoder.modules():
        if isinstance(module, torch.nn.Linear):  # FiLM starts at zero and lets no gradient through to the labels
            torch.nn.init.normal_(module.weight)
    seen = {}

    def update(name, loss):
        built.optimisers[name].zero_grad()
        loss.backward()
        parameters = [p for group in built.optimisers[name].param_groups for p in group["params"]]
        seen[name] = [p for p in parameters if p.requires_grad and p.grad is not None and p.grad.isfinite().all()]

    built.step(built.batch([0, 1, 2, 3], 0), 0, update)
    assert len(seen["generator"]) == len(list(built.tokenizer.parameters()))
    assert len(seen["discriminator"]) == len(list(built.discriminator.heads.parameters()))


def test_without_an_adversary_there_is_one_optimiser(manifest, tmp_path):
    built = made(manifest, ALONE)
    assert list(built.optimisers) == ["generator"]
    assert list(built.networks) == ["tokenizer"]
    values = built.step(built.batch([0, 1], 0), 0, lambda _, loss: loss.backward())
    torch.testing.assert_close(values["loss"], values["ssim_loss"] + 0.25 * values["commitment"])


def test_the_pixel_term_is_the_squared_error_of_the_magnitude(manifest):
    losses = {**ALONE.get("losses", {}), "pixel": 3.0}
    plain = made(manifest, ALONE)
    batch = plain.batch([0, 1], 0)
    image = plain.tokenizer(batch["images"], batch["pattern"]).image
    built = made(manifest, ALONE | {"losses": losses})
    values = built.step(batch, 0, lambda _, loss: loss.backward())
    torch.testing.assert_close(values["pixel"], (image.abs() - batch["images"][:, -1].abs()).square().mean())
    expected = values["ssim_loss"] + 0.25 * values["commitment"] + 3.0 * values["pixel"]
    torch.testing.assert_close(values["loss"], expected)


def test_validation_by_hand(manifest):
    built = made(manifest, validation_slices=3)
    built.networks.eval()
    with torch.no_grad():
        metrics = built.validate()
        similarity, own, zero_filled, codes = [], [], [], []
        for index in (1, 4, 7):
            for number, pattern in enumerate(PATTERNS):
                x = built.validation.levels(index, pattern)[None]
                ids = built.tokenizer.tokenise(x, torch.tensor([number]))
                image, reference = built.tokenizer.reconstruct(ids).abs(), x[:, -1].abs()
                similarity.append(float(ssim(image, reference)))
                for values, picture in ((own, image), (zero_filled, x[:, 0].abs())):
                    values.append(-10 * math.log10(float((picture - reference).square().mean() / reference.max() ** 2)))
                codes += [int(code) for level in ids for code in level.flatten()]
    share = np.bincount(codes, minlength=32) / len(codes)
    assert metrics["val_loss"] == pytest.approx(1 - np.mean(similarity), rel=1e-4)
    assert metrics["val_psnr"] == pytest.approx(np.mean(own), rel=1e-4)
    assert metrics["val_psnr_zero_filled"] == pytest.approx(np.mean(zero_filled), rel=1e-4)
    assert metrics["val_perplexity"] == pytest.approx(np.exp(-sum(p * np.log(p) for p in share if p)), rel=1e-4)


def test_weights_hold_the_tokenizer_alone(manifest, tmp_path):
    run(tmp_path, manifest, steps=2)
    settings = recipe(steps=2)
    tokenizer = Tokenizer(made(manifest).tokenizer.model, cohort.SIZE)
    load_into({"tokenizer": tokenizer}, outputs(tmp_path).weights, settings.model_dump(mode="json"))
    assert tokenizer.codebook.initialised
    tensors, _ = safetensors.read(outputs(tmp_path).weights)
    assert {key.split(".")[0] for key in tensors} == {"tokenizer"}


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"grids": [4, 6, 8]}, "'model.grids': 3 levels.*make 6"),
        ({"pretrained": "var-vqvae"}, "'model.pretrained': the weights 'var-vqvae' are not there"),
        ({"discriminator": CRITIC | {"backbone": "biomedclip"}}, "'model.discriminator.backbone'.*'biomedclip'"),
        ({"losses": {"perceptual": 0.1}}, "'model.losses.perceptual'"),
    ],
)
def test_what_does_not_serve_is_refused(manifest, model, message):
    with pytest.raises(UserError, match=message):
        made(manifest, model)


def test_sets_that_do_not_serve_are_refused(manifest, monkeypatch):
    images = cohort.hierarchy(manifest)
    images.images.reference = False
    with pytest.raises(UserError, match="no fully sampled reference"):
        TokenizerObjective(recipe(), images, images, torch.device("cpu"), {})


def test_pretrained_weights_are_the_start(manifest, tmp_path):
    file, given = tmp_path / "vae.safetensors", torch.randn(4, 3, 3, 3)
    safetensors.write(file, {"encoder.conv_in.weight": given}, {})
    built = made(manifest, {"pretrained": "var-vqvae"}, {"var-vqvae": file})
    assert torch.equal(built.tokenizer.encoder.conv_in.weight, given)


def test_budget_exits_and_workers_leave_no_trace(manifest, tmp_path):
    run(tmp_path / "whole", manifest)
    for _ in range(2):
        with pytest.raises(BudgetReached):
            run(tmp_path / "parts", manifest, minutes=0)
    run(tmp_path / "parts", manifest, workers=1)
    assert products(tmp_path / "parts") == products(tmp_path / "whole")


def test_sigkill_at_random_points(manifest, tmp_path):
    run(tmp_path / "whole", manifest, steps=12)
    seed, history, grown = time.time_ns(), tmp_path / "killed/work/metrics.jsonl", 0
    pauses = random.Random(seed)
    for _ in range(2):
        child = multiprocessing.get_context("fork").Process(
            target=run, args=(tmp_path / "killed", manifest, 0), kwargs={"steps": 12}
        )
        child.start()
        while child.is_alive() and (not history.exists() or history.stat().st_size <= grown):
            time.sleep(0.002)
        time.sleep(pauses.uniform(0, 0.1))
        child.kill()
        child.join(60)
        assert child.exitcode == -signal.SIGKILL, f"seed {seed}"
        grown = history.stat().st_size
    run(tmp_path / "killed", manifest, steps=12)
    assert products(tmp_path / "killed") == products(tmp_path / "whole"), f"seed {seed}"


def products(folder):
    out = outputs(folder)
    return out.weights.read_bytes(), out.metrics.read_bytes()


def test_augmentation_keeps_magnitudes_and_levels_together(manifest):
    plain, turned = (objective(one, manifest) for one in (recipe(), recipe({"augment": True})))
    mirrored = []
    for step in range(4):
        pairs = (one.batch([0, 1, 2, 3], step) for one in (plain, turned))
        before, after = next(pairs), next(pairs)
        assert torch.equal(before["pattern"], after["pattern"])
        for x, y in zip(before["images"], after["images"], strict=True):
            mirrored.append(not torch.allclose(x.abs(), y.abs(), atol=1e-5))
            straight = y.flip(-1) if mirrored[-1] else y
            phase = (straight * x.conj()).sum() / x.abs().square().sum()  # one for all levels
            torch.testing.assert_close(phase.abs(), torch.tensor(1.0), atol=1e-4, rtol=0)
            torch.testing.assert_close(straight, x * phase, atol=1e-4, rtol=1e-3)
    assert 0 < sum(mirrored) < 16
    assert torch.equal(turned.batch([1], 2)["images"], turned.batch([0, 1], 2)["images"][1:])
