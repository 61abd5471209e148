"""The simulated cohort: which volumes a set has, and any of them on its own, as a pure function of its name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np

from rekon.config.datasets import Dataset, Simulation, Split
from rekon.data.phantom.acquire import Anatomy, Scan, View, measured, scan
from rekon.data.phantom.measurement import Measurement
from rekon.data.phantom.names import contrasts_of, repetitions, subject_number, volumes
from rekon.data.phantom.slab import FORMATS, scan_slab
from rekon.data.phantom.writers import write_raw
from rekon.randomness import generator

HEAD_CENTRE = {"axial": (0.0, -17.0, 14.0), "sagittal": (0.0, -12.0, -8.0), "coronal": (0.0, -15.0, 5.0)}  # template mm


def default_view(simulation: Simulation, dataset: Dataset | None) -> View:
    """The set's view; without its catalogue entry, axial heads and coronal knees."""
    if dataset is not None and dataset.view != "mixed":
        return cast(View, dataset.view)
    return "coronal" if simulation.phantom == "knee" else "axial"


def subject(dataset_name: str, simulation: Simulation, number: int, view: View) -> Anatomy:
    """Anatomy of a subject; another set's, if not of one cohort, is another person."""
    dataset_name = simulation.cohort or dataset_name
    rng = generator(simulation.seed, f"phantom/{dataset_name}/anatomy", index=number)
    if simulation.phantom == "knee":
        from rekon.data.phantom.knee import Knee

        return Knee(rng)
    from rekon.data.phantom.anatomy import Head

    stroke = None
    if simulation.lesion == "stroke":
        from rekon.data.phantom.stroke import Stroke

        # a stream of its own: but for its lesions the head is the one that this number has without the setting
        stroke = Stroke(generator(simulation.seed, f"phantom/{dataset_name}/stroke", index=number))
    return Head(rng, face=view != "axial", stroke=stroke)


def simulated_scan(
    dataset_name: str, simulation: Simulation, split: Split, index: int, dataset: Dataset | None = None
) -> Scan:
    """The index-th volume of a split with all that is true about it: object, tissues, maps, noise-free k-space."""
    anatomy, contrast, coils, view, centre, rng = _arranged(dataset_name, simulation, split, index, dataset)
    return scan(anatomy, simulation, contrast, coils, view, centre, rng)


def simulated_slab(dataset_name: str, simulation: Simulation, split: Split, index: int, dataset: Dataset) -> Scan:
    """The index-th volume of a split of a set that is acquired in 3D."""
    anatomy, contrast, coils, view, centre, rng = _arranged(dataset_name, simulation, split, index, dataset)
    # a stream of its own: the echoes of a subject have all else in common
    own = generator(simulation.seed, f"phantom/{dataset_name}/noise", index=subject_number(split, index))
    return scan_slab(anatomy, simulation, contrast, coils, view, centre, rng, own, dataset.format)


def _arranged(
    dataset_name: str, simulation: Simulation, split: Split, index: int, dataset: Dataset | None
) -> tuple[Anatomy, str, int, View, tuple[float, float, float], np.random.Generator]:
    """Subject, contrast, number of coils, view, centre of the volume and the acquisition's stream."""
    number = subject_number(split, index)
    view = default_view(simulation, dataset)
    contrast = contrasts_of(simulation)[index % len(simulation.sequences)]
    anatomy = subject(dataset_name, simulation, number, view)
    rng = generator(simulation.seed, f"phantom/{simulation.cohort or dataset_name}/acquisition", index=number)
    centre = np.array(HEAD_CENTRE[view] if simulation.phantom == "brain" else (0.0, 0.0, 0.0))
    centre = centre + rng.normal(0, 2.0, 3)
    coils = simulation.coils[index % len(simulation.coils)]
    return anatomy, contrast, coils, view, (centre[0], centre[1], centre[2]), rng


def simulate(
    dataset_name: str,
    simulation: Simulation,
    split: Split,
    index: int,
    out_path: Path | str,
    dataset: Dataset | None = None,
    repetition: int = 0,
) -> None:
    """Write the index-th volume of a split as a raw file of the set's format; equal arguments give equal bytes.

    dataset: the set's catalogue entry, which knows format, view and vendor; default fastMRI. repetition: of the scan,
    counted from 0; repetitions differ by their noise. Raises UserError when the disk is full.
    """
    if dataset is not None and dataset.format in FORMATS:
        made = simulated_slab(dataset_name, simulation, split, index, dataset)
    else:
        made = simulated_scan(dataset_name, simulation, split, index, dataset)
    volume = volumes(dataset_name, simulation, split, index + 1)[-1]
    if repetition:
        again = generator(
            simulation.seed, f"phantom/{dataset_name}/repetition", repetition, subject_number(split, index)
        )
        kspace = measured(made.clean, made.noise, simulation.phase_lines, again)
        made, volume = (
            replace(made, kspace=kspace),
            replace(volume, name=repetitions(volume.name, simulation)[repetition]),
        )
    rng = generator(simulation.seed, f"phantom/{dataset_name}/scanner", index=subject_number(split, index))
    view = default_view(simulation, dataset)
    vendor, raw_format = (dataset.vendor, dataset.format) if dataset else ("simulated", "fastmri")
    write_raw(out_path, raw_format, Measurement(made, simulation, volume, vendor, rng, view))
