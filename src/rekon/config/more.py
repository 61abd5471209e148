"""The model section of the mixture-of-experts study: unrolled network, experts, router, and what they are trained with.

The baselines are the same model with other settings: `experts: 1` is the dense network, `prompts` and `adaptive` on top
of it PromptMR+.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from rekon.config.base import Strict
from rekon.config.recipe import TrainingSettings
from rekon.config.ueps import UNetSettings
from rekon.errors import UserError


class Decay(Strict):
    """A number that falls from `start` at the first step to `end` at the last one that the recipe allows."""

    start: float = Field(gt=0)
    end: float = Field(gt=0)
    law: Literal["geometric", "linear"] = "geometric"

    def at(self, share: float) -> float:
        """Its value when `share` of all steps, 0..1, are done."""
        if self.law == "linear":
            return self.start + (self.end - self.start) * share
        return math.exp((1 - share) * math.log(self.start) + share * math.log(self.end))


class RouterSettings(Strict):
    """Which experts a sample gets, and what the router is trained with (Secs. III-A, III-B)."""

    top_k: int = Field(default=2, ge=1)  # experts per sample
    # cascade: every cascade has a router and decides anew; network: the first cascade's decides for all
    scope: Literal["cascade", "network"] = "cascade"
    blocks: int = Field(default=2, ge=0)  # channel attention blocks on the features (Eq. 3)
    reduction: int = Field(default=4, ge=1)  # channels per channel inside them
    hidden: int = Field(default=64, ge=1)  # of the multilayer perceptron (Eq. 4)
    embedding: int = Field(default=32, ge=1)  # its output, what the gate sees
    renormalise: bool = False  # True: the chosen experts' weights sum to 1; printed is the plain softmax (Eq. 6)
    noise: Decay | None = Decay(start=1.0, end=0.01)  # tau of Eq. 8; null: none
    balance: Decay | None = Decay(start=0.1, end=0.001)  # alpha_1 of Eq. 7; null: no such loss
    sparsity: float = Field(default=0.005, ge=0)  # alpha_2
    z: float = Field(default=0.001, ge=0)  # alpha_3
    cache: int = Field(default=8, ge=0)  # inputs of recent steps that the router's losses see as well


class PromptSettings(Strict):
    """Fixed images of features that are mixed to suit the sample and joined to the decoder's (PromptMR+)."""

    tokens: int = Field(default=5, ge=1)  # to mix, per level
    channels: tuple[int, ...] = (6, 12, 18)  # of each level's, from the finest
    sizes: tuple[int, ...] = (64, 32, 16)  # pixels a side, likewise


class SensitivitySettings(UNetSettings):
    """The network of the coil maps: fastMRI's normalised U-Net."""

    start: Literal["network", "ones", "acs"] = "network"  # see rekon.nn.sensitivity


class ReconstructionLoss(Strict):
    """Of the magnitude image; full scale is the volume's maximum."""

    ssim: float = Field(default=1.0, ge=0)  # of 1 - SSIM, 7 x 7 uniform window
    l1: float = Field(default=0.0, ge=0)  # of the mean absolute error; SSIM hardly sees how bright an image is

    @model_validator(mode="after")
    def _something(self) -> ReconstructionLoss:
        if self.ssim == self.l1 == 0:
            raise ValueError("one of 'ssim' and 'l1' must be above 0")
        return self


class ExpertsModel(Strict):
    """MoRE. The defaults are the paper's or, where it gives none, the readings in rekon/more/READINGS.md."""

    # modality -> contrasts of the sets that belong to it; slices of no modality are neither trained nor validated on
    modalities: dict[str, tuple[str, ...]] = Field(min_length=1)
    cascades: int = Field(default=12, ge=1)
    widths: tuple[int, ...] = Field(default=(16, 20, 24, 28), min_length=2)  # channels of each level, E1 first
    # channel attention blocks: of the encoder and of the decoder one number per level but the lowest, finest first;
    # of the skip connections likewise; of the bottleneck
    encoder: tuple[int, ...] = (2, 3, 3)
    decoder: tuple[int, ...] = (2, 2, 3)
    skip: tuple[int, ...] = (1, 1, 1)
    bottleneck: int = Field(default=3, ge=0)
    experts: int = Field(default=4, ge=1)  # decoders per cascade
    whole_experts: bool = False  # True: bottleneck and skip connections are part of each expert, not shared
    router: RouterSettings | None = RouterSettings()  # null where there is one expert
    prompts: PromptSettings | None = None
    # True: the denoiser also sees A*A x, the zero-filled image, their difference and a latent image that it hands on
    adaptive: bool = False
    sensitivity: SensitivitySettings = SensitivitySettings(channels=8, pools=4)
    loss: ReconstructionLoss = ReconstructionLoss()

    @model_validator(mode="after")
    def _consistent(self) -> ExpertsModel:
        levels = len(self.widths) - 1
        for name in ("encoder", "decoder", "skip"):
            if len(getattr(self, name)) != levels:
                raise ValueError(f"'{name}' needs {levels} numbers, one per level but the lowest")
        if (self.experts > 1) != (self.router is not None):
            raise ValueError("'router' belongs to, and is needed by, 'experts' above 1")
        if self.router and self.router.top_k > self.experts:
            raise ValueError(f"'router.top_k' {self.router.top_k} must not exceed 'experts' {self.experts}")
        if self.prompts and {len(self.prompts.channels), len(self.prompts.sizes)} != {levels}:
            raise ValueError(f"'prompts' needs {levels} 'channels' and 'sizes', one per level but the lowest")
        members = [contrast for group in self.modalities.values() for contrast in group]
        if twice := sorted({contrast for contrast in members if members.count(contrast) > 1}):
            raise ValueError(f"'modalities': {twice[0]!r} belongs to two")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The modalities in order: by name, since settings that travel as JSON keep no order."""
        return tuple(sorted(self.modalities))


def refuse_clipping(model: ExpertsModel, training: TrainingSettings, source: str) -> None:
    """UserError, naming `source`, where gradients of a router and of its backbone would be clipped by a common norm."""
    if model.router and (training.clip is not None or training.clips):
        raise UserError(
            f"{source}: key 'training.clip': a norm that routers share with the backbone would let their losses scale "
            "its steps; write clip: null and no 'clips'."
        )
