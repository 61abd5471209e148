"""The one registry: kind of run -> its objective (how it is trained) and its reconstructor (how it is used).

A new kind of method is one line here, its factories in a file of this folder, and its model section in
`rekon.recipe.MODELS`. Factories import what they need when called: start-up stays light.

kinds      what a factory gets and gives
unrolled, classical, nas, more, dpm   the factories, a file per paper
train      a recipe trained to the end, or as far as time allows
evaluate   a recipe scored on a test set
"""

from __future__ import annotations

from rekon.studies import classical, dpm, more, nas, unrolled
from rekon.studies.kinds import Kind

KINDS = {
    "classical": Kind(classical.reconstructor),
    "unrolled": Kind(unrolled.reconstructor, unrolled.objective),
    "tokenizer": Kind(None, nas.tokenizer_objective),
    "transformer": Kind(nas.reconstructor, nas.transformer_objective),
    "distilled": Kind(nas.reconstructor, nas.distil_objective),
    "experts": Kind(more.reconstructor, more.objective),
    "diffusion": Kind(dpm.reconstructor, dpm.objective),
    "image_unet": Kind(nas.unet_reconstructor, nas.unet_objective),
}
