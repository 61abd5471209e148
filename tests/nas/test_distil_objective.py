"""On-policy privileged distillation: rollouts, divergences, who gets gradients, golden curves, exact resume."""

import chain
import pytest
import torch

from rekon.config.nas import DecodingSettings
from rekon.nas.distil_objective import DistilObjective, divergence, scale_mean
from rekon.nas.generate import rollout
from rekon.nas.tokens import by_level
from rekon.nas.transformer import histories
from rekon.training.loop import BudgetReached

CPU = torch.device("cpu")
FULL = chain.CONTEXT | {"image": "full"}
CURVES = ("loss", "gradient_norm", "val_loss", "val_kl", "val_cross_entropy")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Tokens, and weights of a base and of a teacher, far from each other."""
    folder = tmp_path_factory.mktemp("tokens")
    tokenizer, _, _ = chain.tokens(folder)
    for run, context, seed in (("base", chain.CONTEXT, 1), ("teacher", FULL, 2), ("twin", chain.CONTEXT, 1)):
        network = chain.transformer(tokenizer, seed, context=context)
        chain.weights(folder, network, chain.recipe(run, model={"context": context}))
    return folder


def recipe(run="distilled", model=None, **training):
    return chain.recipe(run, "distilled", model, **training)


def build(folder, settings, device=CPU, teacher="teacher"):
    tokenizer, tokens, _ = chain.tokens(folder)
    return DistilObjective(
        settings, tokens, tokens, tokenizer, device,
        base=folder / "base.safetensors", teacher=folder / f"{teacher}.safetensors",
    )  # fmt: skip


def run(folder, out, model=None, save=60.0, minutes=None, workers=0, **training):
    return chain.run(
        out, lambda *args: build(folder, *args), recipe("distilled", model, **training), save, minutes, workers
    )


@pytest.mark.parametrize("direction", ["reverse", "forward"])
def test_golden_loss_curve(folder, tmp_path, direction):
    rows = run(folder, tmp_path, {"divergence": direction, "drop_path": 0.1})
    losses = [row["val_loss"] for row in rows if "val_loss" in row]
    assert losses[-1] < losses[0], "it learns"
    chain.golden("nas-distil", direction, rows, CURVES)


def test_divergences_are_their_formulas():
    student, teacher = torch.randn(2, 3, 7, 5, generator=torch.Generator().manual_seed(0)).double()
    p, q = student.softmax(-1), teacher.softmax(-1)
    torch.testing.assert_close(divergence(student, teacher, "reverse"), (p * (p / q).log()).sum(-1))
    torch.testing.assert_close(divergence(student, teacher, "forward"), (q * (q / p).log()).sum(-1))


def test_directions_pull_differently():
    """A teacher with two modes: reverse KL commits to one of them, forward KL covers both."""
    teacher = torch.tensor([0.49, 0.02, 0.49]).log()[None, None]
    ends = {}
    for direction in ("reverse", "forward"):
        student = torch.tensor([0.3, 0.0, 0.0]).double()[None, None].requires_grad_()
        first = torch.autograd.grad(divergence(student, teacher, direction).sum(), student)[0]
        ends[direction] = first
    assert not torch.allclose(ends["reverse"], ends["forward"])
    p, q = student.softmax(-1), teacher.softmax(-1)
    torch.testing.assert_close(ends["forward"], (p - q).detach())
    gap = (p / q).log()
    torch.testing.assert_close(ends["reverse"], (p * (gap - (p * gap).sum(-1, True))).detach())


def test_scales_count_alike():
    values = torch.cat([torch.full((2, 4), 1.0), torch.full((2, 9), 4.0)], 1)
    torch.testing.assert_close(scale_mean(values, (2, 3)), torch.full((2,), 2.5))


def test_batch_holds_both_images_and_the_draws(folder):
    objective = build(folder, recipe())
    batch = objective.batch([0, 3], 5)
    assert {"measured", "full", "uniform", "ids", "pattern"} <= set(batch)
    assert batch["uniform"].shape == (2, chain.LENGTH)
    assert torch.equal(batch["uniform"], torch.cat([objective.batch([i], 5)["uniform"] for i in (0, 3)]))
    assert not torch.equal(batch["uniform"], objective.batch([0, 3], 6)["uniform"])
    assert batch["uniform"].unique().numel() == 2 * chain.LENGTH


def test_loss_is_the_divergence_along_the_students_own_rollout(folder):
    objective = build(folder, recipe())
    batch = objective.batch([0, 3], 0)
    with torch.no_grad():
        value = objective.step(batch, 0, lambda name, loss: None)["loss"]
        student, teacher, tokenizer = objective.transformer, objective.teacher, objective.tokenizer
        context = student.context(batch, batch["pattern"])
        first = by_level(batch["ids"], objective.train.grids)[0]
        sampled = DecodingSettings(rule="multinomial")
        ids = rollout(student, tokenizer, first, batch["pattern"], context, sampled, batch["uniform"])
        assert not torch.equal(torch.cat(ids, 1), batch["ids"]), "off the true tokens"
        history = histories(tokenizer, ids[:-1])
        own = student(history, batch["pattern"], context).log_softmax(-1)
        seen = teacher(history, batch["pattern"], teacher.context(batch, batch["pattern"])).log_softmax(-1)
        tokens = (own.exp() * (own - seen)).sum(-1)
        scales = [part.mean() for part in tokens.split([16, 25, 36, 49, 64], 1)]
    torch.testing.assert_close(value, sum(scales) / 5)


def test_temperature_changes_the_rollout_alone(folder):
    calm, wild = (build(folder, recipe(model={"temperature": t})) for t in (1.0, 3.0))
    batch = calm.batch([0, 3], 0)
    losses = [float(one.step(batch, 0, lambda name, loss: None)["loss"].detach()) for one in (calm, wild)]
    assert losses[0] != losses[1]
    histories_of = [one._rollout(batch, one.transformer.context(batch, batch["pattern"])) for one in (calm, wild)]
    assert not torch.equal(histories_of[0][1], histories_of[1][1])


def test_same_weights_and_context_diverge_by_nothing(folder):
    objective = build(folder, recipe(), teacher="twin")
    losses = []
    objective.step(objective.batch([0, 3], 0), 0, lambda _, loss: (losses.append(loss), loss.backward()))
    assert abs(float(losses[0].detach())) < 1e-6
    for name, parameter in objective.transformer.named_parameters():
        assert parameter.grad.abs().max() < 1e-5, name


def test_only_the_student_learns(folder):
    objective = build(folder, recipe())
    fixed = {"teacher": objective.teacher, "tokenizer": objective.tokenizer}
    before = {name: {k: v.clone() for k, v in one.state_dict().items()} for name, one in fixed.items()}
    optimiser = objective.optimisers["transformer"]

    def update(name, loss):
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    student = {name: p.detach().clone() for name, p in objective.transformer.named_parameters()}
    objective.networks.train()
    objective.step(objective.batch([0, 3], 0), 0, update)
    for name, one in fixed.items():
        assert all(p.grad is None for p in one.parameters()), name
        assert all(torch.equal(v, before[name][k]) for k, v in one.state_dict().items()), name
        assert not one.training
    moved = {name for name, p in objective.transformer.named_parameters() if not torch.equal(p, student[name])}
    assert moved == set(student)
    assert objective.transformer.training, "the rollout leaves the mode as it was"
    assert set(objective.networks) == {"transformer"}
    assert not [key for key in objective.product() if "teacher" in key]


def test_validation_is_a_fixed_function_of_the_weights(folder):
    objective = build(folder, recipe(validation_slices=3))
    objective.networks.eval()
    with torch.no_grad():
        first = objective.validate()
        torch.manual_seed(5)
        assert objective.validate() == first
    assert first["val_loss"] == first["val_kl"] > 0
    assert {"val_cross_entropy", "val_accuracy", "accuracy_of_chance"} <= set(first)
    forward = build(folder, recipe(validation_slices=3, model={"divergence": "forward"}))
    forward.networks.eval()
    with torch.no_grad():
        second = forward.validate()
    assert second["val_kl"] == first["val_kl"]
    assert second["val_loss"] != first["val_loss"]


def test_drop_path_spares_the_rollout(folder):
    objective = build(folder, recipe(model={"drop_path": 0.9}))
    batch = objective.batch([0, 3], 0)
    context = objective.transformer.context(batch, batch["pattern"])
    quiet = objective._rollout(batch, context)
    objective.networks.train()
    assert all(torch.equal(a, b) for a, b in zip(objective._rollout(batch, context), quiet, strict=True))


def test_budget_exits_and_workers_leave_no_trace(folder, tmp_path):
    run(folder, tmp_path / "whole", {"drop_path": 0.1}, steps=4)
    for _ in range(2):
        with pytest.raises(BudgetReached):
            run(folder, tmp_path / "parts", {"drop_path": 0.1}, minutes=0, steps=4)
    run(folder, tmp_path / "parts", {"drop_path": 0.1}, workers=1, steps=4)
    assert chain.products(tmp_path / "parts") == chain.products(tmp_path / "whole")


def test_bf16_follows_fp32_roughly(folder, tmp_path):
    curves = [
        [row["loss"] for row in run(folder, tmp_path / precision, steps=2, precision=precision) if "loss" in row]
        for precision in ("fp32", "bf16")
    ]
    assert curves[1] == pytest.approx(curves[0], rel=0.2)
