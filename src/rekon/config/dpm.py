"""The model section of the diffusion prior: network, noise, augmentation, averaging, and how posteriors are sampled."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from rekon.config.base import Strict


class AugmentSettings(Strict):
    """What training images may be turned into, each with a probability of its own (Karras et al. 2022, Table 6)."""

    probability: float = Field(default=0.12, ge=0, le=1)  # of vertical flip, scaling, rotation and translation, each
    mirror: bool = True  # left and right change places in every other image, whatever `probability` says
    scale: float = Field(default=0.2, ge=0)  # standard deviation of the logarithm to base 2
    rotation: float = Field(default=1.0, ge=0, le=1)  # largest angle, in half turns
    translation: float = Field(default=0.125, ge=0)  # standard deviation, of the image's side


class TuningSettings(Strict):
    """The search for zeta on validation slices."""

    zetas: tuple[float, ...] = Field(default=(0.5, 1.0, 2.0, 4.0, 8.0), min_length=1)
    slices: int = Field(default=16, ge=1)  # of the validation set, evenly spread; fewer where it has fewer

    @model_validator(mode="after")
    def _positive(self) -> TuningSettings:
        if any(zeta <= 0 for zeta in self.zetas) or len(set(self.zetas)) < len(self.zetas):
            raise ValueError("'zetas' must be different numbers above 0")
        return self


class SamplerSettings(Strict):
    """How an image is drawn from the posterior. The defaults are the published loop.

    dps: Euler steps, each followed by a step down the gradient of the residual, taken through the network.
    dps-heun: the same with second-order steps, two evaluations each. dds: no gradient through the network; its estimate
    is made to agree with the data by conjugate gradients (decomposed diffusion sampling).
    """

    method: Literal["dps", "dps-heun", "dds"] = "dps"
    steps: int = Field(default=300, ge=1)
    sigma_max: float = Field(default=5.0, gt=0)
    sigma_min: float = Field(default=0.002, gt=0)
    rho: float = Field(default=7.0, gt=0)
    # weight of the data by acceleration: step size of dps; of dds, the data term's weight over the estimate's.
    # An R that is not there gets the value of the nearest one
    zeta: dict[int, float] = Field(default={4: 1.0, 5: 1.25, 6: 1.5}, min_length=1)
    start: Literal["noise", "zero-filled", "sense"] = "noise"  # what sigma_max of noise is added to
    iterations: int = Field(default=5, ge=1)  # dds: conjugate gradients a step
    stochastic: float = Field(
        default=0.0, ge=0, le=1
    )  # dds: new noise at every step; 0: none, 1: as in ancestral sampling
    samples: int = Field(default=1, ge=1)  # draws per slice; the image is the mean of their magnitudes
    seed: int = Field(default=0, ge=0)
    # what k-space is divided by: the largest magnitude of the measured zero-filled image times `scale`, or, as the
    # authors do, of the fully sampled image, which nobody has at the scanner
    scaling: Literal["measured", "oracle"] = "measured"
    scale: float | None = Field(default=None, gt=0)  # null: found on validation slices, with zeta; without those 1
    tuning: TuningSettings | None = TuningSettings()  # null: `zeta` is used as it stands

    @field_validator("zeta", mode="before")
    @classmethod
    def _numbers(cls, value: Any) -> Any:
        """JSON, in which recipes travel, knows only text as keys."""
        if not isinstance(value, dict):
            return value
        return {int(r) if isinstance(r, str) and r.isdecimal() else r: zeta for r, zeta in value.items()}

    @model_validator(mode="after")
    def _ordered(self) -> SamplerSettings:
        if self.sigma_min >= self.sigma_max:
            raise ValueError("'sigma_min' must be smaller than 'sigma_max'")
        if any(value < 0 for value in self.zeta.values()):
            raise ValueError("'zeta' must not be negative")
        if self.stochastic and self.method != "dds":
            raise ValueError("'stochastic' belongs to 'method: dds'")
        return self

    def weight(self, acceleration: int | None) -> float:
        """Zeta at an acceleration; of the nearest one that is given (the lower of two), of the first as acquired."""
        known = sorted(self.zeta)
        if acceleration is None:
            return self.zeta[known[0]]
        return self.zeta[min(known, key=lambda r: abs(r - acceleration))]


class DiffusionModel(Strict):
    """A diffusion prior of coil-combined images (Karras et al. 2022, DDPM++). The defaults are the authors'."""

    # label -> contrasts of the sets that carry it, sorted by label for the one-hot; all that any stage needs, so that
    # pre-trained weights fit a fine-tuned network
    contrasts: dict[str, tuple[str, ...]] = Field(min_length=1)
    channels: int = Field(default=128, ge=4)
    multipliers: tuple[int, ...] = Field(default=(1, 1, 2, 2, 2, 2, 2), min_length=1)  # of the channels, a level each
    blocks: int = Field(default=2, ge=1)  # residual blocks per level of the encoder; the decoder has one more
    # levels with self-attention, from 0; the lowest has one in any case. The authors ask for it where the matrix is
    # 12 x 12: at 192 x 192 that is level 4, at 320 x 320 no level is
    attention: tuple[int, ...] = ()
    dropout: float = Field(default=0.0, ge=0, lt=1)
    label_dropout: float = Field(default=0.1, ge=0, le=1)  # share of training images whose label is withheld
    augment: AugmentSettings | None = AugmentSettings()
    sigma_data: float = Field(default=0.5, gt=0)
    log_sigma_mean: float = -1.2  # of the noise levels seen in training
    log_sigma_std: float = Field(default=1.2, gt=0)
    ema_images: float = Field(default=100_000.0, gt=0)  # half-life of the averaged weights, in images
    # the half-life is at most this share of the images seen so far; null (fine-tuning): the whole from the start
    ema_rampup: float | None = Field(default=0.05, gt=0)
    sampler: SamplerSettings = SamplerSettings()

    @model_validator(mode="after")
    def _consistent(self) -> DiffusionModel:
        if self.channels % 4:
            raise ValueError("'channels' must be a multiple of 4")
        if any(not 0 <= level < len(self.multipliers) for level in self.attention):
            raise ValueError(f"'attention' must name levels from 0 to {len(self.multipliers) - 1}")
        members = [contrast for group in self.contrasts.values() for contrast in group]
        if twice := sorted({contrast for contrast in members if members.count(contrast) > 1}):
            raise ValueError(f"'contrasts': {twice[0]!r} has two labels")
        return self

    @property
    def labels(self) -> tuple[str, ...]:
        """The one-hot's entries in order: by name, since settings that travel as JSON keep no order."""
        return tuple(sorted(self.contrasts))

    def label(self, contrast: str) -> int | None:
        """Entry of a contrast of the sets; None where no label carries it."""
        for number, name in enumerate(self.labels):
            if contrast in self.contrasts[name]:
                return number
        return None
