"""From made-up readers through sheets and key to decisions: what was put in comes out."""

import json
import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import readers

from rekon.errors import UserError
from rekon.reading.analysis import analyse, write_analysis
from rekon.reading.sheet import CRITERIA, read_sheet

REFERENCE, TEST = readers.ARMS


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """24 made-up subjects, 2 slices each, half of the pairs twice."""
    folder = tmp_path_factory.mktemp("large")
    return folder, readers.make(folder, subjects=24, repeats=0.5)


def sheets(study, quality, names=("r1", "r2"), **options):
    folder, key = study
    incomplete = bool(options.get("blank"))
    return [
        read_sheet(readers.read_as(folder / f"{name}.csv", key, name, quality, **options), key, incomplete=incomplete)
        for name in names
    ]


@pytest.mark.parametrize(
    ("truth", "decision"), [(3.5, "non-inferior"), (4.2, "non-inferior"), (2.3, "inferior"), (2.9, "not shown")]
)
def test_simulated_readers_are_understood(large, truth, decision):
    results = analyse(large[1], sheets(large, {REFERENCE: 3.5, TEST: truth}, noise=0.5))
    rows = pd.DataFrame(results["differences"])
    assert len(rows) == 2 * len(CRITERIA) and set(rows.subjects) == {24} and set(rows.pairs) == {48}
    np.testing.assert_allclose(rows.difference, truth - 3.5, atol=0.3)
    assert (rows.decision == decision).mean() >= (0.4 if decision == "not shown" else 1)
    for row in results["preferences"]:
        assert row["prefer_test"] + row["prefer_reference"] + row["prefer_neither"] == 48
        assert (row["prefer_test"] > 36) == (truth > 4) and (row["prefer_reference"] > 36) == (truth < 3)


def test_swapped_arms_give_the_opposite(large):
    read = sheets(large, {REFERENCE: 3.8, TEST: 3.2})
    there = analyse(large[1], read, reference=REFERENCE, test=TEST)["differences"]
    back = analyse(large[1], read, reference=TEST)["differences"]
    for one, other in zip(there, back, strict=True):
        assert one["difference"] == -other["difference"] and one["p"] == pytest.approx(other["p"])
        assert (one["higher"], one["lower"]) == (other["lower"], other["higher"])


def test_agreement_follows_the_noise_of_readers(large):
    def kappas(noise):
        results = analyse(large[1], sheets(large, {REFERENCE: 4.2, TEST: 2.2}, noise=noise))
        return [
            np.mean([row["quadratic"]["kappa"] for row in results[name]])
            for name in ("between_readers", "within_readers")
        ]

    assert min(kappas(0.0)) == pytest.approx(1)
    assert min(kappas(0.4)) > 0.7
    assert max(kappas(30.0)) < 0.25


def test_repeats_serve_the_reader_with_themselves_only(large):
    folder, key = large
    path = readers.read_as(folder / "r.csv", key, "r", dict.fromkeys(readers.ARMS, 3.0))
    before = analyse(key, [read_sheet(path, key)])
    rows = [line.split(",") for line in path.read_text().splitlines()]
    for row in rows[1:]:
        if key.pairs[row[2]].repeat_of:
            row[4:9] = ["5"] * 5
    path.write_text("".join(",".join(row) + "\n" for row in rows))
    after = analyse(key, [read_sheet(path, key)])
    assert before["differences"] == after["differences"] and before["preferences"] == after["preferences"]
    assert before["within_readers"] != after["within_readers"]
    assert all(row["quadratic"]["kappa"] == pytest.approx(0) for row in after["within_readers"])
    assert after["repeats"] == 24 and after["cases"] == 48 and after["between_readers"] == []


def test_empty_cells_are_left_out_and_counted(large):
    whole = analyse(large[1], sheets(large, {REFERENCE: 3.5, TEST: 3.5}))
    results = analyse(large[1], sheets(large, {REFERENCE: 3.5, TEST: 3.5}, blank=3))
    assert results["readers"]["r1"]["unfilled_cells"] == 3 and whole["readers"]["r1"]["unfilled_cells"] == 0
    assert [row["pairs"] for row in results["differences"]][:2] == [46, 48]  # both images of a pair, one of another
    assert results["differences"][1] == whole["differences"][1]


