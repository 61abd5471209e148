"""Training of the prior: what a batch holds, the golden loss curve, exact resume, fine-tuning.

The golden curve (tests/golden/dpm.json) holds what a refactoring must reproduce. After a change that is meant to
change training, write it anew with `REKON_WRITE_GOLDEN=1 pytest tests/dpm/test_prior_training.py` and say so in the
commit.
"""

import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import priors
import pytest
import torch

from rekon.dpm import ema
from rekon.dpm.prior import build
from rekon.errors import UserError
from rekon.training.history import read_history
from rekon.training.loop import BudgetReached
from rekon.training.weights import load_into, load_weights

GOLDEN = Path(__file__).parents[1] / "golden/dpm.json"


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return priors.volumes(tmp_path_factory.mktemp("volumes"))


def made(manifest, base=None, **options):
    torch.manual_seed(0)
    return priors.objective(priors.recipe(**options), manifest, base=base)


def test_golden_loss_curve(manifest, tmp_path):
    priors.run(tmp_path, manifest)
    rows = read_history(priors.outputs(tmp_path).metrics)
    curve = {key: [row[key] for row in rows if key in row] for key in ("loss", "gradient_norm", "val_loss")}
    if os.environ.get("REKON_WRITE_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(json.dumps({"prior": curve}, indent=1, sort_keys=True) + "\n")
        pytest.skip("written")
    for key, values in json.loads(GOLDEN.read_text())["prior"].items():
        assert curve[key] == pytest.approx(values, rel=1e-4), key
    assert curve["val_loss"] == sorted(curve["val_loss"], reverse=True), "it learns"


def test_batch(manifest):
    objective = made(manifest, select={"T1": 2, "FLAIR": None})  # volumes 0 and 3, and 2
    assert objective.train_length == 6
    batch = objective.batch([0, 3, 5], 7)
    assert batch["clean"].shape == (3, 32, 32) and batch["clean"].dtype == torch.complex64
    assert batch["label"].tolist() == [[0, 1, 0], [1, 0, 0], [0, 1, 0]], "FLAIR, T1, T2"
    assert batch["augment"].shape == (3, 7)


def test_batch_without_augmentation_is_the_images(manifest):
    objective = made(manifest, changes={"augment": None})
    batch = objective.batch([1, 4], 0)
    images = priors.images(manifest)
    assert torch.equal(batch["clean"], torch.stack([images.image(1), images.image(4)]))
    assert float(batch["clean"][0].abs().max()) == pytest.approx(1)
    assert not batch["augment"].any()


def test_batch_is_a_function_of_item_and_step_whoever_makes_it(manifest):
    objective = made(manifest)
    together = objective.batch([0, 1, 2], 3)
    for key in together:
        alone = torch.cat([objective.batch([index], 3)[key] for index in (0, 1, 2)])
        assert torch.equal(together[key], alone)
    others = [objective.batch([0], step)["augment"] for step in range(20)]
    assert any(not torch.equal(other, others[0]) for other in others)


def test_a_step_minimises_the_sum_over_pixels_and_moves_the_average(manifest):
    objective, seen = made(manifest), []

    def update(name, loss):
        seen.append((name, float(loss.detach())))
        with torch.no_grad():
            for parameter in objective.network.parameters():
                parameter.add_(1.0)

    before = [parameter.clone() for parameter in objective.average.parameters()]
    values = objective.step(objective.batch([0, 1], 100), 100, update)
    assert seen == [("network", pytest.approx(float(values["loss"].detach()) * 2 * 32 * 32))]
    kept = ema.decay(200, 2, 20.0, 0.05)
    for old, new in zip(before, objective.average.parameters(), strict=True):
        torch.testing.assert_close(new, old + (1 - kept))


def test_a_gradient_that_is_not_finite_does_no_harm(manifest):
    objective = made(manifest)
    weight = objective.network.network.last.weight
    (weight.sum() * float("nan")).backward()
    assert torch.equal(weight.grad, torch.zeros_like(weight))
    weight.grad = None
    (weight.sum() * float("inf")).backward()
    assert torch.equal(weight.grad, torch.full_like(weight, 1e5))


def test_every_parameter_learns(manifest):
    objective = made(manifest)
    objective.step(objective.batch([0, 1], 0), 0, lambda _, loss: loss.backward())
    assert [key for key, value in objective.network.named_parameters() if value.grad is None] == []
    assert all(value.grad is None for value in objective.average.parameters())


def test_validation_is_fixed_and_sees_the_contrasts_that_are_trained_on(manifest, monkeypatch):
    objective, labels = made(manifest, select={"FLAIR": 1}), []
    losses = objective.average.losses

    def watched(clean, noise, sigma, label, augment):
        labels.append(label)
        assert augment is None and len(set(sigma.tolist())) == len(sigma) == 4
        return losses(clean, noise, sigma, label, augment)

    monkeypatch.setattr(objective.average, "losses", watched)
    objective.networks.eval()
    with torch.no_grad():
        first, second = objective.validate(), objective.validate()
    assert first == second
    assert len(labels) == 4 and all(torch.equal(label, torch.eye(3)[:1].expand(4, -1)) for label in labels)


def test_the_product_is_the_average(manifest, tmp_path):
    priors.run(tmp_path, manifest, steps=4)
    tensors, recipe = load_weights(priors.outputs(tmp_path).weights)
    assert {name.split(".")[0] for name in tensors} == {"ema"}
    prior = build(priors.model())
    load_into({"ema": prior}, priors.outputs(tmp_path).weights, priors.recipe(steps=4).model_dump(mode="json"))
    assert recipe["kind"] == "diffusion"


def test_fine_tuning_starts_both_networks_from_the_average(manifest, tmp_path):
    priors.run(tmp_path, manifest, steps=4, select={"T1": None, "T2": None})
    weights = priors.outputs(tmp_path).weights
    tensors, _ = load_weights(weights)
    objective = made(manifest, base=weights, select={"FLAIR": 1})
    for name in ("network", "ema"):
        state = objective.networks[name].state_dict()
        assert all(torch.equal(state[key], tensors[f"ema.{key}"]) for key in state)


def test_a_label_that_is_not_seen_is_not_learnt(manifest):
    objective = made(manifest, select={"T1": None, "T2": None}, changes={"label_dropout": 0.0})
    with torch.no_grad():  # the last layers start nearly silent
        for parameter in objective.network.parameters():
            parameter.add_(0.01)
    objective.step(objective.batch(range(6), 0), 0, lambda _, loss: loss.backward())
    gradient = objective.network.network.embedding.label.weight.grad
    assert not gradient[:, 0].any(), "FLAIR"
    assert gradient[:, 1:].any(0).all()


def test_fine_tuning_refuses_another_prior(manifest, tmp_path):
    priors.run(tmp_path, manifest, steps=2)
    weights = priors.outputs(tmp_path).weights
    with pytest.raises(UserError, match=r"contrast labels are FLAIR, T1, T2, not FLAIR, STROKE"):
        made(manifest, base=weights, changes={"contrasts": {"FLAIR": ("AXFLAIR",), "STROKE": ("DWI",)}})
    with pytest.raises(UserError, match=r"the network's"):
        made(manifest, base=weights, changes={"channels": 12})


def test_an_empty_choice_is_refused(manifest):
    with pytest.raises(UserError, match=r"asks for 5 subjects"):
        made(manifest, select={"FLAIR": 5})


def test_a_budget_and_workers_leave_no_trace(manifest, tmp_path):
    priors.run(tmp_path / "whole", manifest)
    for _ in range(2):
        with pytest.raises(BudgetReached):
            priors.run(tmp_path / "parts", manifest, minutes=0)
    priors.run(tmp_path / "parts", manifest, workers=1)
    assert products(tmp_path / "parts") == products(tmp_path / "whole")


def test_sigkill_at_random_points(manifest, tmp_path):
    priors.run(tmp_path / "whole", manifest, steps=16)
    seed, history, grown = time.time_ns(), tmp_path / "killed/work/metrics.jsonl", 0
    pauses = random.Random(seed)
    for _ in range(2):
        child = multiprocessing.get_context("fork").Process(
            target=priors.run, args=(tmp_path / "killed", manifest, 0), kwargs={"steps": 16}
        )
        child.start()
        while child.is_alive() and (not history.exists() or history.stat().st_size <= grown):
            time.sleep(0.002)
        time.sleep(pauses.uniform(0, 0.1))
        child.kill()
        child.join(60)
        assert child.exitcode == -signal.SIGKILL, f"seed {seed}"
        grown = history.stat().st_size
    priors.run(tmp_path / "killed", manifest, steps=16)
    assert products(tmp_path / "killed") == products(tmp_path / "whole"), f"seed {seed}"


def products(folder):
    out = priors.outputs(folder)
    return out.weights.read_bytes(), out.metrics.read_bytes()
