"""The model section of runs without training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rekon.config.base import Strict


class ClassicalModel(Strict):
    """A reconstruction without training."""

    method: Literal["zero-filled", "sense"]
    iterations: int = Field(default=30, ge=1)  # conjugate gradients
    ridge: float = Field(default=0.01, ge=0)  # Tikhonov weight, relative to the largest eigenvalue of the data term
