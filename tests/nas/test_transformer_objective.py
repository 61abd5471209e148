"""Training of base transformer and teacher: batches, loss, what decays, golden curves, exact resume.

Golden curves: see chain.golden; written anew with `REKON_WRITE_GOLDEN=1 pytest tests/nas`.
"""

import multiprocessing
import random
import signal
import time

import chain
import pytest
import torch
from torch.nn.functional import cross_entropy

from rekon.errors import UserError
from rekon.nas.tokens import TokenSet, by_level
from rekon.nas.transformer import histories
from rekon.nas.transformer_objective import TransformerObjective, groups
from rekon.nas.weights import load_transformer
from rekon.training.loop import BudgetReached

TEACHER = {"prefix_noise": 0.2, "context": chain.CONTEXT | {"image": "full"}, "drop_path": 0.1}
MODELS = {
    "base": {"drop_path": 0.1},
    "teacher": TEACHER,
    "no-cross-attention": {"context": None},
    "frozen-encoder": {"context": chain.CONTEXT | {"trainable": False}},
    "teacher-both": TEACHER | {"context": chain.CONTEXT | {"image": "both"}},
}  # fmt: skip
CURVES = ("loss", "gradient_norm", "val_loss")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokens")
    chain.tokens(folder)
    return folder


def build(folder, settings, device=None, base=None):
    tokenizer, tokens, _ = chain.tokens(folder)
    return TransformerObjective(settings, tokens, tokens, tokenizer, device or torch.device("cpu"), base)


def made(folder, name="base", base=None, **training):
    torch.manual_seed(0)
    return build(folder, chain.recipe(name, model=MODELS[name], **training), base=base)


def run(folder, out, name="base", save=60.0, minutes=None, workers=0, **training):
    settings = chain.recipe(name, model=MODELS[name], **training)
    return chain.run(out, lambda *args: build(folder, *args), settings, save, minutes, workers)


@pytest.mark.parametrize("name", MODELS)
def test_golden_loss_curve(folder, tmp_path, name):
    rows = run(folder, tmp_path, name)
    losses = [row["val_loss"] for row in rows if "val_loss" in row]
    assert losses[-1] < losses[0], "it learns"
    chain.golden("nas-transformer", name, rows, CURVES)


def test_batch(folder):
    objective = made(folder)
    batch, tokens = objective.batch([0, 4, 8], 5), objective.train
    assert batch["ids"].shape == (3, 9 + chain.LENGTH)
    assert torch.equal(batch["prefix"], batch["ids"])
    assert batch["measured"].dtype == torch.complex64
    assert "full" not in batch
    for row, index in enumerate([0, 4, 8]):
        pattern = ("es-x", "es-y", "gaussian", "radial")[batch["pattern"][row]]
        assert torch.equal(batch["ids"][row], tokens.of(index, pattern))
        assert torch.equal(batch["measured"][row], tokens.hierarchy.measured(index, pattern))
    both = made(folder, "teacher-both").batch([0, 4, 8], 5)
    assert torch.equal(both["pattern"], batch["pattern"])
    assert torch.equal(both["measured"], batch["measured"])
    torch.testing.assert_close(both["full"].abs().amax((1, 2)), torch.ones(3))
    assert {"full"} == {"measured", "full"} & set(made(folder, "teacher").batch([0], 0))
    assert set(made(folder, "no-cross-attention").batch([0], 0)) == {"ids", "prefix", "pattern"}


def test_patterns_take_turns(folder):
    objective = made(folder)
    seen = [int(objective.batch([0], step)["pattern"]) for step in range(40)]
    assert set(seen) == {0, 1, 2, 3}


def test_batch_is_a_function_of_item_and_step_whoever_makes_it(folder):
    objective = made(folder, "teacher")
    together = objective.batch([0, 1, 2], 3)
    alone = [objective.batch([index], 3) for index in (0, 1, 2)]
    for key, value in together.items():
        assert torch.equal(value, torch.cat([one[key] for one in alone])), key


