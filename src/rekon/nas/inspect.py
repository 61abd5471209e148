"""Look inside the trained chain: which codes the tokenizer uses, which tokens the transformers predict right, how far
they are from the teacher, what the tokenizer itself could reach, how long an image takes.

Suffixes: B patterns of one slice, n tokens of a level, L of all predicted ones, V codes.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rekon.config import Recipe
from rekon.config.nas import DecodingSettings
from rekon.data.images import ImageSet
from rekon.data.undersampled import spread
from rekon.errors import UserError
from rekon.evaluation.metrics import psnr
from rekon.evaluation.reconstructor import Scan
from rekon.nas.distil_objective import divergence
from rekon.nas.generate import rollout, uniforms
from rekon.nas.inputs import Hierarchy, read_masks
from rekon.nas.inspection import Accuracy, Ceiling, Codebook, Divergence, Inspection, Timing, write_inspection
from rekon.nas.reconstructor import NASReconstructor
from rekon.nas.tokenizer import Tokenizer
from rekon.nas.tokens import by_level, labels
from rekon.nas.transformer import ScaleTransformer, histories
from rekon.nas.weights import load_tokenizer, load_transformer
from rekon.plan import Plan
from rekon.provenance import device_name
from rekon.randomness import torch_generator

TOKENIZER, TEACHER, STUDENTS = "aqvae", "teacher", ("base", "distilled")
SLICES = 32  # of the test set, evenly spread: tokens enough to see which codes are used
JUDGED = 4  # of those, evenly spread: the transformers take longer
REPEATS = 3  # of the timed reconstruction; fewer where one already takes SLOW seconds
SLOW = 5.0
ARGMAX, SAMPLED = DecodingSettings(), DecodingSettings(rule="multinomial")


class Slice(NamedTuple):
    """One slice under all patterns."""

    number: int  # in its set
    images: dict[str, Tensor]  # "measured", "full": complex64 (B, H, W)
    ids: list[Tensor]  # true tokens of every level, int64 (B, n)
    decoded: Tensor  # what the tokenizer makes of them: complex64 (B, H, W)


def inspect(plan: Plan, study: str, out: Path) -> None:
    """Inspect a study's chain below the current folder and write results/<scale>/<study>/inspect.npz.

    Uses a few slices of its first test set, under every pattern. What the scale does not train is left out. Raises
    UserError for missing weights or data.
    """
    device = torch.device("cuda" if plan.scale.compute.gpus and torch.cuda.is_available() else "cpu")
    dataset = plan.evaluation(study).datasets[0]
    trained = {run: plan.recipes[study, run] for _, run in plan.trained(study)}
    if TOKENIZER not in trained:
        write_inspection(out, Inspection(dataset, 0, 0))
        return
    tokenizer = load_tokenizer(_weights(plan, study, TOKENIZER), device)
    students = {
        run: load_transformer(_weights(plan, study, run), tokenizer, device) for run in STUDENTS if run in trained
    }
    hierarchy = _hierarchy(plan, trained[TOKENIZER], dataset, tokenizer)
    slices = look(tokenizer, hierarchy, device)
    if not slices:
        raise UserError(f"{hierarchy.images.path}: all slices looked at are empty; check the images of {dataset!r}.")
    teacher = None
    if TEACHER in trained and students:
        teacher = load_transformer(_weights(plan, study, TEACHER), tokenizer, device)
    judged = [slices[place] for place in spread(len(slices), JUDGED)]
    found = Inspection(
        dataset,
        len(slices),
        len(judged),
        codebook(tokenizer, hierarchy, slices),
        accuracy(tokenizer, students, hierarchy, judged) if students else None,
        distance(tokenizer, students, teacher, hierarchy, judged) if teacher is not None else None,
        ceiling(hierarchy, slices),
        timing(tokenizer, students, hierarchy, device) if students else None,
    )
    write_inspection(out, found)


@torch.no_grad()
def look(tokenizer: Tokenizer, hierarchy: Hierarchy, device: torch.device) -> list[Slice]:
    """Slices spread over the set, with their true tokens under every pattern; empty ones are left out."""
    patterns = hierarchy.sampling.patterns
    slices = []
    for index in spread(len(hierarchy), SLICES):
        if not hierarchy.images.image(index).any():
            continue
        levels_BLHW = torch.stack([hierarchy.levels(index, pattern) for pattern in patterns]).to(device)
        ids = tokenizer.tokenise(levels_BLHW, labels(patterns, device))
        images = {"measured": levels_BLHW[:, 0], "full": levels_BLHW[:, -1]}
        slices.append(Slice(index, images, ids, tokenizer.reconstruct(ids)))
    return slices


def codebook(tokenizer: Tokenizer, hierarchy: Hierarchy, slices: list[Slice]) -> Codebook:
    """Counts of the codes of all levels. A level that knows no pattern is counted once per slice all the same."""
    levels = [str(r) for r in hierarchy.sampling.accelerations] + ["FS"]
    counts = [
        sum(np.bincount(one.ids[level].flatten().cpu(), minlength=tokenizer.model.vocabulary) for one in slices)
        for level in range(len(levels))
    ]
    return Codebook(tuple(levels), np.stack(counts).astype(np.int64))


@torch.no_grad()
def accuracy(
    tokenizer: Tokenizer, students: Mapping[str, ScaleTransformer], hierarchy: Hierarchy, slices: list[Slice]
) -> Accuracy:
    """Share of right argmax tokens, after true tokens and after the run's own."""
    forced, rolled = [], []
    for network in students.values():
        shares = []
        for one in slices:
            pattern_B, context = _context(network, hierarchy, one)
            logits_BLV = network(histories(tokenizer, one.ids[:-1]), pattern_B, context)
            after_true = by_level(logits_BLV.argmax(-1), network.sides)
            after_own = rollout(network, tokenizer, one.ids[0], pattern_B, context, ARGMAX)[1:]
            shares.append([_right(guess, one.ids[1:]) for guess in (after_true, after_own)])
        mean = np.mean(shares, axis=0)
        forced.append(mean[0])
        rolled.append(mean[1])
    counts = codebook(tokenizer, hierarchy, slices)
    frequent = counts.usage.max(1) / counts.usage.sum(1)
    chance = 1 / tokenizer.model.vocabulary
    return Accuracy(tuple(students), counts.levels[1:], np.stack(forced), np.stack(rolled), frequent[1:], chance)


