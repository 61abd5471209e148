"""Which files belong to a split: pure functions of their names, as lists with a hash."""

import random
from pathlib import Path

import pytest
import yaml

from rekon.config.base import check
from rekon.config.sources import SplitFile, SplitRule
from rekon.data.splits import draw, read_names, read_split, write_split
from rekon.errors import UserError
from rekon.plan import plan

ROOT = Path(__file__).resolve().parents[2]
NAMES = [f"file1000{n:03d}.h5" for n in range(199)]


def drawn(names, **rule) -> list[str]:
    return list(draw(names, check(SplitRule, {"volumes": 150, **rule}, "rule")).names)


def test_a_draw_follows_from_names_and_seed_alone():
    shuffled = random.Random(1).sample(NAMES, len(NAMES))
    first = drawn(NAMES, count=150, seed=0)
    assert drawn(shuffled, count=150, seed=0) == first == sorted(first) and len(set(first)) == 150
    assert drawn([f"folder/{name}" for name in NAMES], count=150, seed=0) == [f"folder/{name}" for name in first]
    assert drawn(NAMES, count=150, seed=1) != first
    assert len(set(drawn(NAMES[1:], count=150, seed=0)) - set(first)) <= 1  # a file that is missing moves no other


def test_the_first_ones_and_all():
    assert drawn(NAMES[::-1], count=150) == NAMES[:150]
    assert drawn(NAMES) == NAMES == list(draw(NAMES[::-1], None).names)
    assert draw(NAMES[:7], check(SplitRule, {"volumes": 150}, "rule")).expected == 150


def test_a_committed_list(tmp_path):
    (tmp_path / "list.txt").write_text("# three\nb.h5\na.h5\n\nz.h5\n")
    found = draw(["x/a.h5", "b.h5", "c.h5"], SplitRule(names="list.txt", volumes=3), tmp_path)
    assert (found.names, found.expected) == (("x/a.h5", "b.h5"), 3)
    with pytest.raises(UserError, match=r"other\.txt: no such list"):
        read_names("other.txt", tmp_path)


def test_the_list_on_disk_tells_itself_and_notices_changes(tmp_path):
    rule = SplitRule(count=150, seed=0, volumes=150, open="The paper\n does not say.")
    path = tmp_path / "raw/set/test/SPLIT.txt"
    write_split(path, "set/test", draw(NAMES, rule), rule, len(NAMES))
    text = path.read_text()
    assert text.startswith("# set/test: 150 of 199 files\n# rule: 150, drawn with seed 0\n# expected: 150\n")
    assert "# left open by the paper: The paper does not say.\n" in text
    found = read_split(path)
    assert found == draw(NAMES, rule) and f"# sha256 of the names: {found.sha256}\n" in text
    path.write_text(text.replace(found.names[3] + "\n", ""))
    with pytest.raises(UserError, match=r"SPLIT\.txt: its names were changed"):
        read_split(path)
    with pytest.raises(UserError, match="no such file; run the rule draw_split"):
        read_split(tmp_path / "none.txt")
    with pytest.raises(UserError, match="none of the 2 files there belongs to set/test"):
        write_split(path, "set/test", draw(["q.h5", "r.h5"], None).__class__((), None), None, 2)


# --- the committed ones ---------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def full():
    return plan(yaml.safe_load((ROOT / "config/full.yaml").read_text()), ROOT)


def test_committed_lists_are_as_long_as_they_say():
    for path in sorted((ROOT / "config/splits").glob("*.yaml")):
        for place, rule in check(SplitFile, yaml.safe_load(path.read_text()), str(path)).sets.items():
            if rule.names:
                names = read_names(rule.names, ROOT / "config/splits")
                assert len(set(names)) == len(names) == rule.volumes, place
                assert names == sorted(names)


def test_the_papers_table_is_what_full_expects(full):
    """UEPS, Table 1: subjects and slices of each test set."""
    table = {
        "fastmri-brain": (558, 8852), "fastmri-knee": (150, 5427), "stanford2d": (89, 2037),
        "cc359-axial": (67, 13802), "cc359-sagittal": (67, 9490), "m4raw-gre": (366, 6588),
        **{f"ahead-e{echo}": (20, 3240) for echo in range(1, 6)},
    }  # fmt: skip
    for name, (volumes, slices) in table.items():
        assert full.expected(name, "test") == (volumes, slices), name
    assert full.expected("fastmri-brain", "train") == (4469, 70748)
    assert all(rule.open for file in full.split_files.values() for rule in file.sets.values())


def test_two_papers_may_not_take_different_files_of_one_set(full):
    from rekon.plan import Plan

    twice = {"a": full.split_files["ueps"], "b": full.split_files["ueps"]}
    with pytest.raises(UserError, match=r"config/splits/b\.yaml: key 'sets': another file has a rule"):
        Plan(full.scale, full.catalogue, full.studies, full.backbones, twice)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"names": "a.txt", "count": 3, "volumes": 3}, "'names' is a list"),
        ({"count": 3, "volumes": 4}, "'count' is 3"),
        ({"names": "../a.txt", "volumes": 4}, "names"),
        ({"volumes": 0}, "volumes"),
    ],
)
def test_rules_that_make_no_sense(rule, words):
    with pytest.raises(UserError, match=words):
        check(SplitRule, rule, "config/splits/x.yaml")
    with pytest.raises(UserError, match="is not SET/train"):
        check(SplitFile, {"paper": "p", "sets": {"set/tset": {"volumes": 1}}}, "config/splits/x.yaml")
