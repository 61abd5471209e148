"""Commands of the data rules: simulate or download, convert, calibrate, masks."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from rekon.cli.app import DATA, Output, Spec, Split, Threads, app, model_of

Batch = Annotated[str, typer.Option(help="K/N: the K-th of N batches.")]


@app.command(rich_help_panel=DATA)
def simulate(dataset: str, split: Split, volume: str, spec: Spec, output: Output) -> None:
    """Simulate one volume and write it in the raw format of the set it stands for."""
    from rekon.config import Dataset
    from rekon.data.phantom import cohort
    from rekon.data.phantom.names import place

    entry = model_of(Dataset, spec)
    number, repetition = place(volume, entry.simulation, split)
    cohort.simulate(dataset, entry.simulation, split, number, output, entry, repetition)


@app.command(rich_help_panel=DATA)
def download(dataset: str, spec: Spec, output: Output) -> None:
    """Fetch one published file (mirror first, REKON_MIRROR) and verify its checksum."""
    from rekon.config import RemoteFile
    from rekon.data.download import download as fetch

    mirror = os.environ.get("REKON_MIRROR")
    fetch(dataset, model_of(RemoteFile, spec), output, Path(mirror) if mirror else None)


@app.command(rich_help_panel=DATA)
def fetch_backbone(name: str, spec: Spec, output: Output) -> None:
    """Fetch pretrained weights (mirror first, REKON_MIRROR), verify their checksum, keep them as safetensors."""
    from rekon.config import Backbone
    from rekon.data.backbones import fetch_backbone as fetch

    mirror = os.environ.get("REKON_MIRROR")
    fetch(name, model_of(Backbone, spec), output, Path(mirror) if mirror else None)


@app.command(rich_help_panel=DATA)
def download_set(
    dataset: str,
    split: Split,
    spec: Spec,
    output: Output,
    names: Annotated[str, typer.Option(help="List below config/splits; only these files are fetched.")] = "",
    jobs: Annotated[int, typer.Option(help="Files at a time.", min=1)] = 4,
) -> None:
    """Fetch what a machine can of a published set (mirror first, REKON_MIRROR); what is there is kept."""
    from rekon.config import Dataset
    from rekon.data.download_set import download_set as run
    from rekon.data.sources import local_settings
    from rekon.data.splits import read_names

    mirror = os.environ.get("REKON_MIRROR")
    wanted = read_names(names) if names else ()
    local = local_settings(Path(os.environ.get("REKON_LOCAL", "config/local.yaml")))
    entry = model_of(Dataset, spec)
    run(dataset, split, entry, output.parent, wanted, local=local, mirror=mirror or None, jobs=jobs)


@app.command(rich_help_panel=DATA)
def index(dataset: str, split: str, spec: Spec, output: Output) -> None:
    """List the files of a licensed set below raw/; if there are none, say how to get them."""
    from rekon.config import Dataset
    from rekon.data.listing import check_manual
    from rekon.data.release import released, require

    require(output.parent, released(output.parent))
    check_manual(dataset, model_of(Dataset, spec), split, output.parent)


@app.command(rich_help_panel=DATA)
def draw_split(
    dataset: str,
    split: Split,
    listing: Path,
    output: Output,
    rule: Annotated[str, typer.Option(help="JSON: which files belong to the split; none: all.")] = "null",
) -> None:
    """Write which of the files that `rekon index` listed belong to a split, and the hash of their names."""
    from rekon.config.sources import SplitRule
    from rekon.data.splits import draw, write_split

    chosen = None if rule == "null" else model_of(SplitRule, rule, "--rule")
    present = listing.read_text(encoding="utf-8").splitlines()
    write_split(output, f"{dataset}/{split}", draw(present, chosen), chosen, len(present))


@app.command(rich_help_panel=DATA)
def convert(dataset: str, volume: str, raw: Path, spec: Spec, output: Output) -> None:
    """Convert one raw file to a canonical volume (fastMRI-compatible HDF5)."""
    from rekon.config import Dataset
    from rekon.data.convert import convert as run

    run(raw, output, dataset, model_of(Dataset, spec), volume)


@app.command(rich_help_panel=DATA)
def convert_batch(
    dataset: str,
    split: str,
    listing: Path,
    spec: Spec,
    batch: Batch,
    folder: Annotated[Path, typer.Option()],
    output: Output,
    threads: Threads = 1,
    count: Annotated[int | None, typer.Option(help="Only the first so many files of the list.")] = None,
) -> None:
    """Convert a batch of a split's files; one that fails is named and recorded, and the others go on."""
    from rekon.config import Dataset
    from rekon.data.batches import convert_batch as run
    from rekon.data.batches import parse_batch

    run(dataset, split, model_of(Dataset, spec), listing, folder, parse_batch(batch), output, threads, count)


