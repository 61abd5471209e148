"""The training loop. Resuming is a property of it, not a flag: the same call goes on where the last one ended, and
gives the same weights, byte for byte, as if it had never been interrupted."""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from rekon import provenance, randomness
from rekon.config import Compute, Recipe
from rekon.errors import UserError
from rekon.files import atomic_path, fingerprint, sha256, write_json
from rekon.training import distributed, sampling, schedule
from rekon.training.distributed import Place
from rekon.training.history import History, Tally
from rekon.training.objective import Objective, move
from rekon.training.progress import Progress, duration
from rekon.training.sole import sole
from rekon.training.state import State, identity, load_state, remove_leftovers, save_state
from rekon.training.stopping import BudgetReached, noted_signals, obey
from rekon.training.weights import save_weights

__all__ = ["BudgetReached", "TrainOutputs", "train"]
log = logging.getLogger(__name__)
PULSE = 10  # steps between two agreements of several processes on saving and stopping


@dataclass(frozen=True)
class TrainOutputs:
    """Files a run leaves: weights (.safetensors), history (metrics.jsonl), provenance (run.json)."""

    weights: Path
    metrics: Path
    provenance: Path


def train(
    build: Callable[[torch.device], Objective],
    recipe: Recipe,
    out: TrainOutputs,
    state_dir: Path,
    compute: Compute,
    max_minutes: float | None = None,
    inputs: Mapping[str, str] | None = None,
    save_seconds: float = 60.0,
) -> None:
    """Train what `build` makes, or go on with it, and write the outputs when it is done.

    build: makes the objective on a device; called once, under a seed that follows from the recipe's.
    state_dir: the run's own folder for its state and growing history; emptied of both at the end, so that training
    again after deleting the outputs starts anew. inputs: name to SHA-256 of what the run is made from.
    save_seconds: between two saved states (more where saving is slow).
    Raises BudgetReached after `max_minutes`, UserError when a value stops being finite, and on SIGINT or SIGTERM
    KeyboardInterrupt or SystemExit; the state is saved first, except by the UserError.
    """
    with distributed.place(compute) as place, noted_signals() as caught, sole(state_dir, place.main):
        run = _Run(build, recipe, out, state_dir, place, dict(inputs or {}))
        run.train(compute.workers, max_minutes, save_seconds, caught)
        run.finish()


