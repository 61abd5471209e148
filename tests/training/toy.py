"""A toy Objective, and a program for tests to start and kill: `python toy.py FOLDER [key=value ...]`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch
from torch import nn

from rekon.config import Compute, DataSettings, MaskSettings, Recipe, TrainingSettings
from rekon.errors import UserError
from rekon.randomness import torch_generator
from rekon.training import distributed
from rekon.training.loop import BudgetReached, TrainOutputs, train
from rekon.training.objective import Objective, optimiser


def recipe(**training) -> Recipe:
    settings = {"steps": 60, "batch": 4, "learning_rate": 1e-2, "validations": 5} | training
    return Recipe(
        scale="toy", study="toys", run="toy", title="A toy", kind="toy", seed=3, model={}, mask=MaskSettings(),
        data=DataSettings(train="a", validation="a", size=(16, 16)), training=TrainingSettings(**settings),
    )  # fmt: skip


class Toy(Objective):
    """Two networks with an optimiser each, dropout, random data, running sums beyond the weights."""

    train_length = 10
    selection = "val_mae"
    published = ("student",)

    def __init__(
        self,
        settings: TrainingSettings,
        device: torch.device,
        slow: float = 0.0,
        nan_at: int | None = None,
        dropout=0.1,
    ):
        student = nn.Sequential(nn.Linear(6, 16), nn.Dropout(dropout), nn.Tanh(), nn.Linear(16, 1))
        self.networks = nn.ModuleDict({"student": student, "scale": nn.Linear(1, 1)}).to(device)
        self.optimisers = {name: optimiser(net.parameters(), settings) for name, net in self.networks.items()}
        self.device, self.slow, self.nan_at, self.count = device, slow, nan_at, torch.zeros(1)

    def batch(self, indices, step):
        noise = [torch.randn(6, generator=torch_generator(3, "toy", step, i)) for i in indices]
        x = torch.stack([torch.linspace(-1, 1, 6) * (i - 5) + 0.1 * n for i, n in zip(indices, noise, strict=True)])
        return {"x": x, "y": x.sin().sum(1, keepdim=True)}

    def step(self, batch, step, update):
        if self.slow:
            time.sleep(self.slow)
        loss = (self.networks["student"](batch["x"]) - batch["y"]).abs().mean()
        update("student", loss if step != self.nan_at else loss * float("nan"))
        guess = self.networks["student"](batch["x"]).detach().abs()
        other = (self.networks["scale"](guess) - batch["y"]).square().mean()
        update("scale", other)
        self.count += 1
        return {"loss": loss if step != self.nan_at else loss * float("nan"), "other": other}

    def validate(self):
        items = distributed.share(range(6))
        batch = self.batch(items, 10**6)
        error = (self.networks["student"](batch["x"]) - batch["y"]).abs().sum()
        return {"val_mae": float(distributed.total(error)) / 6}

    def extra_state(self):
        return {"count": self.count}

    def load_extra_state(self, state):
        self.count = state["count"].clone()


def outputs(folder: Path) -> TrainOutputs:
    return TrainOutputs(folder / "toy.safetensors", folder / "metrics.jsonl", folder / "run.json")


def run(
    folder: Path, *, slow=0.0, nan_at=None, dropout=0.1, minutes=None, save=60.0, workers=0, inputs=None, **training
) -> Toy:
    made = []

    def build(device):
        made.append(Toy(settings.training, device, slow, nan_at, dropout))
        return made[0]

    settings = recipe(**training)
    compute = Compute(device="cpu", threads=1, workers=workers)
    train(build, settings, outputs(folder), folder / "work", compute, minutes, inputs or {}, save)
    return made[0]


if __name__ == "__main__":
    options = {key: float(value) for key, value in (word.split("=") for word in sys.argv[2:])}
    whole = {key: int(value) for key, value in options.items() if key in ("steps", "batch", "nan_at", "workers")}
    try:
        run(Path(sys.argv[1]), **(options | whole))
    except BudgetReached:
        sys.exit(75)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