@app.command(rich_help_panel=DATA)
def release(dataset: str, split: Split, manifest: Path, spec: Spec, output: Output) -> None:
    """Remove the raw files that were fetched for a split, unless their conversion is in doubt; say which."""
    from rekon.config import Dataset
    from rekon.data.constant import published_constant
    from rekon.data.release import release as run

    if kept := run(output.parent, manifest, published_constant(model_of(Dataset, spec), split)):
        print(f"{dataset}/{split}: its raw files stay, {kept}")


@app.command(rich_help_panel=DATA)
def summarise(dataset: str, split: str, volumes: list[Path], spec: Spec, output: Output) -> None:
    """Write the manifest of a split: volumes (or the records of its batches), hashes, sizes, normalisation constant."""
    from rekon.config import Dataset
    from rekon.data.summarise import summarise as run

    run(dataset, split, model_of(Dataset, spec), volumes, output)


@app.command(rich_help_panel=DATA)
def join(dataset: str, split: Split, manifests: list[Path], spec: Spec, output: Output) -> None:
    """Write the manifest of a set that is joined of others, from theirs."""
    from rekon.config import Dataset
    from rekon.data.join import join as run

    run(dataset, split, model_of(Dataset, spec), manifests, output)


@app.command(rich_help_panel=DATA)
def calibrate(volume: Path, output: Output) -> None:
    """Estimate ESPIRiT coil sensitivity maps and the coil-combined image of a volume."""
    from rekon.data.calibrate import calibrate as run

    run(volume, output)


@app.command(rich_help_panel=DATA)
def calibrate_batch(
    manifest: Path, batch: Batch, folder: Annotated[Path, typer.Option()], output: Output, threads: Threads = 1
) -> None:
    """Calibrate those volumes of a manifest's batch whose maps are not there yet."""
    from rekon.data.batches import calibrate_batch as run
    from rekon.data.batches import parse_batch

    run(manifest, folder, parse_batch(batch), output, threads)


def pattern_of(spec: str) -> str | None:
    """The pattern that a mask's settings name; None where they name none, or are no settings at all."""
    try:
        value = json.loads(spec)
    except json.JSONDecodeError:
        return None
    return value.get("pattern") if isinstance(value, dict) else None


@app.command(rich_help_panel=DATA)
def make_mask(spec: Spec, size: Annotated[str, typer.Option(help="HxW")], output: Output) -> None:
    """Write a sampling mask for a matrix: along the phase encodings, or over both axes with an exact count."""
    from rekon.config import ExactMaskSettings, MaskSettings
    from rekon.config.sampling import PATTERNS
    from rekon.physics import masks, patterns

    height, width = (int(n) for n in size.split("x"))
    if pattern_of(spec) in PATTERNS:
        exact = patterns.make_exact_mask(model_of(ExactMaskSettings, spec), (height, width))
        patterns.write_exact_mask(output, exact)
    else:
        masks.write_mask(output, masks.make_mask(model_of(MaskSettings, spec), width), (height, width))
