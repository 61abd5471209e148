"""The model section of runs without training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rekon.config.base import Strict


class ClassicalModel(Strict):
    """A reconstruction without training. `ridge` is for sense, `regularisation` for l1-wavelet, the rest for both."""

    method: Literal["zero-filled", "sense", "l1-wavelet"]
    iterations: int = Field(default=50, ge=1)  # conjugate gradients | FISTA
    ridge: float = Field(default=0.01, ge=0)  # Tikhonov weight, relative to the largest eigenvalue of the data term
    # l1 weight, relative to the largest magnitude of the zero-filled coil-combined image
    regularisation: float = Field(default=0.001, ge=0)