def test_random_prefix(folder):
    objective = made(folder, "teacher")
    batches = [objective.batch([0, 1, 2, 3], step) for step in range(10)]
    ids, prefix = (torch.cat([batch[key] for batch in batches]) for key in ("ids", "prefix"))
    assert torch.equal(prefix[:, :9], ids[:, :9]), "what was measured is not random"
    changed = (prefix != ids)[:, 9:].float()
    assert float(changed.mean()) == pytest.approx(0.2 * 23 / 24, abs=0.01)  # a random code may be the true one
    assert len(prefix[prefix != ids].unique()) == 24, "of the whole vocabulary"
    # targets stay clean
    loss = float(objective.step(batches[0], 0, lambda name, value: None)["loss"].detach())
    context = objective.transformer.context(batches[0], batches[0]["pattern"])
    history = histories(objective.tokenizer, by_level(batches[0]["prefix"], objective.train.grids)[:-1])
    objective.transformer.eval()
    logits = objective.transformer(history, batches[0]["pattern"], context)
    wanted = cross_entropy(logits.flatten(0, 1), batches[0]["ids"][:, 9:].flatten())
    assert loss == pytest.approx(float(wanted.detach()), 1e-2)


def test_loss_is_the_mean_cross_entropy_of_the_true_tokens(folder):
    objective = made(folder, "no-cross-attention")
    batch, losses = objective.batch([0, 5], 0), []
    values = objective.step(batch, 0, lambda name, loss: losses.append(name))
    history = histories(objective.tokenizer, by_level(batch["ids"], objective.train.grids)[:-1])
    logits = objective.transformer(history, batch["pattern"], None)
    right = logits.softmax(-1).gather(-1, batch["ids"][:, 9:, None])
    torch.testing.assert_close(values["loss"], -right.log().mean())
    assert losses == ["transformer"]


def test_tokenizer_stays_as_it_is(folder):
    objective = made(folder)
    before = {key: value.clone() for key, value in objective.tokenizer.state_dict().items()}
    objective.step(objective.batch([0, 1], 0), 0, lambda _, loss: loss.backward())
    assert all(p.grad is None for p in objective.tokenizer.parameters())
    assert all(torch.equal(value, before[key]) for key, value in objective.tokenizer.state_dict().items())
    assert set(objective.networks) == {"transformer"}


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_learns(folder, name):
    objective = made(folder, name)
    objective.step(objective.batch([0, 1], 0), 0, lambda _, loss: loss.backward())
    wanted = {key for key, p in objective.transformer.named_parameters() if p.requires_grad}
    assert wanted == {key for key, p in objective.transformer.named_parameters() if p.grad is not None}
    frozen = {key for key, p in objective.transformer.named_parameters() if not p.requires_grad}
    assert bool(frozen) == (name == "frozen-encoder")


def test_matrices_decay_and_nothing_else(folder):
    objective = made(folder)
    names = {p: name for name, p in objective.transformer.named_parameters()}
    decaying, others = (
        {names[p] for p in group["params"]} for group in groups(objective.transformer, objective.settings)
    )
    assert {"word.weight", "head.weight", "blocks.0.attention.qkv.weight", "context.encoder.conv_in.weight"} <= decaying
    assert {"level.weight", "pattern.weight", "position.weight", "word.bias", "blocks.0.attention.sharpness"} <= others
    assert {"blocks.1.cross.q_bias", "context.encoder.labels.level.weight"} <= others
    assert decaying | others == set(names.values())
    rates = [group["weight_decay"] for group in objective.optimisers["transformer"].param_groups]
    assert rates == [0.05, 0.0]


def test_validation_counts(folder):
    objective = made(folder, validation_slices=None, batch=4)
    objective.networks.eval()
    with torch.no_grad():
        objective.transformer.head.bias[7] = 100.0  # always code 7
        values = objective.validate()
    patterns = ("es-x", "es-y", "gaussian", "radial")
    true = torch.stack([objective.validation.of(i, patterns[i % 4]) for i in range(9)])
    levels = by_level(true == 7, objective.train.grids)[1:]
    for scale, level in zip(("R16", "R8", "R4", "R2", "FS"), levels, strict=True):
        assert values[f"val_accuracy_{scale}"] == pytest.approx(float(level.float().mean()))
    assert values["val_accuracy"] == pytest.approx(float((true[:, 9:] == 7).float().mean()))
    assert values["accuracy_of_chance"] == 1 / 24
    known = by_level(objective.train.ids.long(), objective.train.grids)[1:]
    codes = [torch.bincount(level.flatten()).argmax() for level in known]
    hits = [(level == code).sum() for level, code in zip(by_level(true, objective.train.grids)[1:], codes, strict=True)]
    assert values["accuracy_of_frequent"] == pytest.approx(float(sum(hits)) / (9 * chain.LENGTH))
    assert values["accuracy_of_frequent"] > values["accuracy_of_chance"]


