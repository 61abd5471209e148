"""Images for a reader study: one slice of every test volume, by a run or fully sampled."""

from __future__ import annotations

from pathlib import Path

from rekon.config import Compute, Recipe
from rekon.errors import UserError
from rekon.studies import KINDS
from rekon.studies.evaluate import samplings, scored_slices
from rekon.studies.kinds import Trained

FULLY_SAMPLED = "fully-sampled"  # name of the arm that stands for the standard of care


def write_arm(
    recipe: Recipe,
    trained: Trained | None,
    *,
    manifest: Path,
    output: Path,
    compute: Compute,
) -> None:
    """The middle slice of every volume, reconstructed with the first of the run's masks.

    trained None: the reference of the same slices, from all samples, as the arm `FULLY_SAMPLED`. Images are in units of
    their volume's largest reference magnitude, so that arms share one scale.
    """
    import torch

    from rekon.evaluation.reconstructor import Scan
    from rekon.reading.images import write_images

    torch.set_num_threads(compute.threads)
    device = torch.device("cuda" if compute.gpus else "cpu")
    reconstructor = None
    if trained is not None:
        factory = KINDS[recipe.kind].reconstructor
        if factory is None:
            raise UserError(f"{recipe.study}/{recipe.run}: a run of kind {recipe.kind!r} reconstructs nothing.")
        reconstructor = factory(recipe, trained, device)
    slices = scored_slices(recipe, manifest, reconstructor is not None and reconstructor.needs_maps)
    settings, mask = samplings(recipe)[0]
    images, subjects = {}, {}
    for index in middles([item.volume for item in slices.items]):
        example = slices.item(index)
        if example.target is None:
            raise UserError(f"{manifest}: volume {example.volume!r} has no fully sampled reference to compare with.")
        if reconstructor is None:
            image = example.target
        else:
            sampled = torch.as_tensor(mask(example), dtype=torch.bool)
            scan = Scan.of(slices.dataset, example, settings.pattern, settings.acceleration)
            maps = slices.maps(example)[None].to(device) if reconstructor.needs_maps else None
            with torch.inference_mode():
                measured = (example.kspace * sampled)[None].to(device)
                image = reconstructor.many(measured, sampled.to(device), maps, [scan])[0].cpu()
        top, bottom, left, right = example.crop_box
        case = f"{example.volume}/{example.slice}"
        images[case] = (image / example.data_range)[top:bottom, left:right].clamp(min=0).numpy()
        subjects[case] = example.subject
    arm = FULLY_SAMPLED if trained is None else recipe.run
    write_images(output, images, arm=arm, dataset=slices.dataset, unit="maximum of the volume", subjects=subjects)


def middles(volumes: list[str]) -> list[int]:
    """Number of each volume's middle slice, of slices in the order of their volumes."""
    first: dict[str, int] = {}
    count: dict[str, int] = {}
    for index, volume in enumerate(volumes):
        first.setdefault(volume, index)
        count[volume] = count.get(volume, 0) + 1
    return [first[volume] + count[volume] // 2 for volume in first]