def test_several_arms(tmp_path):
    key = readers.make(tmp_path, subjects=7, arms=(*readers.ARMS, "okapi"), repeats=0.2)
    quality = {REFERENCE: 4.0, TEST: 4.0, "okapi": 2.0}
    sheet = read_sheet(readers.read_as(tmp_path / "r.csv", key, "r", quality, noise=0.2), key)
    with pytest.raises(UserError, match="--test: the kit has several test arms; name one of okapi, quokka"):
        analyse(key, [sheet])
    good, bad = (analyse(key, [sheet], test=test)["differences"][0] for test in (TEST, "okapi"))
    assert good["decision"] == "non-inferior" and bad["decision"] == "inferior" and good["pairs"] == 14
    with pytest.raises(UserError, match="does not show them against each other; it shows 'zephyr' against 'okapi', "):
        analyse(key, [sheet], reference=TEST, test="okapi")


def test_mistakes_are_told(large):
    _, key = large
    read = sheets(large, {REFERENCE: 3.5, TEST: 3.5})
    for options, problem in (
        ({"test": "ibex"}, "--reference zephyr --test ibex: the kit does not show them"),
        ({"test": REFERENCE}, "the kit does not show them"),
        ({"margin": 0}, "--margin 0: must be a number of points above 0"),
        ({"margin": math.nan}, "--margin nan"),
        ({"alpha": 0.5}, "--alpha 0.5: must lie between 0 and 0.5"),
    ):
        with pytest.raises(UserError, match=problem):
            analyse(key, read, **options)
    with pytest.raises(UserError, match=r"r1.csv: reader 'r1' is also that of .*r1.csv; give each reader's sheet once"):
        analyse(key, [read[0], read[0]])


def test_files_hold_everything_and_are_the_same_every_time(large, tmp_path):
    results = analyse(large[1], sheets(large, {REFERENCE: 3.5, TEST: 3.5}))
    for name in ("a", "b"):
        write_analysis(tmp_path / name, results)
    document = json.loads((tmp_path / "a" / "analysis.json").read_text())
    assert document["dataset"] == "sim-made-up" and document["margin"] == 0.5 and len(document["differences"]) == 10
    table = pd.read_csv(tmp_path / "a" / "analysis.csv")
    counts = {"differences": 10, "preferences": 2, "between_readers": 5, "within_readers": 10}
    assert dict(table.table.value_counts()) == counts
    assert table.difference[0] == pytest.approx(document["differences"][0]["difference"])
    assert "quadratic_word" in table and ",48,24," in (tmp_path / "a" / "analysis.csv").read_text()
    for name in ("analysis.json", "analysis.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_undefined_numbers_are_null(large, tmp_path):
    folder, key = large
    sheet = read_sheet(readers.read_as(folder / "c.csv", key, "c", dict.fromkeys(readers.ARMS, 30.0), noise=0), key)
    write_analysis(tmp_path, analyse(key, [sheet]))
    document = json.loads((tmp_path / "analysis.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert document["within_readers"][0]["linear"] == {"kappa": None, "low": None, "high": None, "word": "undefined"}
    assert document["differences"][0]["difference"] == 0


def rekon(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rekon", "reader-study", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env={"COLUMNS": "160", "OMP_NUM_THREADS": "1"})


def test_command_line(tmp_path):
    arms = [
        readers.write_arm(tmp_path / f"{arm}.h5", arm, blur=blur)
        for arm, blur in zip(readers.ARMS, (0, 0.5), strict=True)
    ]
    kit, key = tmp_path / "kit", tmp_path / "secret" / "key.json"
    made = rekon("make", "--arm", arms[0], "--arm", arms[1], "--output", kit, "--key", key, "--repeats", 0.25)
    assert made.returncode == 0 and "20 pairs, 4 of them repeats" in made.stdout
    assert "note: 'quokka' is 25 % darker than 'zephyr'" in made.stdout
    from rekon.reading.key import read_key

    filled = readers.read_as(tmp_path / "r1.csv", read_key(key), "r1", dict.fromkeys(readers.ARMS, 3.5), blank=2)
    read = ("analyse", "--key", key, "--sheet", filled, "--output", tmp_path / "out")
    refused = rekon(*read)
    assert refused.returncode == 2 and not (tmp_path / "out").exists()
    assert refused.stderr == (
        f"rekon: {filled}: row 2, 'structural_delineation' is empty (and 1 more); fill it in, or analyse what is "
        "there with --incomplete.\n"
    )
    done = rekon(*read, "--incomplete")
    assert done.returncode == 0 and "r1: 2 cells are empty" in done.stdout and "sharpness" in done.stdout
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["analysis.csv", "analysis.json"]


def test_help_says_what_happens():
    assert "no reader may see" in " ".join(rekon("--help").stdout.split())
    for command, words in (("make", ("--arm", "--key", "--repeats", "window")), ("analyse", ("--margin", "kappa"))):
        text = rekon(command, "--help").stdout
        assert all(word in text for word in words)
