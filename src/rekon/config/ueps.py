"""The model section of the UEPS study's recipes."""

from __future__ import annotations

from pydantic import Field, model_validator

from rekon.config.base import Strict


class UNetSettings(Strict):
    """fastMRI U-Net: `channels` at the first level, doubled at each of `pools` poolings."""

    channels: int = Field(ge=1)
    pools: int = Field(ge=1)


class ViTSettings(Strict):
    """Vision transformer of UEPS (spec E.4)."""

    patch: int = Field(ge=1)
    width: int = Field(ge=8)
    layers: int = Field(ge=2)
    heads: int = Field(ge=1)
    hidden: int = Field(ge=8)  # SwiGLU
    rows: int | None = Field(
        default=None, ge=0
    )  # neighbouring token rows a query sees; None: full attention everywhere
    sparse_from: int = Field(default=16, ge=1)  # sparse only on grids with at least this many token rows (UEPS: 16)

    @model_validator(mode="after")
    def _divisible(self) -> ViTSettings:
        if self.width % self.heads or (self.width // self.heads) % 4:
            raise ValueError("'width' must be a multiple of 4 x 'heads' (two axes of rotary pairs per head)")
        return self


class UnrolledModel(Strict):
    """A rung of the ladder (UEPS Table 2)."""

    expanded: bool  # True: every coil on its own (UE). False: coil sensitivity maps (E2EVarNet)
    schedule: tuple[int, ...] | None  # matrix of each cascade's input, then of the output (Eqs. 14-18); None: full size
    cascades: int = Field(default=4, ge=1)
    unet: UNetSettings | None = None
    vit: ViTSettings | None = None
    sensitivity: UNetSettings | None = None  # network of the coil sensitivity maps

    @model_validator(mode="after")
    def _possible(self) -> UnrolledModel:
        if (self.unet is None) == (self.vit is None):
            raise ValueError("give exactly one of 'unet' and 'vit'")
        if self.expanded != (self.sensitivity is None):
            raise ValueError("'sensitivity' belongs to, and is needed by, models with 'expanded: false'")
        if self.schedule is not None:
            if not self.expanded:
                raise ValueError("'schedule' needs 'expanded: true' (coil maps have one size)")
            if len(self.schedule) != self.cascades + 1:
                raise ValueError(f"'schedule' needs {self.cascades + 1} sizes: one per cascade, and the output's")
            if any(a > b for a, b in zip(self.schedule, self.schedule[1:], strict=False)):
                raise ValueError("'schedule' must not shrink")
            if any(n % 2 or (self.vit and n % self.vit.patch) for n in self.schedule):
                raise ValueError("'schedule' needs even sizes that are multiples of the patch")
        return self