@torch.no_grad()
def distance(
    tokenizer: Tokenizer,
    students: Mapping[str, ScaleTransformer],
    teacher: ScaleTransformer,
    hierarchy: Hierarchy,
    slices: list[Slice],
) -> Divergence:
    """KL(student || teacher) per scale along rollouts that each student samples, at temperature 1 (Eq. 4)."""
    rows = []
    for network in students.values():
        found = []
        for one in slices:
            pattern_B, context = _context(network, hierarchy, one)
            _, judging = _context(teacher, hierarchy, one)
            drawn = uniforms(torch_generator(0, "inspected rollout", 0, one.number), network.ends[-1] * len(pattern_B))
            uniform_BL = drawn.reshape(len(pattern_B), -1).to(pattern_B.device)
            ids = rollout(network, tokenizer, one.ids[0], pattern_B, context, SAMPLED, uniform_BL)
            history_BLd = histories(tokenizer, ids[:-1])
            student_BLV, teacher_BLV = (
                network(history_BLd, pattern_B, context),
                teacher(history_BLd, pattern_B, judging),
            )
            scales = by_level(divergence(student_BLV, teacher_BLV, "reverse"), network.sides)
            found.append([float(scale.mean()) for scale in scales])
        rows.append(np.mean(found, axis=0))
    names = tuple(str(r) for r in hierarchy.sampling.accelerations[1:])
    return Divergence(tuple(students), (*names, "FS"), np.stack(rows))


def ceiling(hierarchy: Hierarchy, slices: list[Slice]) -> Ceiling:
    """PSNR of the tokenizer on true tokens and of zero-filled images, per pattern; full scale: a slice's maximum."""
    scores = []
    for one in slices:
        pairs = zip(one.images["full"], one.decoded, one.images["measured"], strict=True)
        images = [[image.abs().cpu().numpy() for image in pair] for pair in pairs]
        scores.append([[psnr(full, image, float(full.max())) for image in others] for full, *others in images])
    decoded, zero_filled = np.mean(scores, axis=0).T
    return Ceiling(tuple(hierarchy.sampling.patterns), decoded, zero_filled)


def timing(
    tokenizer: Tokenizer, students: Mapping[str, ScaleTransformer], hierarchy: Hierarchy, device: torch.device
) -> Timing:
    """Median seconds of reconstructing the middle slice under the first pattern, by argmax, in full precision."""
    images, pattern = hierarchy.images, hierarchy.sampling.patterns[0]
    index = len(images) // 2
    example, name = images.item(index), images.items[index]
    mask = hierarchy.mask(index, pattern, hierarchy.sampling.accelerations[0]).to(device)
    maps = images.sensitivities(index).to(device)
    kspace = example.kspace.to(device) * mask
    scan = Scan(images.dataset, name.volume, "", "", name.slice, pattern, hierarchy.sampling.accelerations[0])
    seconds = []
    for run, network in students.items():
        reconstruct = NASReconstructor(run, tokenizer, network, ARGMAX, device)
        reconstruct.prepare(scan)
        taken: list[float] = []
        with torch.inference_mode():
            while len(taken) < 2 or (len(taken) <= REPEATS and taken[-1] < SLOW):
                start = time.perf_counter()
                reconstruct(kspace, mask, maps)
                if device.type == "cuda":
                    torch.cuda.synchronize()
                taken.append(time.perf_counter() - start)
        seconds.append(statistics.median(taken[1:]))  # the first one warms up
    return Timing(tuple(students), np.array(seconds), device_name(str(device)))


def _context(network: ScaleTransformer, hierarchy: Hierarchy, one: Slice) -> tuple[Tensor, list[Tensor] | None]:
    """Pattern labels (B,) of a slice, and what a transformer is shown of it."""
    pattern_B = labels(hierarchy.sampling.patterns, one.decoded.device)
    return pattern_B, None if network.context is None else network.context(one.images, pattern_B)


def _right(guess: tuple[Tensor, ...] | list[Tensor], true: list[Tensor]) -> list[float]:
    """Share of right tokens per level."""
    return [float((ours == theirs).float().mean()) for ours, theirs in zip(guess, true, strict=True)]


def _hierarchy(plan: Plan, recipe: Recipe, dataset: str, tokenizer: Tokenizer) -> Hierarchy:
    assert recipe.sampling is not None, "runs of this study have a hierarchy of patterns"
    manifest = Path("runs") / plan.scale.scale / "data" / dataset / "test.json"
    images = ImageSet(manifest, recipe.data.size, Path("data/maps") / dataset / "test")
    masks = read_masks(recipe.sampling, recipe.data.size)
    return Hierarchy(images, recipe.sampling, masks, tokenizer.model.normalisation)


def _weights(plan: Plan, study: str, run: str) -> Path:
    return Path("weights") / plan.scale.scale / study / f"{run}.safetensors"
