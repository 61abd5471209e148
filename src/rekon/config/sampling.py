"""Sampling over both axes of k-space with exact sample counts (NAS, Supp. 10): single masks and hierarchies."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from rekon.config.base import Strict

Pattern = Literal["es-x", "es-y", "gaussian", "radial"]
PATTERNS: tuple[Pattern, ...] = ("es-x", "es-y", "gaussian", "radial")


class ExactMaskSettings(Strict):
    """One pattern at one acceleration: exactly H W / R samples of a matrix H x W, the fully sampled centre included."""

    pattern: Pattern
    acceleration: int = Field(ge=1)
    # es-x, es-y: fully sampled central lines; gaussian: side of the fully sampled central square; radial: 0, its
    # spokes cross in the centre
    acs: int = Field(default=0, ge=0)
    deviation: float = Field(default=0.25, gt=0)  # gaussian: of the density, in half matrices
    variants: int = Field(default=1, ge=1)  # gaussian, radial: independent draws; a slice always gets the same one
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _possible(self) -> ExactMaskSettings:
        if self.pattern == "radial" and self.acs:
            raise ValueError("'acs' must be 0 for radial sampling: its spokes cross in the centre")
        if self.pattern.startswith("es-") and self.variants > 1:
            raise ValueError("'variants' must be 1 for equispaced lines: nothing about them is random")
        return self

    @property
    def family(self) -> str:
        """Folder name: the pattern with whatever else shapes it but R and the matrix."""
        acs = "" if self.pattern == "radial" else f"-a{self.acs}"
        drawn = "" if self.pattern.startswith("es-") else f"-v{self.variants}-s{self.seed}"
        density = f"-d{self.deviation:g}" if self.pattern == "gaussian" else ""
        return f"{self.pattern}{acs}{density}{drawn}"

    def path(self, size: tuple[int, int]) -> str:
        """Where the mask artefact for a matrix (H, W) lies."""
        return f"data/masks/{self.family}/R{self.acceleration}_{size[0]}x{size[1]}.h5"


class SamplingSettings(Strict):
    """The patterns of a run at every level of its hierarchy, and the accelerations it is scored at."""

    patterns: tuple[Pattern, ...] = Field(default=PATTERNS, min_length=1)
    accelerations: tuple[int, ...] = Field(default=(32, 16, 8, 4, 2), min_length=1)  # from few samples to many
    evaluated: tuple[int, ...] = Field(default=(32,), min_length=1)
    acs: dict[Pattern, int] = Field(default_factory=dict)  # as in ExactMaskSettings; 0 where not given
    deviation: float = Field(default=0.25, gt=0)
    variants: int = Field(default=1, ge=1)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> SamplingSettings:
        if list(self.accelerations) != sorted(set(self.accelerations), reverse=True):
            raise ValueError("'accelerations' must fall: from few samples to many")
        if not set(self.evaluated) <= set(self.accelerations):
            raise ValueError("'evaluated' must be among 'accelerations'")
        return self

    def mask(self, pattern: Pattern, acceleration: int) -> ExactMaskSettings:
        """Settings of one mask artefact."""
        return ExactMaskSettings(
            pattern=pattern,
            acceleration=acceleration,
            acs=self.acs.get(pattern, 0),
            deviation=self.deviation,
            variants=1 if pattern.startswith("es-") else self.variants,
            seed=self.seed,
        )

    @property
    def masks(self) -> tuple[ExactMaskSettings, ...]:
        """Every mask, pattern by pattern."""
        return tuple(self.mask(pattern, r) for pattern in self.patterns for r in self.accelerations)

    @property
    def scored(self) -> tuple[ExactMaskSettings, ...]:
        """The masks a run is scored with."""
        return tuple(self.mask(pattern, r) for pattern in self.patterns for r in self.evaluated)
