"""What depends on the step alone: learning rate, number of steps, when to validate and log."""

from __future__ import annotations

import math

from rekon.config import TrainingSettings


def total_steps(settings: TrainingSettings, items: int) -> int:
    """Steps of a run over a training set of `items`; epochs count items, the last batch may reach into the next one."""
    if settings.steps is not None:
        return settings.steps
    assert settings.epochs is not None
    return math.ceil(settings.epochs * items / settings.batch)


def factor(step: int, steps: int, settings: TrainingSettings) -> float:
    """Learning rate of `step` (0 .. steps-1) over the recipe's: warm-up, plateau, cosine or line, floor."""
    at = step / steps
    if at < settings.warmup:
        return settings.warmup_from + (1 - settings.warmup_from) * at / settings.warmup
    if at < settings.decay_from:
        return 1.0
    if at < settings.decay_until:
        phase = (at - settings.decay_from) / (settings.decay_until - settings.decay_from)
        left = 1 - phase if settings.decay == "linear" else (1 + math.cos(math.pi * phase)) / 2
        return settings.floor + (1 - settings.floor) * left
    return settings.floor


def validation_steps(steps: int, validations: int) -> frozenset[int]:
    """Numbers of finished steps after which to validate: evenly spread, the last one after the last step."""
    count = min(steps, validations)
    return frozenset(round((i + 1) * steps / count) for i in range(count))


def log_interval(steps: int) -> int:
    """Steps per line of the history: about 200 lines a run, however long it is."""
    return max(1, round(steps / 200))
