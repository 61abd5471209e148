from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest_phantom import catalogue, small

from rekon.data.phantom import cohort
from rekon.data.phantom.names import place
from rekon.errors import UserError
from rekon.files import sha256

BRAIN = "sim-fastmri-brain"


def write(tmp_path: Path, name: str = BRAIN, index: int = 0, file: str = "a.h5", **changes: object) -> Path:
    out = tmp_path / file
    cohort.simulate(name, small(name, **changes), "test", index, out, catalogue()[name])
    return out


def test_names_and_subjects_never_meet() -> None:
    seen: set[str] = set()
    for name, entry in catalogue().root.items():
        if entry.simulation is None:
            continue
        for split in ("train", "validation", "test"):
            found = cohort.volumes(name, entry.simulation, split, 12)
            assert [v.contrast for v in found[: len(entry.simulation.sequences)]] == sorted(entry.simulation.sequences)
            fresh = {v.subject for v in found}
            assert len(fresh) == 12
            assert not fresh & seen
            seen |= fresh
            assert len({v.name for v in found}) == 12


def test_a_list_is_the_start_of_a_longer_one() -> None:
    simulation = small(BRAIN)
    assert cohort.volumes(BRAIN, simulation, "train", 3) == cohort.volumes(BRAIN, simulation, "train", 9)[:3]


def test_too_many_volumes_is_the_users_mistake() -> None:
    with pytest.raises(UserError, match="train"):
        cohort.volumes(BRAIN, small(BRAIN), "train", 10_001)


def test_equal_arguments_give_equal_bytes_and_other_subjects_differ(tmp_path: Path) -> None:
    first, again, other = write(tmp_path), write(tmp_path, file="b.h5"), write(tmp_path, index=4, file="c.h5")
    assert sha256(first) == sha256(again)
    assert sha256(first) != sha256(other)
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["a.h5", "b.h5", "c.h5"]


def test_subjects_have_their_own_anatomy() -> None:
    a, b = (np.abs(cohort.simulated_scan(BRAIN, small(BRAIN), "test", index).image) for index in (0, 4))  # one contrast
    assert np.linalg.norm(a - b) > 0.2 * np.linalg.norm(a)


def test_file_is_what_fastmri_ships(tmp_path: Path, fastmri_set: str) -> None:
    path = write(tmp_path, fastmri_set, phase_lines=52)
    entry = catalogue()[fastmri_set]
    with h5py.File(path) as file:
        kspace, rss = file["kspace"], file["reconstruction_rss"]
        assert kspace.shape == (2, 4, 128, 64)
        assert kspace.dtype == np.complex64
        assert kspace.chunks == (1, 4, 128, 64)
        assert rss.shape == (2, 64, 64)
        assert rss.dtype == np.float32
        assert file.attrs["acquisition"] in entry.simulation.sequences
        assert file.attrs["max"] == pytest.approx(rss[()].max())
        assert file.attrs["norm"] == pytest.approx(np.linalg.norm(rss[()]), rel=1e-5)
        assert file.attrs["patient_id"] == f"{fastmri_set}-20000"
        root = ElementTree.fromstring(file["ismrmrd_header"][()])
        acquired = np.abs(kspace[()]).sum(axis=(0, 1, 2)) > 0
    n = {"i": "http://www.ismrm.org/ISMRMRD"}

    def number(path: str) -> int:
        return int(root.findtext(path, namespaces=n) or "")

    assert number("i:encoding/i:encodedSpace/i:matrixSize/i:x") == 128
    assert number("i:encoding/i:reconSpace/i:matrixSize/i:x") == 64
    # fastMRI's reading of the encoding limits
    limits = "i:encoding/i:encodingLimits/i:kspace_encoding_step_1/i:"
    left = number("i:encoding/i:encodedSpace/i:matrixSize/i:y") // 2 - number(limits + "center")
    right = left + number(limits + "maximum") + 1
    assert np.flatnonzero(acquired).tolist() == list(range(left, right))
    assert right - left == 52


def test_coil_counts_take_turns(tmp_path: Path) -> None:
    for index, coils in ((0, 3), (1, 5)):
        with h5py.File(write(tmp_path, index=index, coils=(3, 5))) as file:
            assert file["kspace"].shape[1] == coils


def test_simulation_needs_neither_torch_nor_nilearn_code() -> None:
    code = "import rekon.data.phantom.cohort, rekon.data.phantom.anatomy, rekon.data.phantom.knee, sys\n"
    code += "rekon.data.phantom.anatomy.template_file('gm').stat()\n"
    code += "assert not {'torch', 'nilearn', 'pandas', 'matplotlib', 'skimage'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_set_read_from_json_has_the_same_volumes():
    """Snakemake passes a set's settings as JSON with sorted keys; names and contents must not depend on it."""
    import json
    from pathlib import Path

    from rekon.config import Catalogue, Simulation
    from rekon.config.base import check, load
    from rekon.data.phantom.cohort import volumes

    catalogue = load(Catalogue, Path(__file__).resolve().parents[3] / "config/datasets.yaml")
    for name, entry in catalogue.root.items():
        if entry.simulation is not None:
            text = json.dumps(entry.simulation.model_dump(mode="json"), sort_keys=True)
            again = check(Simulation, json.loads(text), "json")
            assert volumes(name, again, "train", 8) == volumes(name, entry.simulation, "train", 8)


def test_names_of_repeated_scans_are_as_m4raw_s() -> None:
    simulation = small("sim-m4raw-gre", repetitions=3)
    first = cohort.volumes("sim-m4raw-gre", simulation, "test", 2)[1].name
    names = cohort.repetitions(first, simulation)
    assert names == [f"sim_m4raw_gre_20001_GRE{number:02d}" for number in (1, 2, 3)] and names[0] == first
    assert [place(name, simulation, "test") for name in names] == [(1, 0), (1, 1), (1, 2)]
    once = small("sim-m4raw-gre", repetitions=1)
    (name,) = cohort.repetitions("sim_m4raw_gre_AXGRE_20001", once)
    assert place(name, once, "test") == (1, 0)
    with pytest.raises(UserError, match="'v1'"):
        place("v1", once, "test")


def test_repetitions_differ_by_their_noise_only(tmp_path: Path) -> None:
    simulation, entry = small("sim-m4raw-gre", repetitions=2), catalogue()["sim-m4raw-gre"]
    entry = entry.model_copy(update={"format": "m4raw", "simulation": simulation})
    kspace = []
    for repetition in (0, 1, 1):
        out = tmp_path / "v_GRE01.h5"
        cohort.simulate("sim-m4raw-gre", simulation, "test", 0, out, entry, repetition)
        with h5py.File(out) as file:
            kspace.append(file["kspace"][:])
    np.testing.assert_array_equal(kspace[1], kspace[2])
    noise = (kspace[0] - kspace[1])[kspace[0] != 0].std() / np.sqrt(2)
    made = cohort.simulated_scan("sim-m4raw-gre", simulation, "test", 0, entry)
    # half of the oversampled readout's noise is thrown away with its half of the image
    assert noise == pytest.approx(made.noise, rel=0.05)
