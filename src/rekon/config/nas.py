"""The model sections of the NAS study: tokenizer, transformer, distillation, and the baseline U-Net."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from rekon.config.base import Name, Strict

Normalisation = Literal["reference_max", "measured_max"]


class LossWeights(Strict):
    """Of the tokenizer's objective (Eq. 3). 0 switches a term off, and nothing it needs is loaded."""

    ssim: float = Field(default=1.0, ge=0)
    adversarial: float = Field(default=0.1, ge=0)
    perceptual: float = Field(default=0.1, ge=0)
    commitment: float = Field(default=0.25, ge=0)
    # not the paper's: mean squared error of the magnitude. SSIM hardly sees how bright an image is; without the
    # perceptual network nothing else does
    pixel: float = Field(default=0.0, ge=0)


class DiscriminatorSettings(Strict):
    """Frozen vision transformer with trained heads on some of its levels (spec C). The defaults are ViT-B/16."""

    # name of pretrained weights in config/backbones.yaml; null: random ones, and every row says `untrained-backbone`
    backbone: str | None = Field(default=None, pattern=Name.pattern)
    image: int = Field(default=224, ge=8)
    patch: int = Field(default=16, ge=1)
    width: int = Field(default=768, ge=8)
    depth: int = Field(default=12, ge=1)
    heads: int = Field(default=12, ge=1)
    levels: tuple[int, ...] = Field(default=(2, 5, 8, 11), min_length=1)  # blocks whose output gets a head, from 0

    @model_validator(mode="after")
    def _fits(self) -> DiscriminatorSettings:
        if self.image % self.patch or self.width % self.heads:
            raise ValueError("'image' must be a multiple of 'patch', and 'width' of 'heads'")
        if any(level >= self.depth for level in self.levels):
            raise ValueError(f"'levels' must lie below 'depth' {self.depth}")
        return self


class TokenizerModel(Strict):
    """AQ-VAE (Sec. 4.1, Supp. 9). The defaults are the paper's; VAR's weights fit them."""

    channels: int = Field(default=160, ge=1)
    multipliers: tuple[int, ...] = Field(default=(1, 1, 2, 2, 4), min_length=2)  # of the channels, a level each
    blocks: int = Field(default=2, ge=1)  # residual blocks per level of the encoder; the decoder has one more
    latent: int = Field(default=32, ge=1)  # channels of a token
    vocabulary: int = Field(default=4096, ge=2)
    grids: tuple[int, ...] = Field(default=(11, 12, 13, 14, 15, 16), min_length=2)  # tokens a side, R = 32 ... 2, FS
    phis: int = Field(default=4, ge=1)  # shared scale-indexed convolutions
    phi_strength: float = Field(default=0.5, ge=0, le=1)
    condition: int = Field(default=512, ge=1)  # width of the label embedding behind FiLM
    full_label: Literal["none", "pattern"] = "none"  # pattern label of fully sampled images
    normalisation: Normalisation = "reference_max"  # measured_max needs nothing but the measured data
    decay: float = Field(default=0.99, gt=0, lt=1)  # of the codebook's moving averages
    epsilon: float = Field(default=1e-5, gt=0)
    losses: LossWeights = LossWeights()
    ssim_window: Literal["gaussian", "uniform"] = "gaussian"
    discriminator: DiscriminatorSettings | None = DiscriminatorSettings()
    perceptual: Literal["lpips-vgg", "lpips-alex"] = "lpips-vgg"  # network of the perceptual loss
    pretrained: str | None = Field(default=None, pattern=Name.pattern)  # VAR's weights in config/backbones.yaml
    # not the paper's: turn every training slice by a random phase and mirror every other one. A few dozen slices are
    # not enough to learn from without
    augment: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> TokenizerModel:
        if list(self.grids) != sorted(self.grids):
            raise ValueError("'grids' must not shrink from R = 32 to the fully sampled image")
        if (self.losses.adversarial > 0) != (self.discriminator is not None):
            raise ValueError("'discriminator' belongs to, and is needed by, 'losses.adversarial' above 0")
        return self

    @property
    def factor(self) -> int:
        """Pixels per side of the image for one of the latent."""
        return 2 ** (len(self.multipliers) - 1)


class DecodingSettings(Strict):
    """How a token is chosen from its distribution."""

    rule: Literal["argmax", "multinomial", "top"] = "argmax"
    top_k: int | None = Field(default=None, ge=1)  # rule top: the k likeliest, then
    top_p: float | None = Field(default=None, gt=0, le=1)  # the likeliest that together reach p
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _limits(self) -> DecodingSettings:
        if (self.rule == "top") != (self.top_k is not None or self.top_p is not None):
            raise ValueError("'top_k' and 'top_p' belong to, and one of them is needed by, 'rule: top'")
        return self


class ContextSettings(Strict):
    """Cross-attention to features of a copy of the tokenizer's encoder (Sec. 4.2)."""

    # one entry per equal group of transformer blocks, first to last: "mid", or a level of the encoder counted from its
    # image side; the paper's 16, 16, 32, 64 squared are mid, 4, 3, 2
    features: tuple[Literal["mid"] | int, ...] = Field(default=("mid", 4, 3, 2), min_length=1)
    trainable: bool = True
    # measured: the zero-filled image at the highest R; full: the fully sampled one (teacher); both: side by side
    image: Literal["measured", "full", "both"] = "measured"
    # local: every token begins by looking at its own place in the image; random: where to look has to be learned first,
    # which takes longer than the demo has
    start: Literal["random", "local"] = "random"


class TransformerModel(Strict):
    """Next-acceleration-scale transformer (Sec. 4.2, 4.4). Its vocabulary and grids are those of its tokenizer."""

    depth: int = Field(default=16, ge=1)
    width: int = Field(default=1024, ge=8)
    heads: int = Field(default=16, ge=1)
    mlp: float = Field(default=4.0, gt=0)
    drop_path: float = Field(default=0.025, ge=0, lt=1)
    context: ContextSettings | None = ContextSettings()  # null: no cross-attention
    prefix_noise: float = Field(default=0.0, ge=0, le=1)  # share of input tokens replaced by random ones (teacher)
    decoding: DecodingSettings = DecodingSettings()

    @model_validator(mode="after")
    def _divisible(self) -> TransformerModel:
        if self.width % self.heads:
            raise ValueError("'width' must be a multiple of 'heads'")
        if self.context and self.depth % len(self.context.features):
            raise ValueError("'depth' must be a multiple of the number of 'context.features'")
        return self


class DistilledModel(TransformerModel):
    """The student of on-policy privileged distillation (Sec. 4.3). Starts from parent `base`, follows `teacher`."""

    divergence: Literal["reverse", "forward"] = "reverse"
    temperature: float = Field(default=1.0, gt=0)  # of the rollout's multinomial sampling


class ImageUnetModel(Strict):
    """Baseline: fastMRI's U-Net on the coil-combined zero-filled image."""

    channels: int = Field(default=32, ge=1)
    pools: int = Field(default=4, ge=1)