def test_teacher_starts_from_the_base(folder, tmp_path):
    base = chain.transformer(chain.tokens(folder)[0], seed=9)
    path = chain.weights(tmp_path, base, chain.recipe("base"))
    objective = made(folder, "teacher", base=path)
    for key, value in objective.transformer.state_dict().items():
        assert torch.equal(value, base.state_dict()[key]), key
    other = chain.weights(tmp_path, chain.transformer(width=32), chain.recipe("other", model={"width": 32}))
    with pytest.raises(UserError, match=r"other\.safetensors: tensor 'transformer\."):
        made(folder, "teacher", base=other)


def test_weights_open_as_the_recipe_in_them_says(folder, tmp_path):
    run(folder, tmp_path, "teacher", steps=2)
    tokenizer, _, _ = chain.tokens(folder)
    found = load_transformer(chain.outputs(tmp_path).weights, tokenizer, torch.device("cpu"))
    assert found.context.images == ("full",)
    assert not found.training
    assert not any(p.requires_grad for p in found.parameters())
    with pytest.raises(UserError, match=r"holds a run of kind 'tokenizer', not a transformer"):
        load_transformer(folder / "aqvae.safetensors", tokenizer, torch.device("cpu"))


def test_sets_without_slices_are_refused(folder):
    tokenizer, tokens, _ = chain.tokens(folder)
    empty = TokenSet(tokens.ids[:0], tokens.hierarchy, tokens.grids)
    with pytest.raises(UserError, match=r"sim-tiny\.json: no slices for validation"):
        TransformerObjective(chain.recipe(), tokens, empty, tokenizer, torch.device("cpu"))


def test_bf16_follows_fp32_roughly(folder, tmp_path):
    curves = []
    for precision in ("fp32", "bf16"):
        rows = run(folder, tmp_path / precision, precision=precision, steps=4)
        curves.append([row["loss"] for row in rows if "loss" in row])
    assert curves[0] != curves[1]
    assert curves[1] == pytest.approx(curves[0], rel=0.05)


@pytest.mark.parametrize("name", ["base", "teacher"])
def test_budget_exits_and_workers_leave_no_trace(folder, tmp_path, name):
    run(folder, tmp_path / "whole", name, steps=4)
    for _ in range(2):
        with pytest.raises(BudgetReached):
            run(folder, tmp_path / "parts", name, minutes=0, steps=4)
    run(folder, tmp_path / "parts", name, workers=1, steps=4)
    assert chain.products(tmp_path / "parts") == chain.products(tmp_path / "whole")


def test_sigkill_at_random_points(folder, tmp_path):
    run(folder, tmp_path / "whole", steps=10)
    seed, history, grown = time.time_ns(), tmp_path / "killed/work/metrics.jsonl", 0
    pauses = random.Random(seed)
    for _ in range(2):
        child = multiprocessing.get_context("fork").Process(
            target=run, args=(folder, tmp_path / "killed", "base", 0), kwargs={"steps": 10}
        )
        child.start()
        while child.is_alive() and (not history.exists() or history.stat().st_size <= grown):
            time.sleep(0.002)
        time.sleep(pauses.uniform(0, 0.1))
        child.kill()
        child.join(60)
        assert child.exitcode == -signal.SIGKILL, f"seed {seed}"
        grown = history.stat().st_size
    run(folder, tmp_path / "killed", steps=10)
    assert chain.products(tmp_path / "killed") == chain.products(tmp_path / "whole"), f"seed {seed}"