class _Run:
    """One run on one process: the recipe, its objective, and where it stands."""

    def __init__(
        self, build: Callable, recipe: Recipe, out: TrainOutputs, folder: Path, place: Place, inputs: dict[str, str]
    ) -> None:
        assert recipe.training is not None, "nothing to train in this recipe"
        self.recipe, self.settings, self.out, self.place, self.inputs = recipe, recipe.training, out, place, inputs
        self.name, self.plain = f"{recipe.study}/{recipe.run}", recipe.model_dump(mode="json")
        self.counted = time.monotonic()
        if self.settings.batch % place.world:
            raise UserError(f"{self.name}: key 'training.batch' must be a multiple of the {place.world} processes.")
        self._seed("initial weights")
        self.objective: Objective = build(place.device)
        self.objective.networks.to(place.device)
        self.steps = schedule.total_steps(self.settings, self.objective.train_length)
        self.state_path, self.history_path = folder / "state.safetensors", folder / "metrics.jsonl"
        self.state = self._resume(folder)
        self.history = History(self.history_path, self.state.history_bytes) if place.main else None
        self.tally = Tally(self.name, self.steps, place, self.state.sums)
        self.progress = Progress(self.name, self.steps, self.state.step, show=place.main)
        if self.settings.compile and place.device.type == "cuda":
            self.objective.compile()

    def train(self, workers: int, max_minutes: float | None, save_seconds: float, caught: list[int]) -> None:
        """All steps that are left, with validations, log lines and saved states on their way."""
        begun = saved = time.monotonic()
        state, settings, pause = self.state, self.settings, save_seconds
        validations = schedule.validation_steps(self.steps, settings.validations)
        log_every = schedule.log_interval(self.steps)
        if state.step:
            self.progress.say(f"goes on after step {state.step} of {self.steps}")
        self.objective.networks.train()
        left = range(state.step, self.steps)
        for step, batch in sampling.batches(
            self.objective, self.recipe.seed, settings.batch, self.place, left, workers
        ):
            values = self._step(move(batch, self.place.device), step)
            done = state.step = step + 1
            self.tally.add(done, values)
            if done % log_every == 0 or done == self.steps:
                rate = settings.learning_rate * schedule.factor(step, self.steps, settings)
                self._write(done, {**self.tally.means(), "learning_rate": rate})
            if done in validations:
                self._validate(done)
                if done < self.steps and self._hopeless(validations):
                    break
            if self.progress.due:
                self.progress.update(done, ", ".join(f"{name} {float(value):.4g}" for name, value in values.items()))
            if done == self.steps or (self.place.world > 1 and done % PULSE):
                continue
            now = time.monotonic()
            late = max_minutes is not None and now - begun >= 60 * max_minutes
            stop, late, save = distributed.agree((bool(caught), late, now - saved >= pause), self.place.device)
            if stop or late or save:
                self._save()
                saved = time.monotonic()
                pause = max(save_seconds, 20 * (saved - now))  # saving takes a twentieth of the time at most
            if stop or late:
                distributed.barrier()  # torchrun ends all processes as soon as one has left
                self.progress.close(done)
                self.progress.say(f"stopped after step {done} of {self.steps}, state saved; the same command goes on")
                if stop:
                    obey(caught)
                raise BudgetReached(f"{self.name}: out of time after step {done} of {self.steps}.")

    def _step(self, batch: Any, step: int) -> dict[str, float | Tensor]:
        """One step; everything random in it follows from (seed, step, rank)."""
        self._seed("step", step, self.place.rank)
        factor = schedule.factor(step, self.steps, self.settings)
        norms: dict[str, Tensor] = {}

        def update(name: str, loss: Tensor) -> None:
            optimiser = self.objective.optimisers[name]
            parameters = [p for group in optimiser.param_groups for p in group["params"] if p.requires_grad]
            optimiser.zero_grad(set_to_none=True)
            with torch.autocast(self.place.device.type, enabled=False):  # autocast is for the way forward
                loss.backward()
            distributed.average_gradients(parameters)
            label = "gradient_norm" if len(self.objective.optimisers) == 1 else f"gradient_norm_{name}"
            norms[label] = clip_grad_norm_(parameters, self.settings.clips.get(name, self.settings.clip) or math.inf)
            for group in optimiser.param_groups:
                group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor
            optimiser.step()

        with self._autocast():
            values = self.objective.step(batch, step, update)
        return {k: v.detach() if isinstance(v, Tensor) else v for k, v in {**values, **norms}.items()}

    def _validate(self, done: int) -> None:
        self.tally.settle()  # a run that has diverged says so here, by the step at which it did
        self._seed("validation", done)
        self.objective.networks.eval()
        with torch.no_grad(), self._autocast():
            metrics = {name: float(value) for name, value in self.objective.validate().items()}
        self.objective.networks.train()
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise UserError(f"{self.name}: {name} is {value} after step {done}; check the validation data.")
        self._write(done, metrics)
        key, best = self.objective.selection, self.state.best
        improved = best is None or metrics[key] < best[key]
        if improved:
            self.state.best = {"step": done, **metrics}
            self.state.weights = {k: v.detach().cpu().clone() for k, v in self.objective.product().items()}
        shown = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        self.progress.say(f"step {done}/{self.steps}, validation: {shown}{' (best so far)' if improved else ''}")

    def _hopeless(self, validations: frozenset[int]) -> bool:
        """Whether as many validations as `patience` allows have passed since the best one.

        The state says which one that was, so there is nothing more to save. It is never saved between this and the
        outputs: a run killed there comes here again.
        """
        assert self.state.best is not None, "a validation has just been"
        best, done, patience = self.state.best["step"], self.state.step, self.settings.patience
        if patience is None or sum(best < step <= done for step in validations) < patience:
            return False
        self.progress.say(f"ends early, after step {done} of {self.steps}: no better validation since step {best}")
        return True

    def _write(self, done: int, values: Mapping[str, float]) -> None:
        if self.history:
            self.history.append(done, values)

    def _save(self) -> None:
        self.tally.settle()
        self._count_time()
        if self.history:
            self.state.history_bytes = self.history.sync()
            save_state(self.state_path, self.state, self.objective)

    def _resume(self, folder: Path) -> State:
        """The state to go on from, networks and optimisers restored; a fresh one where there is none."""
        wanted, state = identity(self.plain, self.inputs), None
        for first in (True, False):  # the first process may set a state aside; the others look when it has
            if self.place.main == first:
                if first:
                    remove_leftovers(folder)
                state = load_state(self.state_path, wanted, self.objective, self.history_path)
            distributed.barrier()
        distributed.same_start(self.objective.networks)
        state = state or State(wanted)
        code, git = provenance.code_fingerprint(), provenance.git()
        if state.attempts and state.attempts[-1]["code"] != code:
            log.warning("%s: the code has changed since step %d; run.json names both.", self.name, state.step)
        attempt = {"started": provenance.stamp(time.time()), "after_step": state.step, "code": code, "git": git}
        state.attempts.append(attempt)
        return state

    def finish(self) -> None:
        """Write the outputs, then remove the state: whoever deletes the outputs and trains again, trains."""
        self._count_time()
        state, out, best = self.state, self.out, self.state.best
        self.progress.close(state.step)
        assert best is not None, "the last step is always validated"
        if self.history:
            self.history.sync()
            save_weights(out.weights, state.weights, self.plain)
            with atomic_path(out.metrics) as temporary:
                shutil.copyfile(self.history_path, temporary)
            described = provenance.describe(
                "train", self.inputs, seeds={"recipe": self.recipe.seed}, device=str(self.place.device), run=self.name,
                scale=self.recipe.scale, parents=dict(self.recipe.parents), recipe=fingerprint(self.plain),
                weights=sha256(out.weights), steps=state.step, best=best, processes=self.place.world,
                threads=torch.get_num_threads(), attempts=state.attempts,
            )  # fmt: skip
            whole = {"started": state.attempts[0]["started"], "seconds": round(state.seconds, 3)}  # over all attempts
            write_json(out.provenance, described | whole)
            self.history.close()
            self.state_path.unlink(missing_ok=True)
            self.history_path.unlink(missing_ok=True)
        distributed.barrier()
        self.progress.say(f"done, {duration(state.seconds)} of training; kept the weights of step {best['step']}")

    def _seed(self, purpose: str, step: int = 0, index: int = 0) -> None:
        seed = randomness.key(self.recipe.seed, purpose, step, index) % 2**63
        torch.default_generator.manual_seed(seed)  # torch.manual_seed takes 0.5 ms where there is no GPU
        if self.place.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def _count_time(self) -> None:
        now = time.monotonic()
        self.state.seconds, self.counted = self.state.seconds + now - self.counted, now

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.place.device.type, dtype=torch.bfloat16, enabled=self.settings.precision == "bf16")
