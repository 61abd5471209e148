"""The loop beside resuming: what it refuses, writes and keeps."""

import json

import pytest
import torch
import toy

from rekon.errors import UserError
from rekon.training import schedule
from rekon.training.history import read_history
from rekon.training.weights import load_weights


def test_loss_that_is_not_a_number_names_run_and_step(tmp_path):
    with pytest.raises(UserError, match=r"toys/toy: loss is nan at step 18 of 60"):
        toy.run(tmp_path, nan_at=17)
    assert list(tmp_path.glob("*.*")) == []


def test_validation_that_is_not_a_number_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(toy.Toy, "validate", lambda self: {"val_mae": float("inf")})
    with pytest.raises(UserError, match=r"toys/toy: val_mae is inf after step 12"):
        toy.run(tmp_path)


@pytest.mark.parametrize("workers", [0, 1])
def test_error_of_a_user_in_a_batch_arrives_as_its_sentence(tmp_path, monkeypatch, workers):
    def unreadable(self, indices, step):
        raise UserError("data/a.h5: truncated.")

    monkeypatch.setattr(toy.Toy, "batch", unreadable)
    with pytest.raises(UserError, match=r"^data/a\.h5: truncated\.$"):
        toy.run(tmp_path, workers=workers)


def test_outputs(tmp_path):
    made = toy.run(tmp_path)
    tensors, recipe = load_weights(tmp_path / "toy.safetensors")
    assert recipe == toy.recipe().model_dump(mode="json")
    assert set(tensors) == {f"student.{key}" for key in made.networks["student"].state_dict()}, "published ones only"
    rows = read_history(tmp_path / "metrics.jsonl")
    validated = {row["step"]: row["val_mae"] for row in rows if "val_mae" in row}
    assert sorted(validated) == [12, 24, 36, 48, 60]
    assert [row["step"] for row in rows if "loss" in row] == list(range(1, 61))
    run = json.loads((tmp_path / "run.json").read_text())
    assert run["best"] == {"step": min(validated, key=validated.get), "val_mae": min(validated.values())}
    assert run["attempts"][0]["after_step"] == 0
    assert run["seeds"] == {"recipe": 3}


def test_the_best_weights_are_kept_not_the_last(tmp_path, monkeypatch):
    values = iter([3.0, 1.0, 2.0, 1.0, 5.0])
    seen = []

    def validate(self):
        seen.append(self.product()["student.0.weight"].clone())
        return {"val_mae": next(values)}

    monkeypatch.setattr(toy.Toy, "validate", validate)
    toy.run(tmp_path)
    kept = load_weights(tmp_path / "toy.safetensors")[0]["student.0.weight"]
    assert torch.equal(kept, seen[1])
    assert not torch.equal(kept, seen[4])


def test_gradients_are_clipped_and_rates_scheduled(tmp_path, monkeypatch):
    rates, norms = [], []
    step = torch.optim.Adam.step

    def spy(self, *arguments, **named):
        parameters = [p for group in self.param_groups for p in group["params"]]
        norms.append(torch.linalg.vector_norm(torch.cat([p.grad.flatten() for p in parameters])).item())
        rates.append(self.param_groups[0]["lr"])
        return step(self, *arguments, **named)

    monkeypatch.setattr(torch.optim.Adam, "step", spy)
    toy.run(tmp_path, clip=0.05, warmup=0.2)
    assert max(norms) <= 0.05 * 1.001
    settings = toy.recipe(warmup=0.2).training
    assert rates[::2] == pytest.approx([1e-2 * schedule.factor(i, 60, settings) for i in range(60)])
    rows = [row for row in read_history(tmp_path / "metrics.jsonl") if "loss" in row]
    assert max(row["gradient_norm_student"] for row in rows) > 0.05, "the norm before clipping is logged"


def test_bf16_trains_and_keeps_fp32_weights(tmp_path, monkeypatch):
    seen = set()
    step = toy.Toy.step

    def spy(self, batch, number, update):
        seen.add(self.networks["student"](batch["x"]).dtype)
        return step(self, batch, number, update)

    monkeypatch.setattr(toy.Toy, "step", spy)
    toy.run(tmp_path, precision="bf16", steps=5)
    assert seen == {torch.bfloat16}
    assert {t.dtype for t in load_weights(tmp_path / "toy.safetensors")[0].values()} == {torch.float32}


def test_history_line_is_the_mean_of_its_interval(tmp_path):
    toy.run(tmp_path, steps=600, validations=1)
    rows = [row for row in read_history(tmp_path / "metrics.jsonl") if "loss" in row]
    assert [row["step"] for row in rows] == list(range(3, 601, 3))


def test_epochs_are_counted_in_items(tmp_path):
    toy.run(tmp_path, steps=None, epochs=3)  # 3 x 10 items in batches of 4
    assert read_history(tmp_path / "metrics.jsonl")[-1]["step"] == 8


def test_steps_make_no_use_of_the_global_generator_before(tmp_path):
    torch.manual_seed(1)
    toy.run(tmp_path / "a", steps=3)
    torch.manual_seed(2)
    toy.run(tmp_path / "b", steps=3)
    assert (tmp_path / "a/toy.safetensors").read_bytes() == (tmp_path / "b/toy.safetensors").read_bytes()
