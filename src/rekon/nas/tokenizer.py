"""The additive quantised VAE (AQ-VAE, Sec. 4.1, Supp. 9): complex images at several accelerations to tokens, and back.

Shapes: B slices, L acceleration levels (from the highest R to fully sampled), H W pixels, h = H / factor, d channels of
the latent, t_k tokens a side at level k, N = sum over k of B t_k^2 vectors. Labels are int64: the level 0 ... L - 1,
and the pattern, its place in `PATTERNS`, or NO_PATTERN. Everything here is float32 whatever the autocast says: tokens
must not depend on the precision of who asks for them.

VAR's VQ-VAE has the same tensors: `encoder.*`, `decoder.*`, `quant_conv.*`, `post_quant_conv.*` by the same names,
`phis.N` is its `quantize.quant_resi.qresi_ls.N`, `codebook.embedding` its `quantize.embedding.weight`. Together
108,948,355 numbers at the paper's size; what is new is FiLM and its labels.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rekon.config.nas import TokenizerModel
from rekon.config.sampling import PATTERNS
from rekon.errors import UserError
from rekon.nas.codebook import Codebook, rotate_to
from rekon.nas.decoder import Decoder
from rekon.nas.encoder import Encoder, as_input
from rekon.nas.resize import area, bicubic
from rekon.nn.channels import as_complex

NO_PATTERN = len(PATTERNS)  # pattern label of an image that no pattern made


def _in_float32(method: Callable) -> Callable:
    @functools.wraps(method)
    def guarded(self: Tokenizer, *args: Any) -> Any:
        with torch.autocast(self.codebook.embedding.device.type, enabled=False):
            return method(self, *args)

    return guarded


class Phi(nn.Conv2d):
    """What codes pass before they are added up: (1 - r) x + r conv(x), a 3 x 3 convolution with bias."""

    def __init__(self, channels: int, strength: float) -> None:
        super().__init__(channels, channels, 3, padding=1)
        self.strength = strength

    def forward(self, x_Bdhh: Tensor) -> Tensor:
        return torch.lerp(x_Bdhh, super().forward(x_Bdhh), self.strength)


class Pass(NamedTuple):
    """What one training pass through the tokenizer yields."""

    image: Tensor  # complex64 (B, H, W): the fully sampled image, reconstructed from all levels
    commitment: Tensor  # mean over levels of MSE(z_k, codes), scalar
    vectors: Tensor  # (N, d), detached: what was quantised, for the codebook's update
    ids: list[Tensor]  # int64 (B, t_k^2) for each level


class Tokenizer(nn.Module):
    """AQ-VAE. `size` = (H, W) of the images must be factor x the last grid. Raises UserError where it is not."""

    def __init__(self, model: TokenizerModel, size: tuple[int, int]) -> None:
        super().__init__()
        side = model.factor * model.grids[-1]
        if size != (side, side):
            raise UserError(
                f"key 'model.grids': {model.grids[-1]} tokens a side of {model.factor} pixels each make {side} x {side}"
                f", but 'data.size' is {size[0]} x {size[1]}; change one of the two."
            )
        self.model, self.levels = model, len(model.grids)
        self.encoder = Encoder(
            model.channels, model.multipliers, model.blocks, model.latent, self.levels, NO_PATTERN + 1, model.condition
        )
        self.quant_conv = nn.Conv2d(model.latent, model.latent, 3, padding=1)
        self.codebook = Codebook(model.vocabulary, model.latent, model.decay, model.epsilon)
        self.phis = nn.ModuleList(Phi(model.latent, model.phi_strength) for _ in range(model.phis))
        self.post_quant_conv = nn.Conv2d(model.latent, model.latent, 3, padding=1)
        self.decoder = Decoder(model.channels, model.multipliers, model.blocks, model.latent)

    @_in_float32
    def forward(self, x_BLHW: Tensor, pattern_B: Tensor) -> Pass:
        """Tokens of all levels and the image from them, with gradients for everything but the codebook.

        In training mode the first batch ever fills the codebook; its update is the caller's, once a step.
        """
        resized = self._latents(x_BLHW, pattern_B)  # z_k
        vectors_Nd = torch.cat([_as_vectors(z) for z in resized])
        detached_Nd = vectors_Nd.detach()
        if self.training and not self.codebook.initialised:
            self.codebook.initialise(detached_Nd)
        ids_N = self.codebook.nearest(detached_Nd)
        codes_Nd = self.codebook.embedding[ids_N]
        passed_Nd = rotate_to(vectors_Nd, codes_Nd)  # q_k
        counts = [len(x_BLHW) * t * t for t in self.model.grids]
        errors = (vectors_Nd - codes_Nd).square().split(counts)
        commitment = torch.stack([error.mean() for error in errors]).mean()
        contributions = [
            self._spread(codes.reshape(len(x_BLHW), -1, codes.shape[1]), level)
            for level, codes in enumerate(passed_Nd.split(counts))
        ]
        image = self.decode(self.fuse(contributions))
        ids = [part.reshape(len(x_BLHW), -1) for part in ids_N.split(counts)]
        return Pass(image, commitment, detached_Nd, ids)

    @_in_float32
    def encode(self, x_BHW: Tensor, level_B: Tensor, pattern_B: Tensor) -> Tensor:
        """Continuous latent Z (B, d, h, h) of images complex64 (B, H, W), each with its own labels."""
        return self.quant_conv(self.encoder(as_input(x_BHW), level_B, pattern_B))

    @_in_float32
    def tokenise(self, x_BLHW: Tensor, pattern_B: Tensor) -> list[Tensor]:
        """Ids int64 (B, t_k^2) of every level, in row-major order; images complex64."""
        return [self._ids(z) for z in self._latents(x_BLHW, pattern_B)]

    @_in_float32
    def tokenise_level(self, x_BHW: Tensor, level: int, pattern_B: Tensor) -> Tensor:
        """Ids int64 (B, t^2) of images of one level."""
        level_B = torch.full_like(pattern_B, level)
        z_Bdhh = self.encode(x_BHW, level_B, self._pattern_label(level_B, pattern_B))
        return self._ids(area(z_Bdhh, (self.model.grids[level],) * 2))

    @_in_float32
    def contribution(self, ids_Bn: Tensor, level: int) -> Tensor:
        """u_k (B, d, h, h): the codes of a level (B, t_k^2) on the latent's grid, through the level's phi."""
        return self._spread(self.codebook.embedding[ids_Bn], level)

    def fuse(self, contributions: Sequence[Tensor]) -> Tensor:
        """The mean over the levels that are there, (B, d, h, h)."""
        return torch.stack(list(contributions)).mean(0)

    @_in_float32
    def decode(self, fused_Bdhh: Tensor) -> Tensor:
        """Image complex64 (B, H, W)."""
        return as_complex(self.decoder(self.post_quant_conv(fused_Bdhh.float()))[:, :2])

    def reconstruct(self, ids: Sequence[Tensor]) -> Tensor:
        """Image complex64 (B, H, W) from the tokens of the first levels, all of them as a rule."""
        return self.decode(self.fuse([self.contribution(level_ids, level) for level, level_ids in enumerate(ids)]))

    def phi(self, level: int) -> nn.Module:
        """The convolution of a level: K of them at evenly spread places, each level takes the nearest (Tian 2024).

        Six levels and four convolutions: 0, 0, 1, 2, 3, 3.
        """
        return self.phis[phi_index(level, self.levels, len(self.phis))]

    def _latents(self, x_BLHW: Tensor, pattern_B: Tensor) -> list[Tensor]:
        """z_k (B, d, t_k, t_k): every level's latent on its token grid. One pass through the encoder for all."""
        batch, levels = x_BLHW.shape[:2]
        assert levels == self.levels, f"{levels} images a slice for {self.levels} levels"
        level_BL = torch.arange(levels, device=x_BLHW.device).expand(batch, levels)
        pattern_BL = self._pattern_label(level_BL, pattern_B[:, None].expand(batch, levels))
        z_Ndhh = self.encode(x_BLHW.flatten(0, 1), level_BL.flatten(), pattern_BL.flatten())
        z_L = z_Ndhh.unflatten(0, (batch, levels)).unbind(1)
        return [area(z, (side, side)) for z, side in zip(z_L, self.model.grids, strict=True)]

    def _pattern_label(self, level: Tensor, pattern: Tensor) -> Tensor:
        if self.model.full_label == "pattern":
            return pattern
        return torch.where(level == self.levels - 1, NO_PATTERN, pattern)  # no pattern made a fully sampled image

    def _ids(self, z_Bdtt: Tensor) -> Tensor:
        return self.codebook.nearest(_as_vectors(z_Bdtt)).reshape(len(z_Bdtt), -1)

    def _spread(self, codes_Bnd: Tensor, level: int) -> Tensor:
        side = self.model.grids[level]
        codes_Bdtt = codes_Bnd.transpose(1, 2).unflatten(2, (side, side))
        return self.phi(level)(bicubic(codes_Bdtt, (self.model.grids[-1],) * 2))


def phi_index(level: int, levels: int, phis: int) -> int:
    """Which of `phis` convolutions serves a level: the nearest of evenly spread ticks in [0, 1], the upper of two."""
    # VAR moves the outer ticks of four inwards less than those of another number
    margin = 1 / (3 * phis) if phis == 4 else 1 / (2 * phis)
    at = level / max(levels - 1, 1)
    ticks = [margin + (1 - 2 * margin) * i / max(phis - 1, 1) for i in range(phis)]
    return min(range(phis), key=lambda i: (round(abs(ticks[i] - at), 9), -i))


def _as_vectors(z_Bdtt: Tensor) -> Tensor:
    """(B t^2, d), token after token, slice after slice."""
    return z_Bdtt.flatten(2).transpose(1, 2).flatten(0, 1)
